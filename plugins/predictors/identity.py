"""No prediction: each frame starts from the slots that were found in the one before."""

from collections.abc import Iterable

from torch import nn

from slotlab.framework.contracts import PredictorContext, Slots, SlotState
from slotlab.registry import Component, ComponentConfig, hookimpl


class IdentityConfig(ComponentConfig):
    """No settings."""


class IdentityPredictor(nn.Module):
    """Slots (B, K, D) to the same slots."""

    def __init__(self, config: IdentityConfig, context: PredictorContext):
        super().__init__()

    def start(self, slots: Slots) -> SlotState:
        """Return that nothing is remembered."""
        return None

    def forward(self, slots: Slots, state: SlotState) -> tuple[Slots, SlotState]:
        """Return the slots as they are."""
        return slots, None


@hookimpl
def slotlab_predictors() -> Iterable[Component[IdentityConfig]]:
    """Provide `identity`."""
    yield Component(
        name="identity",
        config=IdentityConfig,
        build=IdentityPredictor,
        summary="each frame starts from the slots of the one before",
    )
