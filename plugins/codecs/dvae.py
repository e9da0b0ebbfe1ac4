"""A discrete autoencoder: each patch of 4x4 pixels becomes one of a set of codes, chosen by Gumbel softmax.

Source: Singh et al. 2022, "Illiterate DALL-E Learns to Compose" (SLATE), and their code: 1x1 convolutions on
patches, norms of one group, pictures made of weights over codes by two pixel shuffles; no prior on the codes.
SLATE trains it together with what predicts the tokens; so does STEVE (Singh et al. 2022), with `codes: 4096`
and `norm: none`; SlotDiffusion (Wu et al. 2023) before, on its own, and with `codes: 4096`, `reduction: mean`
and `pixels: signed`. All let the temperature fall from 1 to 0.1 by a cosine (`training.anneal`).
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import CodecContext, Losses
from slotlab.framework.model.codebook import code_usage
from slotlab.framework.model.gumbel import gumbel_noise, relaxed
from slotlab.framework.model.value_range import SIGNED, UNIT, rescale
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

PATCH = 4
"""Pixels of a token's side."""


class DVAEConfig(ComponentConfig):
    """Settings of a discrete autoencoder."""

    codes: PositiveInt = 1024
    """How many codes there are: 1024 in SLATE, 4096 in STEVE and SlotDiffusion."""
    width: PositiveInt = 64
    """Channels of all convolutions."""
    norm: Literal["group", "none"] = "group"
    """After each convolution but the last ones: a norm of one group, as in SLATE; or none and a bias in its
    place, as in STEVE's code."""
    tau: PositiveFloat = 1.0
    """Temperature of the Gumbel softmax; may change during training (`training.anneal`)."""
    straight_through: bool = False
    """Make pictures of the code that was drawn alone, with the gradient of the soft weights; published
    codecs are trained on the soft weights."""
    reduction: Literal["sum", "mean"] = "sum"
    """Of the squared error over channels and pixels: `sum` in SLATE, `mean` in SlotDiffusion. Images are
    always averaged."""
    pixels: Literal["unit", "signed"] = "unit"
    """What the network sees and makes, and the error is measured in, whatever the spec's value range: [0, 1],
    as in SLATE, or [-1, 1], as in SlotDiffusion, where squared errors are four times as large."""


class DVAE(nn.Module):
    """Images (B, 3, H, W) to tokens (B, H / 4, W / 4) and back."""

    own_weights = False
    schedulable = ("tau",)

    def __init__(self, config: DVAEConfig, context: CodecContext):
        super().__init__()
        rows, columns = context.image_size
        if rows % PATCH or columns % PATCH:
            raise ComponentError(f"images must have sides that are multiples of 4, not {rows}x{columns}")
        self.codes, self.token_grid = config.codes, (rows // PATCH, columns // PATCH)
        self.tau, self.straight_through = config.tau, config.straight_through
        self.reduction = config.reduction
        self.given, self.inner = context.value_range, UNIT if config.pixels == "unit" else SIGNED
        self.encoder = make_encoder(context.image_channels, config)
        self.decoder = make_decoder(context.image_channels, config)

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """Return the logarithm of each code's probability, (B, codes, *token_grid)."""
        found_BVHW = self.encoder(rescale(images_BCHW, self.given, self.inner))
        return F.log_softmax(found_BVHW, dim=1)

    def tokens(self, images_BCHW: Tensor) -> Tensor:
        """Return the most probable code at each position, int64 (B, *token_grid)."""
        return self.logits(images_BCHW).argmax(dim=1)

    def paint_weights(self, weights_BVHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of weights over codes (B, codes, *token_grid), which sum to one."""
        return rescale(self.decoder(weights_BVHW), self.inner, self.given)

    def paint(self, tokens_BHW: Tensor) -> Tensor:
        """Return images (B, 3, H, W) of tokens: of weights that are 1 for them and 0 for all other codes."""
        first = self.decoder[0]
        assert isinstance(first, nn.Sequential)
        assert isinstance(first[0], nn.Conv2d)
        columns_VC = first[0].weight[:, :, 0, 0].T  # what the first convolution makes of each code
        if first[0].bias is not None:
            columns_VC = columns_VC + first[0].bias
        hidden_BCHW = first[1:](F.embedding(tokens_BHW, columns_VC).movedim(-1, 1))
        return rescale(self.decoder[1:](hidden_BCHW), self.inner, self.given)

    def reconstruct(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from their most probable codes."""
        return self.paint(self.tokens(images_BCHW))

    def losses(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Losses:
        """Return the squared error of pictures of drawn weights, and the use of codes in this batch."""
        return self.losses_of(images_BCHW, self.logits(images_BCHW), generator=generator)

    def losses_of(
        self, images_BCHW: Tensor, logits_BVHW: Tensor, *, generator: Generator | None = None
    ) -> Losses:
        """Return the losses of images whose logits are known."""
        noise_BVHW = gumbel_noise(logits_BVHW, generator)
        weights_BVHW = relaxed(logits_BVHW, noise_BVHW, self.tau, straight_through=self.straight_through)
        target_BCHW = rescale(images_BCHW, self.given, self.inner)
        error = F.mse_loss(self.decoder(weights_BVHW).to(target_BCHW.dtype), target_BCHW)
        error = error * target_BCHW[0].numel() if self.reduction == "sum" else error
        usage = code_usage(logits_BVHW.argmax(dim=1), self.codes, error.dtype)
        return Losses(error, {"reconstruction": error} | usage)


def block(channels_in: int, channels: int, norm: str, size: int = 1, stride: int = 1) -> nn.Sequential:
    """Return a convolution, a norm of one group (or a bias) and a ReLU; 3x3 keeps the map's size."""
    padding, normed = size // 2 if stride == 1 else 0, norm == "group"
    convolution = nn.Conv2d(channels_in, channels, size, stride, padding, bias=not normed)
    nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, *([nn.GroupNorm(1, channels)] if normed else []), nn.ReLU())


def readout(channels_in: int, channels: int) -> nn.Conv2d:
    """Return a 1x1 convolution with Glorot-uniform weights and no bias at first."""
    convolution = nn.Conv2d(channels_in, channels, 1)
    nn.init.xavier_uniform_(convolution.weight)
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)
    return convolution


def make_encoder(image_channels: int, config: DVAEConfig) -> nn.Sequential:
    """Return the encoder: images to scores of codes for each patch."""
    width, norm = config.width, config.norm
    deeper = [block(width, width, norm) for _ in range(6)]
    first = block(image_channels, width, norm, PATCH, PATCH)
    return nn.Sequential(first, *deeper, readout(width, config.codes))


def make_decoder(image_channels: int, config: DVAEConfig) -> nn.Sequential:
    """Return the decoder: weights over codes to images of four times their rows and columns."""
    width, norm = config.width, config.norm
    parts: list[nn.Module] = [block(config.codes, width, norm)]
    for _ in range(2):  # each doubles rows and columns
        widths = [width, width, width, 4 * width]
        parts += [block(width, width, norm, 3), *(block(a, b, norm) for a, b in pairwise(widths))]
        parts += [nn.PixelShuffle(2)]
    return nn.Sequential(*parts, readout(width, image_channels))


@hookimpl
def slotlab_codecs() -> Iterable[Component[DVAEConfig]]:
    """Provide `dvae`."""
    yield Component(
        name="dvae",
        config=DVAEConfig,
        build=DVAE,
        summary="one code for each patch of 4x4 pixels, by Gumbel softmax (SLATE)",
    )
