"""A convolutional autoencoder whose latents are brought to the nearest codes of a codebook.

Source: van den Oord et al. 2017, "Neural Discrete Representation Learning"; Esser et al. 2021, "Taming
Transformers", and Rombach et al. 2022 for the network; Wu et al. 2023, "SlotDiffusion", for the settings,
which are the defaults here, except for LPIPS, whose weights are files that are not shipped. SlotDiffusion has
no discriminator. The latents that its diffusion model predicts are those before the codes: `encode`.

The network works on images in [-1, 1], whatever the spec's value range, so that losses are the same in both.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Len, Lt
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import CodecContext, Losses, TargetShape
from slotlab.framework.metrics.perceptual import LEAST_SIDE, PerceptualDistance
from slotlab.framework.model.autoencoder_blocks import Layout, make_decoder, make_encoder
from slotlab.framework.model.codebook import Codebook, code_usage, straight_through
from slotlab.framework.model.draws import Dropping, dropping, unchanged
from slotlab.framework.model.held import Held
from slotlab.framework.model.value_range import SIGNED, rescale
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import ClosedModel


class Perceptual(ClosedModel):
    """The perceptual term of the loss: LPIPS with VGG-16."""

    weight: PositiveFloat = 1.0
    """Factor on the distance."""
    backbone: SpecPath
    """File of torchvision's ImageNet weights of VGG-16, `vgg16-397923af.pth`. Nothing is downloaded."""
    linear: SpecPath | None = None
    """File of the weights fitted to human judgments; null for those of the installed package `lpips`."""


class VQVAEConfig(ComponentConfig):
    """Settings of a VQ-VAE."""

    width: PositiveInt = 64
    """Channels after the first convolution, of which `multipliers` are multiples."""
    multipliers: Annotated[tuple[PositiveInt, ...], Len(1, 8)] = (1, 2, 4)
    """Channels of each level; the map is halved between two levels, so that three levels make a quarter."""
    blocks: PositiveInt = 2
    """Residual blocks of each level; the decoder has one more."""
    latent_channels: PositiveInt = 3
    """Numbers of a code, and of the latents at each position."""
    codes: PositiveInt = 4096
    """How many codes there are."""
    code_spread: PositiveFloat | None = None
    """Codes start uniform in +- this; null for 1 / codes, as published. Latents of the untrained encoder are
    larger than that by far, so that few codes are chosen at first."""
    norm_groups: PositiveInt = 32
    """Groups of the norms; they divide the channels of every level."""
    dropout: Annotated[NonNegativeFloat, Lt(1)] = 0.0
    """Share of the features that each residual block drops in training."""
    middle_attention: bool = True
    """Whether positions attend to one another where the map is smallest."""
    commitment: NonNegativeFloat = 1.0
    """Weight of the mean squared distance that moves latents to their codes."""
    codebook: NonNegativeFloat = 0.25
    """Weight of the mean squared distance that moves codes to their latents. The paper of 2017 has 1 here and
    0.25 (beta) for `commitment`. The code of Esser et al., which SlotDiffusion and latent diffusion train
    with, has them swapped; so are the defaults."""
    perceptual: Perceptual | None = None
    """LPIPS beside the reconstruction's error, which is then the mean absolute difference, as published;
    without it the error is the mean squared difference."""


class VQVAE(nn.Module):
    """Images (B, 3, H, W) to latents (B, latent_channels, H / f, W / f), codes and back.

    f is 2 to the power of the levels less one.
    """

    own_weights = False

    def __init__(self, config: VQVAEConfig, context: CodecContext):
        super().__init__()
        layout = check_layout(config, context)
        self.codes, self.value_range = config.codes, context.value_range
        self.dropout, self.commitment, self.codebook_weight = (
            config.dropout,
            config.commitment,
            config.codebook,
        )
        rows, columns = (side // layout.reduction for side in context.image_size)
        self.token_grid = (rows, columns)
        channels = config.latent_channels
        self.latent_shape = TargetShape(channels, self.token_grid)
        self.encoder = make_encoder(layout, context.image_channels, channels)
        self.to_latents = nn.Conv2d(channels, channels, 1)
        self.codebook = Codebook(config.codes, channels, config.code_spread or 1 / config.codes)
        self.from_codes = nn.Conv2d(channels, channels, 1)
        self.decoder = make_decoder(layout, context.image_channels, channels)
        self.perceptual_weight = 0.0 if config.perceptual is None else config.perceptual.weight
        self.distance = make_distance(config.perceptual, context)

    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Return the latents (B, *latent_shape), before the codes."""
        return self._encode(rescale(images_BCHW, self.value_range, SIGNED))

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """Return the code nearest to the latents at each position, (B, *latent_shape)."""
        return self.codebook.look_up(self.codebook.tokens(latents_BCHW))

    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of the codes nearest to the latents."""
        return self._picture(self.nearest(latents_BCHW))

    def reconstruct(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from their codes."""
        return self.decode(self.encode(images_BCHW))

    def tokens(self, images_BCHW: Tensor) -> Tensor:
        """Return the index of each position's code, int64 (B, *token_grid)."""
        return self.codebook.tokens(self.encode(images_BCHW))

    def paint(self, tokens_BHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of codes by their index."""
        return self._picture(self.codebook.look_up(tokens_BHW))

    def losses(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Losses:
        """Return the sum of the terms, and the use of codes in this batch for the log."""
        drop = dropping(self.dropout if self.training else 0.0, generator)
        signed_BCHW = rescale(images_BCHW, self.value_range, SIGNED)
        latents_BCHW = self._encode(signed_BCHW, drop)
        tokens_BHW = self.codebook.tokens(latents_BCHW)
        codes_BCHW = self.codebook.look_up(tokens_BHW)
        made_BCHW = self._decode(straight_through(latents_BCHW, codes_BCHW), drop)
        terms = self._errors(signed_BCHW, made_BCHW)
        commitment = F.mse_loss(latents_BCHW.to(codes_BCHW.dtype), codes_BCHW.detach())
        codebook = F.mse_loss(codes_BCHW, latents_BCHW.detach().to(codes_BCHW.dtype))
        terms["quantization"] = self.commitment * commitment + self.codebook_weight * codebook
        total = torch.stack(list(terms.values())).sum()
        return Losses(total, terms | code_usage(tokens_BHW, self.codes, total.dtype))

    def _errors(self, signed_BCHW: Tensor, made_BCHW: Tensor) -> dict[str, Tensor]:
        made_BCHW = made_BCHW.to(signed_BCHW.dtype)
        if self.distance is None:
            return {"reconstruction": F.mse_loss(made_BCHW, signed_BCHW)}
        distance_B = self.distance.module(signed_BCHW, made_BCHW, signed_BCHW.dtype)
        return {
            "reconstruction": F.l1_loss(made_BCHW, signed_BCHW),
            "perceptual": self.perceptual_weight * distance_B.mean(),
        }

    def _encode(self, signed_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        latents_BCHW: Tensor = self.to_latents(self.encoder(signed_BCHW, drop))
        return latents_BCHW

    def _decode(self, codes_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        made_BCHW: Tensor = self.decoder(self.from_codes(codes_BCHW), drop)
        return made_BCHW

    def _picture(self, codes_BCHW: Tensor) -> Tensor:
        return rescale(self._decode(codes_BCHW), SIGNED, self.value_range)


def check_layout(config: VQVAEConfig, context: CodecContext) -> Layout:
    """Return the widths and depth of the network.

    Raises:
        ComponentError: if images cannot be halved so often, or the groups do not divide the channels.
    """
    layout = Layout(
        width=config.width,
        multipliers=config.multipliers,
        blocks=config.blocks,
        norm_groups=config.norm_groups,
        middle_attention=config.middle_attention,
    )
    rows, columns = context.image_size
    if rows % layout.reduction or columns % layout.reduction:
        text = f"{len(config.multipliers)} levels need images whose sides are multiples of {layout.reduction}"
        raise ComponentError(f"{text}, not {rows}x{columns}", field="multipliers")
    for channels in (config.width, *layout.widths):
        if channels % config.norm_groups:
            text = f"{config.norm_groups} groups do not divide the {channels} channels of a level"
            raise ComponentError(f"{text}; take a divisor", field="norm_groups")
    return layout


def make_distance(config: Perceptual | None, context: CodecContext) -> Held | None:
    """Return the perceptual distance, which is no child, as the spec names its files; None without settings.

    Raises:
        ComponentError: if its files or the images do not do.
    """
    if config is None:
        return None
    least = LEAST_SIDE["vgg"]
    if min(context.image_size) < least:
        rows, columns = context.image_size
        text = f"VGG needs images of at least {least}x{least} pixels, not {rows}x{columns}; write null"
        raise ComponentError(text, field="perceptual")
    try:
        distance = PerceptualDistance(
            "vgg", backbone=config.backbone, linear=config.linear, value_range=SIGNED
        )
    except ComponentError as error:
        raise ComponentError(f"{error.field}: {error}", field="perceptual") from error
    return Held(distance)


@hookimpl
def slotlab_codecs() -> Iterable[Component[VQVAEConfig]]:
    """Provide `vqvae`."""
    yield Component(
        name="vqvae",
        config=VQVAEConfig,
        build=VQVAE,
        summary="convolutional autoencoder with a codebook (SlotDiffusion's first stage)",
    )
