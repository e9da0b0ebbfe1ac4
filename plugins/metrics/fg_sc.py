"""Segmentation covering of the foreground.

    SC_FG = sum over true objects i of |i| max_j IoU(i, j) / number of object pixels

* Source: Engelcke et al. 2020 (GENESIS), who leave out the background.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: [0, 1], higher is better.
* Empty masks: have no effect. NaN for images without objects.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import covering
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def fg_sc(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,); NaN for images without objects."""
    return covering(outcome.counts_BTP, first=1)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `fg_sc`."""
    yield mask_metric("fg_sc", fg_sc, summary="segmentation covering of true objects, weighted by size")
