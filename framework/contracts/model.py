"""What the parts of a model are told, and what they hand to one another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from slotlab.framework.contracts.data import Size


@dataclass(frozen=True, kw_only=True)
class EncoderContext:
    """For encoders: the images that will come."""

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


@dataclass(frozen=True)
class TargetShape:
    """What is predicted for one image: `channels` values at each of `size` positions."""

    channels: int
    size: Size


@dataclass(frozen=True, kw_only=True)
class ObjectiveContext:
    """For objectives: the images and the encoder's features, both possible targets."""

    image_size: Size
    feature_channels: int
    grid: Size
    image_channels: int = 3
    value_range: tuple[float, float] = (-1.0, 1.0)
    """Least and largest value of the images, as encoders are told; `to_image` gives images of it."""


@dataclass(frozen=True, kw_only=True)
class DecoderContext:
    """For decoders: the slots' width and what is to be predicted."""

    slot_dim: int
    target: TargetShape


@dataclass(frozen=True)
class Slots:
    """Slots, and whatever else belongs to each slot.

    Every tensor in `extras` (a pose, a keep-or-drop weight) has leading axes (B, K), so
    that slots can be chosen, mixed and reordered without knowing what the extras mean.
    """

    vectors_BKD: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def select(self, index_K: Tensor) -> "Slots":
        """Return the slots at `index_K` (int64), the same for every image."""
        chosen = {name: extra.index_select(1, index_K) for name, extra in self.extras.items()}
        return Slots(self.vectors_BKD.index_select(1, index_K), chosen)


@dataclass(frozen=True)
class Grouped:
    """What a grouping found."""

    slots: Slots
    attention_BKN: Tensor
    """Of the last iteration; sums to one over K at each token."""


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of slots."""

    prediction_BCHW: Tensor
    """In the space of the objective's target."""
    masks_BKHW: Tensor | None = None
    """Sum to one over K at each pixel; None for decoders without alpha masks."""
    parts_BKCHW: Tensor | None = None
    """Each slot's own prediction, before mixing; None for decoders that have none."""
    target_BCHW: Tensor | None = None
    """Set by a decoder that chooses its own target (the noise of a diffusion step)."""


@dataclass(frozen=True)
class ModelOutput:
    """Everything one forward pass computed."""

    features_BCHW: Tensor
    tokens_BND: Tensor
    grouped: Grouped
    decoded: Decoded
    target_BCHW: Tensor
    grid: Size

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""
        attention_BKN = self.grouped.attention_BKN
        return attention_BKN.reshape(*attention_BKN.shape[:2], *self.grid)


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimized; `terms` are its parts, for the record. All scalars."""

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """What is to be predicted, and how far off a prediction is."""

    target_shape: TargetShape

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the target, of shape (B, *target_shape)."""

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Compare; a target that the decoder set itself comes first."""

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the prediction as images in the spec's value range, or None if it is no image."""
