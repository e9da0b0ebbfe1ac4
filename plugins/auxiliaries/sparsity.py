"""The price of a kept slot: without it nothing is gained by dropping one.

    loss = mean over images and slots of the keep weight

Source: Fan et al. 2024 (AdaSlot), section 3.2, equation of the regularized loss. Weights in the authors'
configurations: 0.1 with features as the target (their mean squared error), 10 on CLEVR, where the pixels'
squared error is a sum.
"""

from collections.abc import Iterable

from pydantic import NonNegativeFloat

from slotlab.framework.contracts import AuxiliaryConfig, AuxiliaryContext, Losses, ModelOutput
from slotlab.registry import Component, ComponentError, hookimpl


class SparsityConfig(AuxiliaryConfig):
    """Settings of the price of a slot."""

    weight: NonNegativeFloat = 0.1
    """Price of keeping all slots; 0.1 in the paper for features, 10 for a sum over pixels."""


class Sparsity:
    """The mean keep weight."""

    traced = False

    def __init__(self, config: SparsityConfig, context: AuxiliaryContext):
        pass

    def __call__(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted, and the mean number of kept slots under `slots`.

        Raises:
            ComponentError: if the grouping drops no slots.
        """
        keep_BK = output.grouped.slots.keep_BK
        if keep_BK is None:
            raise ComponentError("the grouping drops no slots; take one that does, such as 'adaptive_slots'")
        return Losses(keep_BK.mean(), {"slots": keep_BK.detach().sum(dim=1).mean()})


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[SparsityConfig]]:
    """Provide `sparsity`."""
    yield Component(
        name="sparsity",
        config=SparsityConfig,
        build=Sparsity,
        summary="a price for each slot that is kept (AdaSlot)",
    )
