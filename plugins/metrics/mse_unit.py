"""Mean squared error on images in [0, 1], whatever the spec's value range.

    MSE = mean over channels and pixels of (reconstruction - image)^2, both brought to [0, 1]

* Source: addtt's object-centric library (Dittadi et al. 2022). A quarter of `mse_seed`;
  `mse_official` is this times channels, height and width.
* Pixels ignored: none.
* Range: from 0, lower is better; no upper bound, since a reconstruction may leave the value
  range.
* Empty masks: masks have no effect.
"""

from collections.abc import Iterable

from slotlab.framework.arithmetic.images import mean_of_squares
from slotlab.framework.metrics.builders import NoSettings, error_metric
from slotlab.registry import Component, hookimpl


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_unit`."""
    yield error_metric("mse_unit", mean_of_squares, span=1, summary="mean squared error on images in [0, 1]")
