"""The spatial broadcast decoder: each slot is decoded to an image and a mask independently.

Source: Watters et al. 2019, as used by Locatello et al. 2020, section E.3; transposed
convolutions in torch's alignment (padding k//2, output padding stride-1).
"""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Literal

import torch
from annotated_types import Len
from einops import rearrange
from pydantic import PositiveInt
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, DecoderContext, PositionContext, Slots
from slotlab.framework.model.kept_slots import kept
from slotlab.framework.model.pose import RelativePosition
from slotlab.framework.spec.sides import Side, pair
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class SpatialBroadcastConfig(ComponentConfig):
    """Settings of the spatial broadcast decoder."""

    broadcast_size: Side = 8
    """Side in positions of the grid each slot is first copied to, or its [rows, columns]."""
    channels: Annotated[tuple[PositiveInt, ...], Len(1, 64)] = (64, 64, 64, 64)
    """Output channels of each transposed convolution."""
    strides: tuple[PositiveInt, ...] = ()
    """Upsampling factor of each layer; empty for 2 everywhere."""
    kernel_size: PositiveInt = 5
    """Side of the kernels in pixels; odd."""
    readout_kernel_size: PositiveInt = 1
    """Side of the last convolution's kernel; 1 in H. Goyal's model (2024), 3 in the paper's."""
    mix: Literal["parts", "features"] = "parts"
    """What is mixed by the masks: each slot's part, or the features of the last hidden layer, as in SAVi++,
    of which the prediction is then made once. With a readout kernel of 1 the prediction is the same, in
    less memory; slots have no parts of their own then."""
    position: Annotated[Ref, RefTo("position")] = "linear_grid"  # type: ignore[assignment]
    """Position code added to the broadcast grid; `centered_grid` with `relative` follows the slots' poses."""


class Upsampling(nn.ConvTranspose2d):
    """A transposed convolution with the same weights and results as torch's, its bias added after it.

    oneDNN computes the gradient of a transposed convolution's bias far more slowly than that of a sum.
    """

    def forward(self, x_MCHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return a map `stride` times as large."""
        assert self.bias is not None
        assert not isinstance(self.padding, str)
        y_MCHW = F.conv_transpose2d(x_MCHW, self.weight, None, self.stride, self.padding, self.output_padding)
        return y_MCHW.add_(self.bias.to(y_MCHW.dtype)[:, None, None])


class SpatialBroadcastDecoder(nn.Module):
    """Slots (B, K, D) to a prediction (B, C, H, W), masks (B, K, H, W), parts (B, K, C, H, W)."""

    def __init__(self, config: SpatialBroadcastConfig, context: DecoderContext):
        super().__init__()
        strides = config.strides or (2,) * len(config.channels)
        check_sizes(config, strides, context)
        self.grid = pair(config.broadcast_size)
        self.position = config.position.build(PositionContext(grid=self.grid, dim=context.slot_dim))
        layers: list[nn.Module] = []
        width, size, pad = context.slot_dim, config.kernel_size, config.kernel_size // 2
        for channels, stride in zip(config.channels, strides, strict=True):
            layers += [
                Upsampling(width, channels, size, stride, pad, output_padding=stride - 1),
                nn.ReLU(inplace=True),
            ]
            width = channels
        readout, channels = config.readout_kernel_size, context.target.channels
        self.mix = config.mix
        if config.mix == "parts":
            layers.append(nn.Conv2d(width, channels + 1, readout, padding=readout // 2))
        else:
            self.to_logits, self.readout = (
                nn.Conv2d(width, number, readout, padding=readout // 2) for number in (1, channels)
            )
        self.layers = nn.Sequential(*layers)

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        """Mix the slots' parts by a softmax over slots of their mask logits; dropped slots have no part."""
        slots_BKD = slots.vectors_BKD
        grid_MDHW = slots_BKD.flatten(0, 1)[:, :, None, None].expand(-1, -1, *self.grid)  # M = B * K
        if isinstance(self.position, RelativePosition) and self.position.relative:
            placed_MDHW = self.position.follow(grid_MDHW, slots)
        else:
            placed_MDHW = self.position(grid_MDHW)
        painted_MCHW = self.layers(placed_MDHW)
        if self.mix == "features":
            return self._mixed(painted_MCHW, slots)
        painted_BKCHW = rearrange(painted_MCHW, "(b k) c h w -> b k c h w", k=slots_BKD.shape[1])
        parts_BKCHW, logits_BKHW = painted_BKCHW[:, :, :-1], painted_BKCHW[:, :, -1]
        masks_BKHW = kept(torch.softmax(logits_BKHW, dim=1), slots.keep_BK)
        prediction_BCHW = (masks_BKHW[:, :, None] * parts_BKCHW).sum(dim=1)
        return Decoded(prediction_BCHW, masks_BKHW=masks_BKHW, parts_BKCHW=parts_BKCHW)

    def _mixed(self, features_MCHW: Tensor, slots: Slots) -> Decoded:
        number = slots.vectors_BKD.shape[1]
        features_BKCHW = rearrange(features_MCHW, "(b k) c h w -> b k c h w", k=number)
        logits_BKHW = rearrange(self.to_logits(features_MCHW), "(b k) 1 h w -> b k h w", k=number)
        masks_BKHW = kept(torch.softmax(logits_BKHW, dim=1), slots.keep_BK)
        mixed_BCHW = torch.einsum("bkhw,bkchw->bchw", masks_BKHW, features_BKCHW)
        return Decoded(self.readout(mixed_BCHW), masks_BKHW=masks_BKHW)


def check_sizes(config: SpatialBroadcastConfig, strides: tuple[int, ...], context: DecoderContext) -> None:
    """Refuse kernels of even size, and layers whose output does not have the target's size."""
    for name in ("kernel_size", "readout_kernel_size"):
        if getattr(config, name) % 2 == 0:
            raise ComponentError(f"must be odd, not {getattr(config, name)}", field=name)
    if len(strides) != len(config.channels):
        message = f"{len(strides)} strides for {len(config.channels)} layers; give one for each layer"
        raise ComponentError(message, field="strides")
    grid, factor = pair(config.broadcast_size), prod(strides)
    made = (grid[0] * factor, grid[1] * factor)
    rows, columns = context.target.size
    if made == (rows, columns):
        return
    if grid[0] == grid[1]:
        steps = " x ".join(str(number) for number in (grid[0], *strides))
        message = f"the layers make {steps} = {made[0]} pixels a side, but the target is {rows}x{columns}"
    else:
        message = f"the layers make {made[0]}x{made[1]} pixels, but the target is {rows}x{columns}"
    hint = f"change broadcast_size, strides or channels so that the product is {rows}"
    if rows != columns:
        fits = rows % factor == 0 and columns % factor == 0
        hint = (
            f"write broadcast_size: [{rows // factor}, {columns // factor}]"
            if fits
            else (f"its rows and columns must be multiples of {factor}, or strides and channels other ones")
        )
    raise ComponentError(f"{message}; {hint}")


@hookimpl
def slotlab_decoders() -> Iterable[Component[SpatialBroadcastConfig]]:
    """Provide `spatial_broadcast`."""
    yield Component(
        name="spatial_broadcast",
        config=SpatialBroadcastConfig,
        build=SpatialBroadcastDecoder,
        summary="each slot is broadcast to a grid and upsampled to an image and a mask",
    )
