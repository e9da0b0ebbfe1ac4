"""mIoU as the CLEVRTex benchmark prints it: foreground, over visible pairs less one.

    mIoU_fg = sum of iou_i over true labels i >= 1 / (visible pairs - 1)

True and predicted segments, background and empty ones included, are paired one to one so that the
sum of IoU is the largest; iou_i is that of true segment i with its partner. A pair is visible if
either side has pixels, so spare slots that are not empty lower the value.

* Source: `mIoU_fg` of `clevrtex_eval.py` (Karazija et al. 2021); the benchmark's notebook prints
  it as mIoU.
* Pixels ignored: none; the true background takes part in the pairing and is left out of the sum.
* Range: [0, 1], higher is better.
* Empty masks: IoU 0. NaN where the background is the only visible pair, and for truths without
  background, where the evaluator's -1 would take away a pair that is not there.
* Order of slots: where a true segment is left without any overlapping partner, SciPy's solver
  decides by the order of the slots whether it is paired with a spare or with an empty one, and
  the number of visible pairs depends on it. That is so in the evaluator too, and copied.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.matching import per_visible_pair
from slotlab.framework.arithmetic.overlap import iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def miou_official(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN where there is nothing but background."""
    return per_visible_pair(outcome.counts_BTP, iou, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `miou_official`."""
    yield mask_metric(
        "miou_official",
        miou_official,
        summary="official CLEVRTex mIoU: foreground, over visible pairs less one",
    )
