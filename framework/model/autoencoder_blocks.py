"""The convolutional encoder and decoder of latent diffusion's autoencoders.

Source: Esser et al. 2021, "Taming Transformers", and Rombach et al. 2022, "High-Resolution Image Synthesis
with Latent Diffusion Models", whose layout SlotDiffusion's VQ-VAE has (Wu et al. 2023): residual blocks with
group norm and swish in levels of growing width, each level but the last halving the map; a middle of a block,
attention over positions and another block. The decoder mirrors it, with one more block in each level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.model.draws import Dropping, unchanged

NORM_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Widths and depth of an encoder and its decoder."""

    width: int
    multipliers: Sequence[int]
    """The width of each level, in multiples of `width`; the map is halved between two levels."""
    blocks: int
    """Residual blocks of each level of the encoder."""
    norm_groups: int
    middle_attention: bool

    @property
    def widths(self) -> list[int]:
        """The channels of each level."""
        return [self.width * multiplier for multiplier in self.multipliers]

    @property
    def reduction(self) -> int:
        """How many pixels of a side become one position."""
        return 1 << len(self.multipliers) - 1

    def norm(self, channels: int) -> nn.GroupNorm:
        """Return a norm of that many channels."""
        return nn.GroupNorm(self.norm_groups, channels, eps=NORM_EPS)


class ResidualBlock(nn.Module):
    """Norm, swish, conv; norm, swish, dropout, conv; plus the input, by a 1x1 conv if the width changes."""

    def __init__(self, layout: Layout, channels_in: int, channels: int):
        super().__init__()
        self.norm_in, self.norm_out = layout.norm(channels_in), layout.norm(channels)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        same = channels_in == channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        """Return features (B, channels, H, W)."""
        hidden_BCHW = F.silu(self.norm_out(self.conv_in(F.silu(self.norm_in(x_BCHW)))))
        made_BCHW: Tensor = self.shortcut(x_BCHW) + self.conv_out(drop(hidden_BCHW))
        return made_BCHW


class PositionAttention(nn.Module):
    """Each position attends to all, with one head, after a norm; added to the input."""

    def __init__(self, layout: Layout, channels: int):
        super().__init__()
        self.norm = layout.norm(channels)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        """Return features of the same shape; nothing is dropped here."""
        normed_BCHW = self.norm(x_BCHW)
        query_B1NC, keys_B1NC, values_B1NC = (
            to(normed_BCHW).flatten(2).transpose(1, 2)[:, None] for to in (self.to_q, self.to_k, self.to_v)
        )
        mixed_B1NC = F.scaled_dot_product_attention(query_B1NC, keys_B1NC, values_B1NC)
        mixed_BCHW = mixed_B1NC[:, 0].transpose(1, 2).reshape(x_BCHW.shape)
        update_BCHW: Tensor = self.to_out(mixed_BCHW)
        return x_BCHW + update_BCHW


class Halve(nn.Conv2d):
    """A 3x3 convolution of stride 2; the map is padded on its last row and column alone."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        """Return a map with half as many rows and columns."""
        return super().forward(F.pad(x_BCHW, (0, 1, 0, 1)))


class Double(nn.Conv2d):
    """Each position becomes four; then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        """Return a map with twice as many rows and columns."""
        return super().forward(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))


class Ladder(nn.Module):
    """A convolution, parts one after the other, and norm, swish, convolution."""

    def __init__(self, layout: Layout, channels: tuple[int, int, int, int], parts: Sequence[nn.Module]):
        super().__init__()
        given, first, last, made = channels
        self.conv_in = nn.Conv2d(given, first, 3, padding=1)
        self.parts = nn.ModuleList(parts)
        self.norm = layout.norm(last)
        self.conv_out = nn.Conv2d(last, made, 3, padding=1)

    def forward(self, x_BCHW: Tensor, drop: Dropping = unchanged) -> Tensor:
        """Return what the last convolution makes."""
        x_BCHW = self.conv_in(x_BCHW)
        for part in self.parts:
            x_BCHW = part(x_BCHW, drop)
        made_BCHW: Tensor = self.conv_out(F.silu(self.norm(x_BCHW)))
        return made_BCHW


def make_encoder(layout: Layout, image_channels: int, latent_channels: int) -> Ladder:
    """Return the encoder: images (B, 3, H, W) to latents of 1 / `reduction` of their rows and columns."""
    widths = layout.widths
    parts: list[nn.Module] = []
    for level, (before, width) in enumerate(pairwise([layout.width, *widths])):
        parts += [ResidualBlock(layout, before, width)]
        parts += [ResidualBlock(layout, width, width) for _ in range(layout.blocks - 1)]
        parts += [Halve(width)] if level < len(widths) - 1 else []
    parts += middle(layout, widths[-1])
    return Ladder(layout, (image_channels, layout.width, widths[-1], latent_channels), parts)


def make_decoder(layout: Layout, image_channels: int, latent_channels: int) -> Ladder:
    """Return the decoder: latents (B, latent_channels, H, W) to images of `reduction` times their size."""
    widths = layout.widths[::-1]
    parts = middle(layout, widths[0])
    for level, (before, width) in enumerate(pairwise([widths[0], *widths])):
        parts += [ResidualBlock(layout, before, width)]
        parts += [ResidualBlock(layout, width, width) for _ in range(layout.blocks)]
        parts += [Double(width)] if level < len(widths) - 1 else []
    return Ladder(layout, (latent_channels, widths[0], widths[-1], image_channels), parts)


def middle(layout: Layout, channels: int) -> list[nn.Module]:
    """Return a block, attention over positions if there is any, and a block."""
    attention = [PositionAttention(layout, channels)] if layout.middle_attention else []
    return [ResidualBlock(layout, channels, channels), *attention, ResidualBlock(layout, channels, channels)]
