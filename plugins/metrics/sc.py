"""Segmentation covering, background included.

    SC = sum over true segments i of |i| max_j IoU(i, j) / number of pixels

* Source: Arbelaez et al. 2011, equation 8; SC of Engelcke et al. 2020 (GENESIS). It is what the
  CLEVRTex evaluator's `mSC` would be without its bug (see `msc_official`).
* Pixels ignored: none.
* Range: [0, 1], higher is better. Large segments, mostly the background, weigh most.
* Empty masks: have no effect.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.arithmetic.overlap import covering
from slotlab.framework.contracts import Outcome
from slotlab.framework.metrics.builders import NoSettings, mask_metric
from slotlab.registry import Component, hookimpl


def sc(outcome: Outcome) -> Tensor:
    """Return float64 of shape (B,)."""
    return covering(outcome.counts_BTP, first=0)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `sc`."""
    yield mask_metric("sc", sc, summary="segmentation covering, weighted by size")
