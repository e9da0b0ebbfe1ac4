"""Mean IoU of whole clips, background included: true and predicted tubes matched one to one.

    mIoU = sum of iou_i over true tubes / number of true tubes

A tube is the pixels of an object, of the background, or of a slot, in all frames together. They are matched
so that the sum is the largest; true tubes without partner count as 0.

* Source: SlotDiffusion (Wu et al. 2023), whose video evaluation flattens all frames into one mask; mIoU of
  Genera1Z's code (RandSF.Q, SmoothSA).
* Pixels ignored: void alone.
* Range: [0, 1], higher is better.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import mean_matched_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, clip_metric
from slotlab.registry import Component, hookimpl


def video_miou(clip: Outcome) -> Tensor:
    """Return float64 of shape (clips,)."""
    return mean_matched_iou(clip.counts_BTP, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `video_miou`."""
    yield clip_metric(
        "video_miou", video_miou, summary="mean IoU with background over all frames, matched one to one"
    )
