"""Mean IoU over true objects.

    fmIoU = sum of iou_i over true objects / number of true objects

True objects and predicted segments are matched one to one so that the sum of IoU is the largest;
objects without partner count as 0. The background is no candidate, so no segment is kept for it.

* Source: `fmiou` of SlotDiffusion (Wu et al. 2023), which counts labels up to the largest, so
  that objects that the crop removed count as 0 there; here they do not count.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import mean_matched_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def fg_miou_gt(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return mean_matched_iou(outcome.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `fg_miou_gt`."""
    yield mask_metric("fg_miou_gt", fg_miou_gt, summary="mean IoU of objects, over true objects")
