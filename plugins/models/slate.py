"""SLATE: a discrete VAE, and slots that predict its tokens, trained together.

Source: Singh et al. 2022, "Illiterate DALL-E Learns to Compose", section 3. The slots are grouped from the
embeddings of the tokens themselves: there is no encoder of images. Two samples of the tokens are drawn in
training: a relaxed one, from which the codec makes the picture, and a hard one, that the slots read and the
decoder predicts, without gradient to the codec. Outside of training tokens are the likeliest ones.

A model with an encoder of images predicts tokens by an objective, `token_cross_entropy`, whose codec was
trained before or is trained with the rest.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from einops import rearrange
from pydantic import PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Batch,
    CodecContext,
    Decoded,
    DecoderContext,
    Found,
    Grouped,
    GroupingContext,
    InitializerContext,
    Losses,
    Model,
    ModelContext,
    RandomSource,
    Reconstruction,
    RelaxedCodec,
    Slots,
    TargetShape,
    Tokens,
)
from slotlab.framework.contracts.promises import expect_decoded, expect_type
from slotlab.framework.model.class_loss import class_cross_entropy
from slotlab.framework.model.joint_codec import drawn_with_losses
from slotlab.framework.model.projection import Projection
from slotlab.framework.randomness.noise import with_noise
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class SlateConfig(ComponentConfig):
    """Codec, initial slots, grouping, decoder."""

    codec: Annotated[Ref, RefTo("codec")]
    """The discrete VAE that is trained with the rest: `dvae`."""
    slots: PositiveInt
    """Number of slots: at least one more than there are objects, for the background."""
    slot_dim: PositiveInt = 192
    """Width of a slot."""
    initializer: Annotated[Ref, RefTo("initializer")]
    """The slots before the first iteration."""
    grouping: Annotated[Ref, RefTo("grouping")]
    """From tokens and initial slots to slots."""
    decoder: Annotated[Ref, RefTo("decoder")]
    """From slots to tokens, which it reads in training: `autoregressive`. Its inputs are also the slots'."""
    weight_init: Literal["torch", "keras"] = "torch"
    """How the weights of convolutions, linear maps and GRU cells are drawn: as torch does, or as Keras."""


@runtime_checkable
class ReadsTokens(Protocol):
    """A decoder whose embedding of tokens can be used by others."""

    def read(self, values_BTC: Tensor, place: int) -> Tensor:
        """Return inputs (B, T, W) for tokens (B, T) of which the first is input number `place`."""


class Slate(Model):
    """A codec, the slots that are found in its tokens, and the decoder that predicts the tokens from them."""

    compiled = ("grouping",)

    def __init__(
        self,
        *,
        codec: Any,
        projection: nn.Module,
        initializer: Any,
        grouping: nn.Module,
        decoder: Any,
        target: TargetShape,
        context: ModelContext,
    ):
        super().__init__(context.names)
        self.target = target
        self.codec = codec
        self.decoder = decoder
        self.projection = projection
        self.initializer = initializer
        self.grouping = grouping

    @property
    def fixed_num_slots(self) -> bool:
        """Whether the initializer makes the trained number of slots alone."""
        return bool(self.initializer.fixed_num_slots)

    def losses(self, batch: Batch, *, generator: RandomSource = None) -> Losses:
        """Return the codec's losses and, summed over tokens, the cross-entropy of a separate hard sample."""
        images_BCHW = batch.images_BCHW
        with self.calling("codec"):
            tokens_BHW, own = drawn_with_losses(self.codec, images_BCHW, generator)
        grouped = self.group(tokens_BHW, generator=generator)
        target_B1HW = tokens_BHW[:, None]
        with self.calling("decoder"):
            decoded: Decoded = with_noise(self.teach, generator, grouped.slots, target_B1HW)
        entropy = class_cross_entropy(decoded, target_B1HW, self.codec.codes)
        total = own.total + entropy * tokens_BHW[0].numel()
        return Losses(total, {"codec": own.total, "tokens": entropy, **own.terms})

    def teach(self, slots: Slots, target_B1HW: Tensor, *, generator: Generator | None) -> Decoded:
        """Decode slots as in training: the decoder is told the tokens."""
        decoded: Decoded = self.decoder(slots, target_BCHW=target_B1HW, generator=generator)
        return decoded

    def group(
        self, tokens_BHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> Grouped:
        """Find slots in tokens."""
        with self.calling("decoder"):
            read_BNW = self.decoder.read(tokens_BHW.flatten(1), 1)
        read_BWHW = rearrange(read_BNW, "b (h w) c -> b c h w", h=tokens_BHW.shape[1])
        inputs_BND: Tensor = self.projection(read_BWHW)
        with self.calling("initializer"):
            slots = with_noise(self.initializer, generator, inputs_BND, num_slots)
        with self.calling("grouping"):
            grouped: Grouped = with_noise(self.grouping, generator, inputs_BND, slots)
        with self.promising("grouping"):
            expect_type(grouped, Grouped)
        return grouped

    def find_slots(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> Found:
        """Find the slots of images, from their likeliest tokens."""
        return self._found(self.codec.tokens(images_BCHW), num_slots, generator)

    def _found(self, tokens_BHW: Tensor, num_slots: int | None, generator: RandomSource) -> Found:
        grouped = self.group(tokens_BHW, num_slots=num_slots, generator=generator)
        attention_BKN = grouped.attention_BKN
        return Found(grouped.slots, attention_BKN.reshape(*attention_BKN.shape[:2], *tokens_BHW.shape[1:]))

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
    ) -> Reconstruction:
        """Find the slots of images, and make pictures of the slots alone, token by token."""
        with self.calling("codec"):
            tokens_BHW = self.codec.tokens(images_BCHW)
        found = self._found(tokens_BHW, num_slots, generator)
        painted = self.paint(found.slots, generator=painting)
        tokens = Tokens(tokens_BHW, self.codec.codes)
        return Reconstruction(found, painted, self.to_image(painted.prediction_BCHW), tokens=tokens)

    def paint(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Predict tokens, one after the other, from slots alone."""
        with self.calling("decoder"):
            painted: Decoded = with_noise(self.decoder.sample, generator, slots)
        batch, number = slots.vectors_BKD.shape[:2]
        with self.promising("decoder"):
            expect_decoded(painted, batch, number, self.target, method="sample")
        return painted

    has_codec = True

    @torch.no_grad()
    def through_codec(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the codec."""
        back_BCHW: Tensor = self.codec.reconstruct(images_BCHW)
        return back_BCHW

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the picture of tokens (B, 1, H, W)."""
        images_BCHW: Tensor = self.codec.paint(prediction_BCHW[:, 0])
        return images_BCHW


def build(config: SlateConfig, context: ModelContext) -> Slate | None:
    """Build the parts; None if one fails."""
    parts, width = context.parts, config.slot_dim
    images = CodecContext(image_size=context.image_size, value_range=context.value_range)
    codec = parts.build(config.codec, images, "codec", check=relaxed)
    slots = InitializerContext(num_slots=config.slots, slot_dim=width, token_dim=width)
    initializer = parts.build(config.initializer, slots, "initializer", attributes=("fixed_num_slots",))
    if codec is None:
        return None
    grid = codec.token_grid
    tokens = GroupingContext(slot_dim=width, token_dim=width, grid=grid)
    grouping = parts.build(config.grouping, tokens, "grouping")
    target = TargetShape(1, grid, classes=codec.codes)
    wanted = DecoderContext(slot_dim=width, target=target, num_slots=config.slots, grid=grid)
    decoder = parts.build(config.decoder, wanted, "decoder", attributes=("sample",), check=reads_tokens)
    if parts.failed:
        return None
    with torch.no_grad():
        read = decoder.read(torch.zeros(1, 1, dtype=torch.int64), 1).shape[2]
    projection = Projection(nn.Identity(), channels=read, hidden_dim=width, dim=width, layer_norm_eps=1e-5)
    return Slate(
        codec=codec,
        projection=projection,
        initializer=initializer,
        grouping=grouping,
        decoder=decoder,
        target=target,
        context=context,
    )


def relaxed(codec: Any) -> None:
    """Refuse a codec that cannot be trained with the rest."""
    if not isinstance(codec, RelaxedCodec):
        raise ComponentError("cannot be trained with what predicts its tokens; take dvae")
    if codec.own_weights:
        text = "is trained already: write model 'slot_autoencoder' with objective 'token_cross_entropy'"
        raise ComponentError(text)


def reads_tokens(decoder: Any) -> None:
    """Refuse a decoder without an embedding of tokens."""
    if not isinstance(decoder, ReadsTokens):
        raise ComponentError("has no embedding of tokens, from which slots are grouped; take autoregressive")


@hookimpl
def slotlab_models() -> Iterable[Component[SlateConfig]]:
    """Provide `slate`."""
    yield Component(
        name="slate",
        config=SlateConfig,
        build=build,
        summary="a discrete VAE and slots that predict its tokens, trained together (SLATE)",
    )
