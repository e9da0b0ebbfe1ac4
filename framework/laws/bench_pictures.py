"""What decoders, codecs and objectives are tried on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Codec,
    CodecContext,
    DecoderContext,
    LatentCodec,
    ObjectiveContext,
    Quantizes,
    RelaxedCodec,
    Slots,
    TargetShape,
    TokenCodec,
)
from slotlab.framework.contracts.promises import (
    expect,
    expect_classes,
    expect_decoded,
    expect_losses,
    expect_type,
)
from slotlab.framework.laws.bench import SIDES, Bench, Tensors, sides
from slotlab.framework.laws.inputs import given_for, noise, pictures
from slotlab.framework.model.needs import needs_of
from slotlab.registry import ComponentError


class DecoderBench(Bench):
    """Decoders: the vectors of slots, and the target."""

    told = DecoderContext
    draws = True

    def contexts(self) -> Sequence[DecoderContext]:
        """Return square targets."""
        return [decoder_context((side, side), dim) for side in SIDES for dim in (8, 64)]

    def others(self, context: DecoderContext) -> Sequence[tuple[str, DecoderContext]]:
        """Return targets that are no squares, of other channels, and other widths of slots."""
        size, dim = context.target.size, context.slot_dim
        shapes = [(name, decoder_context(other, dim)) for name, other in sides(size[0])]
        return [
            *shapes,
            ("a target of 5 channels", decoder_context(size, dim, channels=5)),
            (f"slots of width {dim + 4}", decoder_context(size, dim + 4)),
        ]

    def inputs(self, context: DecoderContext, batch: int, seed: int) -> Tensors:
        """Return the vectors of four slots, and a target."""
        shape = (batch, context.target.channels, *context.target.size)
        return noise(batch, 4, context.slot_dim, seed=seed), noise(*shape, seed=seed - 2).clamp(-1, 1)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return prediction, masks and parts, as in training."""
        decoded = part(Slots(inputs[0]), target_BCHW=inputs[1], generator=generator, **guide(part))
        return checked_decoded(decoded, context, len(inputs[0]), 4, "forward")


def decoder_context(size: tuple[int, int], dim: int, channels: int = 3) -> DecoderContext:
    """Return what a decoder of four slots is told."""
    grid = (max(1, size[0] // 4), max(1, size[1] // 4))
    return DecoderContext(slot_dim=dim, target=TargetShape(channels, size), num_slots=4, grid=grid)


def guide(part: Any) -> dict[str, Any]:
    """Return what a guided decoder is given where slots belong to no image."""
    return {"grouped": None} if getattr(part, "guided", False) else {}


def checked_decoded(decoded: Any, context: DecoderContext, batch: int, slots: int, method: str) -> Tensors:
    """Return prediction, masks and parts of what a decoder gave, after a look at their shapes."""
    expect_decoded(decoded, batch, slots, context.target, method=method)
    found = (decoded.prediction_BCHW, decoded.masks_BKHW, decoded.parts_BKCHW)
    return tuple(tensor for tensor in found if tensor is not None)


class CodecBench(Bench):
    """Codecs: images."""

    told = CodecContext
    draws = True

    def contexts(self) -> Sequence[CodecContext]:
        """Return square images."""
        return [CodecContext(image_size=(side, side)) for side in SIDES]

    def others(self, context: CodecContext) -> Sequence[tuple[str, CodecContext]]:
        """Return images that are no squares."""
        return [(name, CodecContext(image_size=size)) for name, size in sides(context.image_size[0])]

    def inputs(self, context: CodecContext, batch: int, seed: int) -> Tensors:
        """Return images."""
        return (pictures(batch, *context.image_size, seed=seed),)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return all that it makes of images; tokens as floats."""
        return coded(part, inputs[0])


def coded(codec: Any, images_BCHW: Tensor) -> Tensors:
    """Return all that a codec makes of images, each with a first axis of images; tokens as floats."""
    expect_type(codec, nn.Module, "build")
    if not isinstance(codec, Codec):
        raise ComponentError("a codec has 'own_weights', 'reconstruct' and 'losses', and this one lacks some")
    batch, shape = len(images_BCHW), tuple(images_BCHW.shape)
    found = [codec.reconstruct(images_BCHW)]
    expect(found[0], shape, "what reconstruct returns")
    if isinstance(codec, LatentCodec):
        latents = codec.encode(images_BCHW)
        expect(latents, (batch, codec.latent_shape.channels, *codec.latent_shape.size), "what encode returns")
        found += [latents, codec.decode(latents)]
        expect(found[-1], shape, "what decode returns")
    if isinstance(codec, LatentCodec) and isinstance(codec, Quantizes):
        found += [codec.nearest(codec.encode(images_BCHW))]
    if isinstance(codec, TokenCodec):
        tokens = codec.tokens(images_BCHW)
        expect(tokens, (batch, *codec.token_grid), "what tokens returns", floating=False)
        expect_classes(tokens, "what tokens returns")
        found += [tokens.float(), codec.paint(tokens)]
        expect(found[-1], shape, "what paint returns")
    if isinstance(codec, RelaxedCodec):
        logits = codec.logits(images_BCHW)
        expect(logits, (batch, codec.codes, *codec.token_grid), "what logits returns")
        found += [logits, codec.paint_weights(logits.softmax(1))]
    return tuple(found)


def codec_losses(codec: Any, images_BCHW: Tensor, generator: Generator | None) -> Tensor:
    """Return the total of a codec's losses, after a look at them."""
    losses = codec.losses(images_BCHW, generator=generator)
    expect_losses(losses)
    total: Tensor = losses.total
    return total


class ObjectiveBench(Bench):
    """Objectives: images and features."""

    told = ObjectiveContext

    def contexts(self) -> Sequence[ObjectiveContext]:
        """Return square images."""
        return [objective_context((side, side)) for side in SIDES]

    def others(self, context: ObjectiveContext) -> Sequence[tuple[str, ObjectiveContext]]:
        """Return images that are no squares, and the other range of values."""
        return [
            *((name, objective_context(size)) for name, size in sides(context.image_size[0])),
            ("images in (0, 1)", objective_context(context.image_size, (0.0, 1.0))),
        ]

    def inputs(self, context: ObjectiveContext, batch: int, seed: int) -> Tensors:
        """Return images in the context's range, and features."""
        low, high = context.value_range
        images = (pictures(batch, *context.image_size, seed=seed) + 1) / 2 * (high - low) + low
        return images, noise(batch, context.feature_channels, *context.grid, seed=seed + 1)

    def call(self, part: Any, context: Any, inputs: Tensors, generator: Generator | None) -> Tensors:
        """Return the target."""
        for name in ("target_shape", "target", "loss", "to_image"):
            if not hasattr(part, name):
                raise ComponentError(f"an objective has '{name}', and this one does not")
        alone = len(inputs[0]) == 1 and "frames" in needs_of(part)  # a clip has at least two frames
        seen = tuple(torch.cat([one, one]) for one in inputs) if alone else inputs
        target, shape = part.target(*seen, **given_for(part, seen[0]))[: len(inputs[0])], part.target_shape
        expect_type(shape, TargetShape, "target_shape")
        what = "the target, by its target_shape,"
        expect(target, (len(inputs[0]), shape.channels, *shape.size), what, floating=shape.classes is None)
        return (target,)


def objective_context(
    size: tuple[int, int], value_range: tuple[float, float] = (-1.0, 1.0)
) -> ObjectiveContext:
    """Return what an objective is told; the encoder is a single layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder: Any = nn.Conv2d(3, 5, 4, 4)
    encoder.channels, encoder.grid = 5, (size[0] // 4, size[1] // 4)
    return ObjectiveContext(
        image_size=size, feature_channels=5, grid=encoder.grid, value_range=value_range, encoder=encoder
    )
