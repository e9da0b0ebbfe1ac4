"""Nothing moves: every later frame has the slots of the last one seen. A baseline without weights."""

from collections.abc import Iterable

from torch import Tensor, nn

from slotlab.framework.contracts import DynamicsContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class RepeatConfig(ComponentConfig):
    """No settings."""


class Repeat(nn.Module):
    """Slots (B, T, K, D) to slots (B, steps, K, D)."""

    def __init__(self, config: RepeatConfig, context: DynamicsContext):
        super().__init__()

    def forward(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the last frame's slots for each step."""
        return slots_BTKD[:, -1:].repeat(1, steps, 1, 1)


@hookimpl
def slotlab_dynamics() -> Iterable[Component[RepeatConfig]]:
    """Provide `repeat`."""
    yield Component(
        name="repeat", config=RepeatConfig, build=Repeat, summary="the last frame's slots, again and again"
    )
