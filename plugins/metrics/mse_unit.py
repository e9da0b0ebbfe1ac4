"""Mean squared error on images in [0, 1], whatever the spec's value range.

    MSE = mean over channels and pixels of (reconstruction - image)^2, both brought to [0, 1]

* Source: addtt's object-centric library (Dittadi et al. 2022). A quarter of `mse_seed`;
  `mse_official` is this times channels, height and width.
* Pixels ignored: none.
* Range: from 0, lower is better; no upper bound, since a reconstruction may leave the value
  range.
* Empty masks: masks play no part.
"""

from collections.abc import Iterable
from math import inf

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metric import NoSettings
from slotlab.framework.scoring.images import mean_of_squares
from slotlab.registry import Component, hookimpl


class UnitMSE:
    """Mean squared error on [0, 1]."""

    higher_is_better = False
    bounds = (0.0, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        low, high = context.value_range
        self.scale = 1 / (high - low)

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        return mean_of_squares(outcome.reconstructions_BCHW, outcome.images_BCHW, self.scale)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_unit`."""
    yield Component(
        name="mse_unit", config=NoSettings, build=UnitMSE, summary="mean squared error on images in [0, 1]"
    )
