"""Mean segmentation covering, background included: each true segment counts alike.

    mSC = mean over true segments i of max_j IoU(i, j)

* Source: Engelcke et al. 2020 (GENESIS). Equal to `mbo_with_background`. The CLEVRTex evaluator
  calls something else mSC: see `msc_official` and `sc`.
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


def msc(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return mean_best_iou(outcome.counts_BTP, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `msc`."""
    yield mask_metric("msc", msc, summary="mean segmentation covering, unweighted")
