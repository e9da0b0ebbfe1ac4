"""Mean IoU over true segments, background included.

    mIoU_gt = sum of iou_i over true segments / number of true segments

True and predicted segments are matched one to one so that the sum of IoU is the largest; true
segments without partner count as 0. Spare slots cost nothing.

* Source: `mIoU_gt` of `clevrtex_eval.py` (Karazija et al. 2021); `miou` of SlotDiffusion (Wu et
  al. 2023); mIoU of ObjectCentricBench. SlotDiffusion counts labels up to the largest, so that
  objects that the crop removed count as 0 there; here they do not count.
* Pixels ignored: none.
* Range: [0, 1], higher is better.
* Empty masks: have no effect.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import mean_matched_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def miou_gt(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return mean_matched_iou(outcome.counts_BTP, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `miou_gt`."""
    yield mask_metric("miou_gt", miou_gt, summary="mean IoU with background, over true segments")
