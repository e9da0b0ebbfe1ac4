"""Slots look at one another, without a memory: a transformer.

Source: Kipf et al. 2022 (SAVi), section 3 and code: one block, each norm after the residual, 4 heads, an MLP
twice as wide as a slot with a ReLU, no dropout; these are the defaults. Settings make it what others use:
SlotFormer's and SlotDiffusion's (Wu et al. 2023: `norm: pre`, `layers: 2`, `mlp_dim` four times the width,
`dropout: 0.1`; the former adds a memory, see `transformer_lstm`), VideoSAUR's (`norm: pre`, one layer, four
times the width) and STEVE's (Singh et al. 2022: `norm: pre_split_late`, `bias: false`, `final_norm: true`,
four times the width).
"""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Le, Lt
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from slotlab.framework.contracts import PredictorContext, Slots, SlotState
from slotlab.framework.model.predictor_blocks import NormPlace, slots_blocks
from slotlab.registry import Component, ComponentConfig, hookimpl


class TransformerConfig(ComponentConfig):
    """Settings of the transformer over slots; the defaults are SAVi's."""

    norm: NormPlace = "post"
    """Where layer norms are: after each residual; before what is added to it (`pre`); or so, but with the
    first block's residual taken after its first norm (`pre_split_late`, STEVE's)."""
    layers: Annotated[PositiveInt, Le(100)] = 1
    """Blocks of attention and MLP."""
    heads: PositiveInt = 4
    """Attention heads; they divide the slots' width."""
    attention_dim: PositiveInt | None = None
    """Width of queries, keys and values; None for the slots' width. SAVi++'s is twice that."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the MLPs; None for twice the slots' width."""
    bias: bool = True
    """Whether the linear maps of attention have biases."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """In training, of attention weights, of the MLPs' hidden layers and of what is added to the slots."""
    final_norm: bool = False
    """Whether a layer norm follows the last block."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the layer norms; 1e-6 is Flax's default, and SAVi's."""


class TransformerPredictor(nn.Module):
    """Slots (B, K, D) to slots (B, K, D), each of which saw all of its frame."""

    def __init__(self, config: TransformerConfig, context: PredictorContext):
        super().__init__()
        dim, eps = context.slot_dim, config.layer_norm_eps
        blocks = slots_blocks(
            dim,
            config.layers,
            config.heads,
            config.mlp_dim or 2 * dim,
            norm=config.norm,
            bias=config.bias,
            dropout=config.dropout,
            layer_norm_eps=eps,
            attention_dim=config.attention_dim,
        )
        last = [nn.LayerNorm(dim, eps=eps)] if config.final_norm else []
        self.blocks = nn.Sequential(*blocks, *last)

    def start(self, slots: Slots) -> SlotState:
        """Return that nothing is remembered."""
        return None

    def forward(self, slots: Slots, state: SlotState) -> tuple[Slots, SlotState]:
        """Return the predicted slots; what belongs to them goes along."""
        return Slots(self.blocks(slots.vectors_BKD), slots.extras), None


@hookimpl
def slotlab_predictors() -> Iterable[Component[TransformerConfig]]:
    """Provide `transformer`."""
    yield Component(
        name="transformer",
        config=TransformerConfig,
        build=TransformerPredictor,
        summary="attention among the slots of a frame (SAVi, STEVE, VideoSAUR)",
    )
