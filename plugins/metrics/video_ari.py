"""Adjusted Rand index of whole clips: `ari` over the pixels of all frames together.

An object that changes its slot over time counts as split; beside it, `ari` of clips is the mean over frames,
each by itself, and the gap between the two measures how often slots change.

* Source: Kipf et al. 2022 (SAVi), section 4; STEVE, SlotDiffusion, VideoSAUR and SlotContrast measure so too.
* Pixels ignored: void alone.
* Range: [-0.5, 1], higher is better.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, clip_metric
from slotlab.registry import Component, hookimpl


def video_ari(clip: Outcome) -> Tensor:
    """Return float64 of shape (clips,)."""
    return adjusted_rand_index(clip.counts_BTP)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `video_ari`."""
    yield clip_metric(
        "video_ari", video_ari, summary="adjusted Rand index of all frames together", bounds=(-0.5, 1.0)
    )
