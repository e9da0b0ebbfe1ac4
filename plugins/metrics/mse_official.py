"""Squared error as the CLEVRTex benchmark reports it: a sum, on images in [0, 1].

    MSE = sum over channels and pixels of (reconstruction - image)^2, both brought to [0, 1]

It grows with the number of pixels: only values at one image size compare, 128 x 128 in the
benchmark.

* Source: `MSE` of `clevrtex_eval.py` (Karazija et al. 2021); SlotDiffusion (Wu et al. 2023).
* Pixels ignored: none.
* Range: from 0, lower is better; no upper bound, since a reconstruction may leave the value
  range.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable

from slotlab.framework.arithmetic.images import sum_of_squares
from slotlab.framework.metrics.builders import NoSettings, error_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_official`."""
    yield error_metric(
        "mse_official",
        sum_of_squares,
        span=1,
        summary="official CLEVRTex MSE: sum over channels and pixels, images in [0, 1]",
    )
