"""What the parts of a model receive when they are built, and what they pass to one another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import NonNegativeFloat
from torch import Generator, Tensor, nn

from slotlab.framework.contracts.data import Size
from slotlab.registry import ComponentConfig


@dataclass(frozen=True, kw_only=True)
class EncoderContext:
    """For encoders: the images that they will receive."""

    image_size: Size
    image_channels: int = 3
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Least and largest value of the images: (-1, 1) or (0, 1), by the spec's protocol."""


@dataclass(frozen=True, kw_only=True)
class PositionContext:
    """For position codes: the feature map's size and width."""

    grid: Size
    dim: int


@dataclass(frozen=True, kw_only=True)
class InitializerContext:
    """For initializers: how many slots, how wide, and the width of the tokens."""

    num_slots: int
    slot_dim: int
    token_dim: int


@dataclass(frozen=True, kw_only=True)
class GroupingContext:
    """For groupings: the slots' width and the tokens' width and layout."""

    slot_dim: int
    token_dim: int
    grid: Size
    traced: bool = False
    """Whether `Grouped.trace` is asked for, by an auxiliary loss."""


@dataclass(frozen=True)
class TargetShape:
    """What is predicted for one image: `channels` values at each of `size` positions.

    Where there are `classes`, the target is one of them at each position: int64 of shape (B, 1, *size), with
    one channel. A decoder's `forward` then predicts logits (B, classes, *size), or what `Decoded.readout`
    makes logits of; its `sample` chooses classes, int64 of the target's shape.

    Where it is `soft`, the target are shares over the channels at each position, and the prediction is their
    logits.
    """

    channels: int
    size: Size
    classes: int | None = None
    soft: bool = False


@dataclass(frozen=True, kw_only=True)
class ObjectiveContext:
    """For objectives: the images and the encoder's features, both possible targets."""

    image_size: Size
    feature_channels: int
    grid: Size
    image_channels: int = 3
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Least and largest value of the images, as for encoders; `to_image` returns images in it."""
    encoder: nn.Module | None = None
    """The model's encoder, to be copied as a frozen target network, never to be held itself."""


@dataclass(frozen=True, kw_only=True)
class DecoderContext:
    """For decoders: the slots' number and width, and what is to be predicted."""

    slot_dim: int
    target: TargetShape
    num_slots: int | None = None
    """The number of slots in training; an evaluation may ask for another."""
    grid: Size | None = None
    """Rows and columns of the tokens that the slots were grouped from."""
    nearest: Callable[[Tensor], Tensor] | None = None
    """Brings latents (B, *target) to the nearest ones that the target can have, for a codec with codes; None
    where every value can be."""


RandomSource = Generator | Sequence[Generator] | None
"""Where random draws come from: one stream for the batch, one per image, or torch's own (None)."""
KEEP = "keep"
"""The name in `Slots.extras` of the weight that says whether a slot is kept."""


@dataclass(frozen=True)
class Slots:
    """Slots, and whatever else belongs to each slot.

    Every tensor in `extras` (a pose, a keep-or-drop weight) has leading axes (B, K), so
    that slots can be chosen, mixed and reordered without knowing what the extras mean. One has a meaning
    everywhere: `keep` (see `keep_BK`).
    """

    vectors_BKD: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def keep_BK(self) -> Tensor | None:
        """Floats in [0, 1]: 0 for a dropped slot, which decoders give no mask; None if all are kept."""
        return self.extras.get(KEEP)

    def select(self, index_K: Tensor) -> "Slots":
        """Return the slots at `index_K` (int64), the same for every image."""
        chosen = {name: extra.index_select(1, index_K) for name, extra in self.extras.items()}
        return Slots(self.vectors_BKD.index_select(1, index_K), chosen)


@dataclass(frozen=True)
class GroupingTrace:
    """What a grouping computed on its way, for auxiliary losses. T iterations, the last one included."""

    logits_BKN: Tensor
    """The last iteration's attention before the softmax over slots."""
    attention_BTKN: Tensor
    """The attention of every iteration."""


@dataclass(frozen=True)
class Grouped:
    """The output of a grouping."""

    slots: Slots
    attention_BKN: Tensor
    """The attention of the last iteration, in [0, 1]; sums to one over K at each token."""
    trace: GroupingTrace | None = None
    """Made only if `GroupingContext.traced` asks for it."""


@dataclass(frozen=True)
class Decoded:
    """The output of a decoder: in training (`forward`), or as a picture (`Sampler.sample`)."""

    prediction_BCHW: Tensor
    """In the space of the objective's target."""
    masks_BKHW: Tensor | None = None
    """Not negative; sum to one over K at each pixel, or to a little less where slots were dropped; None for
    decoders without alpha masks. As many rows and columns as the target, or fewer in the same proportion:
    they are then brought to its size."""
    parts_BKCHW: Tensor | None = None
    """Each slot's own prediction, before mixing, of the prediction's shape; None if there are none."""
    target_BCHW: Tensor | None = None
    """Set by a decoder that chooses its own target (the noise of a diffusion step)."""
    readout: Callable[[Tensor], Tensor] | None = None
    """For a target of classes: maps the prediction's channels, (..., C), to logits (..., classes). A loss
    calls it for some positions at a time, so that all logits together need not fit into memory."""


@dataclass(frozen=True)
class ModelOutput:
    """Everything that one forward pass in training computed; the decoder received the target."""

    images_BCHW: Tensor
    features_BCHW: Tensor
    tokens_BND: Tensor
    initial: Slots
    grouped: Grouped
    decoded: Decoded
    target_BCHW: Tensor
    grid: Size
    generator: RandomSource = None
    """The stream of this pass, for losses that draw, after all that the model has drawn."""
    frames: int = 1
    """How many frames each clip has: B are then those of all clips, clip after clip; 1 for images."""
    target_losses: "Losses | None" = None
    """Those of what makes the target, if the objective trains it (`TrainsWithTarget`)."""

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""
        attention_BKN = self.grouped.attention_BKN
        return attention_BKN.reshape(*attention_BKN.shape[:2], *self.grid)


@dataclass(frozen=True)
class Losses:
    """`total` is minimized; `terms` are its parts, for the log. All are scalars."""

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """The target of the prediction, and the loss."""

    target_shape: TargetShape

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor, **given: Any) -> Tensor:
        """Return the target, of shape (B, *target_shape); `given` is what it asks for (`HasNeeds`)."""

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the losses; `decoded.target_BCHW`, if set, takes the place of `target_BCHW`."""

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the prediction as images in the spec's value range, or None if it is not an image."""


@dataclass(frozen=True, kw_only=True)
class AuxiliaryContext:
    """For auxiliary losses: the images, the slots and the tokens."""

    image_size: Size
    num_slots: int
    slot_dim: int
    token_dim: int
    grid: Size
    value_range: tuple[float, float] = (-1.0, 1.0)


class AuxiliaryConfig(ComponentConfig):
    """Base of the settings of auxiliary losses."""

    weight: NonNegativeFloat = 1.0
    """Factor on the loss; may change during training (`training.anneal`, `auxiliary.NAME.weight`)."""


class Auxiliary(Protocol):
    """A loss beside the objective's, from all that a forward pass in training computed.

    Its Config is a subclass of `AuxiliaryConfig`, whose `weight` the framework applies.
    """

    traced: bool
    """Whether it reads `output.grouped.trace`."""
    # One that compares frames says `of_clips = True`: it is then tried on clips of two frames (`laws`).

    def __call__(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted, and its terms for the log.

        A mean over images. All randomness comes from `output.generator`.
        """
