"""Slots look at one another, and each remembers its past: a transformer, then a step of an LSTM.

Source: SlotFormer's code (Wu et al. 2023) for OBJ3D, PHYRE and Physion: two pre-norm blocks of 4 heads, MLPs
four times as wide as a slot, ReLU, dropout 0.1, no final norm; one LSTM for all slots, whose state each slot
carries through its clip; a linear map back to the slots' width.
"""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Le, Lt
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import PredictorContext, Slots, SlotState
from slotlab.framework.model.predictor_blocks import NormPlace, slots_blocks
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class TransformerLSTMConfig(ComponentConfig):
    """Settings of the transformer with a memory; the defaults are SlotFormer's."""

    norm: NormPlace = "pre"
    """Where layer norms are: see the predictor `transformer`."""
    layers: Annotated[PositiveInt, Le(100)] = 2
    """Blocks of attention and MLP."""
    heads: PositiveInt = 4
    """Attention heads; they divide the slots' width."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the MLPs; None for four times the slots' width."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """In training, of attention weights, of the MLPs' hidden layers and of what is added to the slots."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the layer norms."""
    memory_dim: PositiveInt | None = None
    """Width of the LSTM's state; None for twice the slots' width (256 for slots of 128)."""


class TransformerLSTM(nn.Module):
    """Slots (B, K, D) and a state (B, K, M) of each to slots (B, K, D) and the next state."""

    def __init__(self, config: TransformerLSTMConfig, context: PredictorContext):
        super().__init__()
        dim = context.slot_dim
        self.memory_dim = config.memory_dim or 2 * dim
        self.blocks = nn.Sequential(
            *slots_blocks(
                dim,
                config.layers,
                config.heads,
                config.mlp_dim or 4 * dim,
                norm=config.norm,
                dropout=config.dropout,
                layer_norm_eps=config.layer_norm_eps,
            )
        )
        self.lstm = nn.LSTMCell(dim, self.memory_dim)
        self.readout = nn.Linear(self.memory_dim, dim)

    def start(self, slots: Slots) -> SlotState:
        """Return empty memories (B, K, M)."""
        vectors_BKD = slots.vectors_BKD
        empty_BKM = vectors_BKD.new_zeros(*vectors_BKD.shape[:2], self.memory_dim)
        return {"hidden": empty_BKM, "cell": empty_BKM}

    def forward(self, slots: Slots, state: SlotState) -> tuple[Slots, SlotState]:
        """Return the predicted slots, what belongs to them, and the memories after this frame.

        Raises:
            ComponentError: without a state.
        """
        if state is None:
            raise ComponentError("it remembers: give it what `start` or the call before returned")
        seen_BKD: Tensor = self.blocks(slots.vectors_BKD)
        hidden_MM, cell_MM = self.lstm(
            seen_BKD.flatten(0, 1), (state["hidden"].flatten(0, 1), state["cell"].flatten(0, 1))
        )
        shape = seen_BKD.shape[:2]
        hidden_BKM, cell_BKM = hidden_MM.unflatten(0, shape), cell_MM.unflatten(0, shape)
        return Slots(self.readout(hidden_BKM), slots.extras), {"hidden": hidden_BKM, "cell": cell_BKM}


@hookimpl
def slotlab_predictors() -> Iterable[Component[TransformerLSTMConfig]]:
    """Provide `transformer_lstm`."""
    yield Component(
        name="transformer_lstm",
        config=TransformerLSTMConfig,
        build=TransformerLSTM,
        summary="attention among the slots of a frame, then an LSTM's step for each (SlotFormer)",
    )
