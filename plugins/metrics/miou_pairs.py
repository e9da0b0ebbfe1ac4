"""Mean IoU over visible pairs, background included.

    mIoU = sum of iou_i over all true labels / visible pairs

with the pairs of `miou_official`.

* Source: `mIoU` of `clevrtex_eval.py` (Karazija et al. 2021); computed there, not printed.
* Pixels ignored: none.
* Range: [0, 1], higher is better.
* Empty masks: IoU 0; pairs of two empty masks do not count.
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


def miou_pairs(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return per_visible_pair(outcome.counts_BTP, iou, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `miou_pairs`."""
    yield mask_metric("miou_pairs", miou_pairs, summary="mean IoU with background, over visible pairs")
