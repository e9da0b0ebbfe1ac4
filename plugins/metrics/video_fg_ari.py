"""Foreground ARI of whole clips: `fg_ari` over the pixels of all frames together.

An object that changes its slot over time counts as split. `fg_ari` of clips is the mean over frames, each by
itself, as SlotFormer measures rollouts.

* Source: Kipf et al. 2022 (SAVi), section 4; STEVE, SlotDiffusion, VideoSAUR and SlotContrast measure so too,
  of clips of 6 or 24 frames: the number of frames is part of the result.
* Pixels ignored: those of true label 0, and void.
* Range: [-0.5, 1], higher is better; NaN for clips without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, clip_metric
from slotlab.registry import Component, hookimpl


def video_fg_ari(clip: Outcome) -> Tensor:
    """Return float64 of shape (clips,); NaN for clips without objects."""
    return adjusted_rand_index(clip.counts_BTP[:, 1:])


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `video_fg_ari`."""
    yield clip_metric(
        "video_fg_ari",
        video_fg_ari,
        summary="adjusted Rand index over pixels of true objects, all frames together",
        bounds=(-0.5, 1.0),
    )
