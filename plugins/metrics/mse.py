"""Mean squared error of the reconstruction, in the spec's value range.

    MSE = mean over channels and pixels of (reconstruction - image)^2

On [-1, 1] images it is four times the value on [0, 1] images; compare only within one range, or
use `mse_seed` (always [-1, 1]), `mse_unit` (always [0, 1]) or `mse_official` (always [0, 1], a
sum).

* Source: the usual definition; slotlab's own choice of range.
* Pixels ignored: none.
* Range: from 0, lower is better; a reconstruction may leave the value range, so there is no upper
  bound.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable

from slotlab.framework.arithmetic.images import mean_of_squares
from slotlab.framework.metrics.builders import NoSettings, error_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse`."""
    yield error_metric(
        "mse", mean_of_squares, span=None, summary="mean squared error, in the spec's value range"
    )
