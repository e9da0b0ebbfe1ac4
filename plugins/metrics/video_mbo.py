"""Mean best overlap of whole clips: the largest IoU of each object's tube with a slot's, averaged.

    mBO = mean over true objects i of max over slots j of IoU(tube i, tube j)

A tube is the pixels of an object, or of a slot, in all frames together. One slot may be the best for several
objects.

* Source: VideoSAUR (Zadaianchuk et al. 2023) and SlotDiffusion (Wu et al. 2023), without the background.
* Pixels ignored: void alone; those of the background enlarge the slots that hold them.
* Range: [0, 1], higher is better; NaN for clips without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, clip_metric
from slotlab.registry import Component, hookimpl


def video_mbo(clip: Outcome) -> Tensor:
    """Return float64 of shape (clips,); NaN for clips without objects."""
    return mean_best_iou(clip.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `video_mbo`."""
    yield clip_metric("video_mbo", video_mbo, summary="mean best overlap of true objects over all frames")
