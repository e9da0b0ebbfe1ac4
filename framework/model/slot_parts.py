"""The parts that all slot models have: their settings, and how they are built."""

from typing import Annotated, Any, Literal

from annotated_types import Le
from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from slotlab.framework.contracts import (
    AuxiliaryContext,
    DecoderContext,
    EncoderContext,
    GroupingContext,
    HasNearest,
    InitializerContext,
    ModelContext,
    ObjectiveContext,
    PositionContext,
    Size,
)
from slotlab.framework.model.needs import check_told
from slotlab.framework.model.predictor_blocks import slots_blocks
from slotlab.framework.model.projection import Projection
from slotlab.registry import ClosedModel, ComponentConfig, ComponentError, Ref, RefTo
from slotlab.registry.errors import describe


class TokensTransformerSpec(ClosedModel):
    """Blocks in which tokens look at one another, each norm before what is added, an MLP with a ReLU."""

    layers: Annotated[PositiveInt, Le(100)] = 4
    """Blocks of attention and MLP."""
    heads: PositiveInt = 4
    """Attention heads; they divide `attention_dim`."""
    attention_dim: PositiveInt | None = None
    """Width of queries, keys and values; None for the tokens' width."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the MLPs; None for twice the tokens' width."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the layer norms; 1e-6 is Flax's default, and SAVi++'s."""


class ProjectionSpec(ClosedModel):
    """From the encoder's features to tokens: position code, LayerNorm, two linear maps."""

    position: Annotated[Ref, RefTo("position")] = Field(default="linear_grid", validate_default=True)
    """The position code added to the features."""
    hidden_dim: PositiveInt | None = None
    """Width between the two linear maps; None for `dim`."""
    dim: PositiveInt | None = None
    """Width of the tokens; None for the slots' width."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the LayerNorm; 1e-3 for Keras's default."""
    transformer: TokensTransformerSpec | None = None
    """Blocks after the linear maps, as in SAVi++; None for none."""


class SlotModelConfig(ComponentConfig):
    """Encoder, projection to tokens, initial slots, grouping, decoder."""

    slots: PositiveInt
    """Number of slots: at least one more than there are objects, for the background."""
    slot_dim: PositiveInt = 64
    """Width of a slot."""
    encoder: Annotated[Ref, RefTo("encoder")]
    """From images to a feature map."""
    projection: ProjectionSpec = Field(default={}, validate_default=True)
    """From the feature map to tokens."""
    initializer: Annotated[Ref, RefTo("initializer")]
    """The slots before the first iteration."""
    grouping: Annotated[Ref, RefTo("grouping")]
    """From tokens and initial slots to slots."""
    decoder: Annotated[Ref, RefTo("decoder")]
    """From slots to a prediction and masks."""
    weight_init: Literal["torch", "keras"] = "torch"
    """How the weights of convolutions, linear maps and GRU cells are drawn: as torch does, or as Keras
    (Glorot-uniform, orthogonal recurrent weights, zero biases), on which the Slot Attention paper relies."""

    @property
    def token_dim(self) -> int:
        """Width of the tokens."""
        return self.projection.dim or self.slot_dim


def build_slot_parts(config: SlotModelConfig, context: ModelContext) -> dict[str, Any] | None:
    """Build all parts, in the order in which data passes them; None if one fails.

    Returns:
        The arguments of a `SlotModel`.
    """
    parts, dim = context.parts, config.token_dim
    images = EncoderContext(image_size=context.image_size, value_range=context.value_range)
    encoder = parts.build(config.encoder, images, "encoder", attributes=("channels", "grid"))
    slots = InitializerContext(num_slots=config.slots, slot_dim=config.slot_dim, token_dim=dim)
    initializer = parts.build(config.initializer, slots, "initializer", attributes=("fixed_num_slots",))
    if encoder is None:
        return None
    grid, channels = encoder.grid, encoder.channels
    projection = build_projection(config, context, grid, channels)
    auxiliary = parts.auxiliaries(
        AuxiliaryContext(
            image_size=context.image_size,
            num_slots=config.slots,
            slot_dim=config.slot_dim,
            token_dim=dim,
            grid=grid,
            value_range=context.value_range,
        )
    )
    traced = any(loss.traced for loss in auxiliary.values())
    tokens = GroupingContext(slot_dim=config.slot_dim, token_dim=dim, grid=grid, traced=traced)
    grouping = parts.build(config.grouping, tokens, "grouping")
    features = ObjectiveContext(
        image_size=context.image_size,
        feature_channels=channels,
        grid=grid,
        value_range=context.value_range,
        encoder=encoder,
    )
    objective = parts.objective(features)
    if objective is None:
        return None
    target = DecoderContext(
        slot_dim=config.slot_dim,
        target=objective.target_shape,
        num_slots=config.slots,
        grid=grid,
        nearest=objective.nearest if isinstance(objective, HasNearest) else None,
    )
    decoder = parts.build(config.decoder, target, "decoder")
    check_told(objective, decoder, context)
    if parts.failed:
        return None
    return {
        "encoder": encoder,
        "projection": projection,
        "initializer": initializer,
        "grouping": grouping,
        "decoder": decoder,
        "objective": objective,
        "num_slots": config.slots,
        "slot_dim": config.slot_dim,
        "traced": traced,
        "auxiliary": auxiliary,
        "names": context.names,
        "half_features": context.half_features,
        "half_targets": context.half_targets,
        "image_size": context.image_size,
    }


def build_projection(config: SlotModelConfig, context: ModelContext, grid: Size, channels: int) -> nn.Module:
    """Build the projection; if its position code fails, return what is not used."""
    settings, dim = config.projection, config.token_dim
    place = PositionContext(grid=grid, dim=channels)
    position = context.parts.build(settings.position, place, "projection", "position")
    try:
        return Projection(
            position or nn.Identity(),  # for None there is a mistake already, and no model
            channels=channels,
            hidden_dim=settings.hidden_dim or dim,
            dim=dim,
            layer_norm_eps=settings.layer_norm_eps,
            blocks=token_blocks(settings.transformer, dim),
        )
    except ComponentError as error:
        context.parts.mistake(str(error), "projection", "transformer", *filter(None, [error.field]))
        return nn.Identity()
    except (RuntimeError, TypeError, OverflowError) as error:  # for sizes that no tensor can have
        context.parts.mistake(f"cannot be built: {describe(error)}", "projection")
        return nn.Identity()


def token_blocks(spec: TokensTransformerSpec | None, dim: int) -> list[nn.Module]:
    """Return the blocks of a transformer over tokens of width `dim`; none without settings.

    Raises:
        ComponentError: if the heads do not divide the width of attention.
    """
    if spec is None:
        return []
    return slots_blocks(
        dim,
        spec.layers,
        spec.heads,
        spec.mlp_dim or 2 * dim,
        norm="pre",
        layer_norm_eps=spec.layer_norm_eps,
        attention_dim=spec.attention_dim or dim,
    )
