"""Mean squared error of the reconstruction, in the spec's value range.

    MSE = mean over channels and pixels of (reconstruction - image)^2

On [-1, 1] images it is four times the value on [0, 1] images; compare only within one range, or
use `mse_seed` (always [-1, 1]), `mse_unit` (always [0, 1]) or `mse_official` (always [0, 1], a
sum).

* Source: the usual definition; slotlab's own choice of range.
* Pixels ignored: none.
* Range: from 0, lower is better; a reconstruction may leave the value range, so there is no upper
  bound.
* Empty masks: masks play no part.
"""

from collections.abc import Iterable
from math import inf

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metric import NoSettings
from slotlab.framework.scoring.images import mean_of_squares
from slotlab.registry import Component, hookimpl


class MSE:
    """Mean over channels and pixels of the squared difference to the image."""

    higher_is_better = False
    bounds = (0.0, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        return mean_of_squares(outcome.reconstructions_BCHW, outcome.images_BCHW)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse`."""
    yield Component(
        name="mse", config=NoSettings, build=MSE, summary="mean squared error, in the spec's value range"
    )
