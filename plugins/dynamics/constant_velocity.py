"""Everything goes on as it went: slots change in each step as in the last one. A baseline without weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import DynamicsContext
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class ConstantVelocityConfig(ComponentConfig):
    """No settings."""


class ConstantVelocity(nn.Module):
    """Slots (B, T, K, D) to slots (B, steps, K, D): step s is last + s (last - the one before)."""

    def __init__(self, config: ConstantVelocityConfig, context: DynamicsContext):
        super().__init__()
        if context.history < 2:
            raise ComponentError("a velocity takes a history of two frames, and this one has one")

    def forward(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the last frame's slots, moved on by the last change for each step."""
        last_B1KD, before_B1KD = slots_BTKD[:, -1:], slots_BTKD[:, -2:-1]
        passed_S = torch.arange(1, steps + 1, device=slots_BTKD.device, dtype=slots_BTKD.dtype)
        return last_B1KD + passed_S[:, None, None] * (last_B1KD - before_B1KD)


@hookimpl
def slotlab_dynamics() -> Iterable[Component[ConstantVelocityConfig]]:
    """Provide `constant_velocity`."""
    yield Component(
        name="constant_velocity",
        config=ConstantVelocityConfig,
        build=ConstantVelocity,
        summary="each slot goes on changing as it did in the last step",
    )
