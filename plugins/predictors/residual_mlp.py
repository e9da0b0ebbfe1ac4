"""Each slot predicts itself: a layer norm, and an MLP added to what it normalized.

Source: SlotFormer's code (Wu et al. 2023) for CLEVRER, where attention among slots made them share objects:
LN(x) + MLP(LN(x)), one hidden layer of twice the slots' width. The residual is that of the normalized slots.
"""

from collections.abc import Iterable

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import PredictorContext, Slots, SlotState
from slotlab.registry import Component, ComponentConfig, hookimpl


class ResidualMLPConfig(ComponentConfig):
    """Settings of the residual MLP."""

    mlp_dim: PositiveInt | None = None
    """Hidden width of the MLP; None for twice the slots' width."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the layer norm."""


class ResidualMLP(nn.Module):
    """Slots (B, K, D) to slots (B, K, D), each by itself."""

    def __init__(self, config: ResidualMLPConfig, context: PredictorContext):
        super().__init__()
        dim = context.slot_dim
        hidden = config.mlp_dim or 2 * dim
        self.norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def start(self, slots: Slots) -> SlotState:
        """Return that nothing is remembered."""
        return None

    def forward(self, slots: Slots, state: SlotState) -> tuple[Slots, SlotState]:
        """Return the predicted slots; what belongs to them goes along."""
        normal_BKD: Tensor = self.norm(slots.vectors_BKD)
        return Slots(normal_BKD + self.mlp(normal_BKD), slots.extras), None


@hookimpl
def slotlab_predictors() -> Iterable[Component[ResidualMLPConfig]]:
    """Provide `residual_mlp`."""
    yield Component(
        name="residual_mlp",
        config=ResidualMLPConfig,
        build=ResidualMLP,
        summary="each slot by itself: a layer norm and an MLP added to it",
    )
