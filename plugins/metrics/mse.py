"""Mean squared error of the reconstruction, in the spec's value range.

The mean over channels and pixels of one image. On [-1, 1] images it is four times the
value on [0, 1] images; compare only within one range.
"""

from collections.abc import Iterable
from math import inf

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.registry import Component, ComponentConfig, hookimpl


class MSEConfig(ComponentConfig):
    """No settings."""


class MSE:
    """Mean over channels and pixels of the squared difference to the image."""

    higher_is_better = False
    bounds = (0.0, inf)  # a reconstruction may leave the value range
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: MSEConfig, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        difference_BCHW = outcome.reconstructions_BCHW.double() - outcome.images_BCHW.double()
        return difference_BCHW.square().mean(dim=(1, 2, 3))


@hookimpl
def slotlab_metrics() -> Iterable[Component[MSEConfig]]:
    """Provide `mse`."""
    yield Component(
        name="mse", config=MSEConfig, build=MSE, summary="mean squared error, in the spec's value range"
    )
