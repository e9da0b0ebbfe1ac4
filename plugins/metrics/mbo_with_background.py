"""Mean best overlap with the background as one more target.

    mBO = mean over true segments i, background included, of max over predicted segments j of IoU(i, j)

* Source: the default of ObjectCentricBench (`skip=[]`). Equal to `msc`.
* Pixels ignored: none.
* Range: [0, 1], higher is better.
* Empty masks: have no effect.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def mbo_with_background(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return mean_best_iou(outcome.counts_BTP, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mbo_with_background`."""
    yield mask_metric(
        "mbo_with_background",
        mbo_with_background,
        summary="mean best overlap of true segments, background included",
    )
