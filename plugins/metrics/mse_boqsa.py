"""Squared error as BO-QSA reports it: a sum over pixels of the mean over channels, on [-1, 1].

    MSE = height width mean over channels and pixels of (reconstruction - image)^2, both in [-1, 1]

With three channels it is 4/3 of `mse_official` on the same pictures; BO-QSA's pictures are not
cropped.

* Source: the training code of BO-QSA (Jia et al. 2023).
* Pixels ignored: none.
* Range: from 0, lower is better; no upper bound, since a reconstruction may leave the value
  range.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable

from slotlab.framework.arithmetic.images import sum_of_mean_squares
from slotlab.framework.metrics.builders import NoSettings, error_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_boqsa`."""
    yield error_metric(
        "mse_boqsa",
        sum_of_mean_squares,
        span=2,
        summary="BO-QSA's MSE: sum over pixels of the mean over channels, images in [-1, 1]",
    )
