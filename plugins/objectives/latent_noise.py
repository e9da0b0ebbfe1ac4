"""Mean squared error in the latents of a frozen codec: of the noise that a diffusion decoder predicts.

Sources: Rombach et al. 2022, equation 2, with the latents of Wu et al. 2023 (SlotDiffusion), section 3.2.
The decoder draws a step and noise, and gives the noise as its own target (`Decoded.target_BCHW`); one that
draws nothing predicts the latents themselves. Latents are those before they are brought to codes.

In a validation each image's step and noise are drawn from a stream of its own, the same at every step of the
training, so that the curve shows the model and not the draws.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, LatentCodec, Losses, ObjectiveContext, Quantizes, TargetShape
from slotlab.framework.model.frozen_codec import frozen_codec
from slotlab.framework.model.held import Held
from slotlab.registry import Component, ComponentConfig, Ref, RefTo, hookimpl


class LatentNoiseConfig(ComponentConfig):
    """Settings of the error in latents."""

    codec: Annotated[Ref, RefTo("codec")]
    """The codec, trained before: `{name: trained, source: {run: ../runs/vqvae}}`."""


class LatentNoise(nn.Module):
    """The target are the codec's latents (B, C, H, W)."""

    target_settings = ("codec",)
    """The settings that decide about them."""

    def __init__(self, config: LatentNoiseConfig, context: ObjectiveContext):
        super().__init__()
        codec = frozen_codec(config.codec, context, wanted=LatentCodec, what="latents")
        self.codec = Held(codec)
        self.target_shape: TargetShape = codec.latent_shape
        self.quantizes = isinstance(codec, Quantizes)

    @property
    def target_maker(self) -> nn.Module:
        """The codec: nothing else decides about the target, so it can be stored."""
        codec: nn.Module = self.codec.module
        return codec

    @torch.no_grad()
    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the latents, before they are brought to codes."""
        latents_BCHW: Tensor = self.codec.module.encode(images_BCHW)
        return latents_BCHW

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Return the codes nearest to latents; latents as they are where the codec has no codes."""
        if not self.quantizes:
            return latents_BCHW
        nearest_BCHW: Tensor = self.codec.module.nearest(latents_BCHW)
        return nearest_BCHW

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over everything, a scalar."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        return Losses(F.mse_loss(decoded.prediction_BCHW, target_BCHW))

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the picture of latents."""
        images_BCHW: Tensor = self.codec.module.decode(prediction_BCHW)
        return images_BCHW


@hookimpl
def slotlab_objectives() -> Iterable[Component[LatentNoiseConfig]]:
    """Provide `latent_noise`."""
    yield Component(
        name="latent_noise",
        config=LatentNoiseConfig,
        build=LatentNoise,
        summary="mean squared error of the noise in a frozen codec's latents",
    )
