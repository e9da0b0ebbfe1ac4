"""Mean squared error on images in [-1, 1], whatever the spec's value range.

    MSE = mean over channels and pixels of (reconstruction - image)^2, both brought to [-1, 1]

* Source: the training loss of H. Goyal, "COL775: Slot Attention" (2024). `mse_boqsa` is this
  times height times width; `mse_official` is this times channels, height and width, over 4.
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
    """Provide `mse_seed`."""
    yield error_metric("mse_seed", mean_of_squares, span=2, summary="mean squared error on images in [-1, 1]")
