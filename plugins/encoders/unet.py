"""A U-Net over patches of the image: features at a quarter of its sides, each of which has seen all of it.

Source: Jiang et al. 2023 (LSD), code, whose sizes for MOVi-E are the defaults. The U-Net is that of latent
diffusion (Rombach et al. 2022), with attention in the middle alone. It is told the step 0 for every image, so
that the code of the time is a learned constant, which is kept: it has weights in LSD, and changes how the
biases learn. All weights start as torch draws them, as in the library diffusers, of which LSD builds it.
"""

from collections.abc import Iterable
from functools import partial
from typing import Annotated

import torch
from annotated_types import Len
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import EncoderContext
from slotlab.framework.model.diffusion.unet_blocks import Given, HeadsAttention
from slotlab.framework.model.diffusion.unet_frame import Frame, FrameSizes, check_frame
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class UNetConfig(ComponentConfig):
    """Settings of the U-Net; the defaults are LSD's for MOVi-E."""

    stride: PositiveInt = 4
    """Side in pixels of the patches that a convolution makes positions of; it divides the images' sides."""
    width: PositiveInt = 128
    """Channels of the patches and of the U-Net at their resolution; even."""
    multipliers: Annotated[tuple[PositiveInt, ...], Len(1, 8)] = (1, 1, 2, 4)
    """Of the width, one for each level; each level but the first halves the map once more."""
    blocks: Annotated[int, Field(ge=1, le=16)] = 1
    """Residual blocks of each level on the way down; there is one more on the way up."""
    norm_groups: PositiveInt = 16
    """Groups of the group norms; they divide the width."""
    head_width: PositiveInt = 8
    """Width of the heads of the attention in the middle; it divides the last level's channels."""
    channels: PositiveInt = 192
    """Channels of the features."""


class MiddleAttention(nn.Module):
    """All positions attend to one another, after a group norm; the input is added."""

    def __init__(self, width: int, *, groups: int, heads: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.attend = HeadsAttention(width, width, heads=heads, bias=True)

    def forward(self, x_BCHW: Tensor, given: Given) -> Tensor:
        """Return (B, C, H, W)."""
        normed_BTC = rearrange(self.norm(x_BCHW), "b c h w -> b (h w) c")
        mixed_BTC = self.attend(normed_BTC, normed_BTC)
        found_BCHW: Tensor = x_BCHW + rearrange(mixed_BTC, "b (h w) c -> b c h w", h=x_BCHW.shape[2])
        return found_BCHW


class UNetEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, H / stride, W / stride), without a last activation."""

    def __init__(self, config: UNetConfig, context: EncoderContext):
        super().__init__()
        rows, columns = context.image_size
        if rows % config.stride or columns % config.stride:
            text = f"patches of {config.stride} pixels do not fill images of {rows}x{columns}"
            raise ComponentError(f"{text}; take a stride that divides both sides", field="stride")
        sizes = FrameSizes(
            channels=config.width,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            groups=config.norm_groups,
            zero_init=False,
        )
        self.channels, self.grid = config.channels, (rows // config.stride, columns // config.stride)
        check_frame(sizes, self.grid, of="patches")
        check_heads(config)
        self.stem = nn.Conv2d(context.image_channels, config.width, config.stride, config.stride)
        self.unet = Frame(sizes, config.channels, partial(attention_of, config))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features."""
        patches_BCHW = self.stem(images_BCHW)
        step_B = torch.zeros(len(images_BCHW), device=images_BCHW.device)
        no_slots_B00 = patches_BCHW.new_zeros(len(images_BCHW), 0, 0)
        return self.unet.through(patches_BCHW, Given(self.unet.time(step_B), no_slots_B00))


def attention_of(config: UNetConfig, level: int | None) -> MiddleAttention | None:
    """Return the attention of the middle (None); the levels have none."""
    if level is not None:
        return None
    width = config.width * config.multipliers[-1]
    return MiddleAttention(width, groups=config.norm_groups, heads=width // config.head_width)


def check_heads(config: UNetConfig) -> None:
    """Refuse heads that do not divide the channels in the middle."""
    width = config.width * config.multipliers[-1]
    if width % config.head_width:
        text = f"heads of width {config.head_width} do not divide the {width} channels in the middle"
        raise ComponentError(text, field="head_width")


@hookimpl
def slotlab_encoders() -> Iterable[Component[UNetConfig]]:
    """Provide `unet`."""
    yield Component(
        name="unet",
        config=UNetConfig,
        build=UNetEncoder,
        summary="a U-Net of residual blocks over patches, with attention in the middle",
    )
