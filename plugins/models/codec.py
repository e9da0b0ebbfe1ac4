"""A codec as what is trained: pictures to latents or tokens and back, without slots.

Its run is the input of models that predict latents or tokens: `codec: {name: trained, source: {run: ...}}`.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import (
    Batch,
    Codec,
    CodecContext,
    Losses,
    Model,
    ModelContext,
    RandomSource,
    Reconstruction,
    TokenCodec,
    Tokens,
)
from slotlab.framework.randomness.noise import with_noise
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class CodecModelConfig(ComponentConfig):
    """Settings of a codec that is trained."""

    codec: Annotated[Ref, RefTo("codec")]
    """The codec: it has losses of its own, and no objective is needed."""
    weight_init: Literal["torch", "keras"] = "torch"
    """How the weights of convolutions and linear maps are drawn: as torch does, or as Keras (Glorot-uniform,
    zero biases), which are larger; a small VQ-VAE needs them."""


class CodecModel(Model):
    """Trains a codec by its own losses."""

    def __init__(self, codec: Any, context: ModelContext):
        super().__init__(context.names)
        self.codec = codec

    def losses(self, batch: Batch, *, generator: RandomSource = None) -> Losses:
        """Return the codec's losses."""
        with self.calling("codec"):
            losses: Losses = with_noise(self.codec.losses, generator, batch.images_BCHW)
        return losses

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
    ) -> Reconstruction:
        """Return pictures as they come back from the codec, and their tokens; nothing is drawn."""
        codec = self.codec
        with self.calling("codec"):
            images = codec.reconstruct(images_BCHW)
            tokens = codec.tokens(images_BCHW) if isinstance(codec, TokenCodec) else None
        drawn = None if tokens is None else Tokens(tokens, codec.codes)
        return Reconstruction(None, None, images, tokens=drawn)


def build(config: CodecModelConfig, context: ModelContext) -> CodecModel | None:
    """Build the codec; None if it fails."""
    images = CodecContext(image_size=context.image_size, value_range=context.value_range)
    codec = context.parts.build(config.codec, images, "codec", check=trainable)
    return None if codec is None else CodecModel(codec, context)


def trainable(codec: Any) -> None:
    """Refuse what is no codec, and one that was trained already."""
    if not isinstance(codec, nn.Module) or not isinstance(codec, Codec):
        raise ComponentError("what it builds should be a torch.nn.Module and a slotlab.contracts.Codec")
    if codec.own_weights:
        raise ComponentError("is trained already: there is nothing to train; name it in an objective")


@hookimpl
def slotlab_models() -> Iterable[Component[CodecModelConfig]]:
    """Provide `codec`."""
    yield Component(
        name="codec",
        config=CodecModelConfig,
        build=build,
        summary="a codec alone: pictures to latents or tokens and back",
    )
