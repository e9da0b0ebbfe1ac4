"""Mean segmentation covering of the foreground: each true object counts alike.

    mSC_FG = mean over true objects i of max_j IoU(i, j)

* Source: Engelcke et al. 2020 (GENESIS); MSC_FG of BO-QSA (Jia et al. 2023). Equal to `mbo`.
* Pixels ignored: none; the background is no target.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import mean_best_iou
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def fg_msc(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return mean_best_iou(outcome.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `fg_msc`."""
    yield mask_metric("fg_msc", fg_msc, summary="mean segmentation covering of true objects, unweighted")
