"""Convolutions by the convolution theorem, for processors on which they are faster that way.

The image is cut into tiles that overlap by the kernel's width less one; each is brought to the
frequencies of a small discrete Fourier transform, multiplied there by the kernel's, and
brought back (overlap-save; Oppenheim and Schafer, section 8.7). With a 5x5 kernel and tiles of
20x20 that takes 3.4 multiplications a pixel and pair of channels where the plain way takes 25.
It is no approximation: in float32 the sums are shorter, and the result is closer to the exact one.

All steps are products with constant real matrices; a complex number is a pair (real, imaginary)
where the next product wants it, so that nothing is moved between them.
"""

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 20
"""Side of a tile: with a 5x5 kernel 16 new pixels, which divide the usual image sizes."""
_AT_A_TIME = 2
"""Images whose frequencies, of 64 channels and 128x128 pixels, stay in a processor's cache."""
_WORTHWHILE = 32 * 64
"""Channels in times channels out from which on a layer is faster this way."""
_SIDE = 64
"""Rows and columns, likewise."""


@dataclass(frozen=True)
class Transforms:
    """The matrices of one tile size. Axes: P positions, Q frequencies, 2 parts, H half of them.

    Along a tile's first axis only half of the frequencies are kept: the tile is real, and the
    others are their conjugates.
    """

    first_H2P: Tensor
    """(half * 2, positions)"""
    second_Q22P: Tensor
    """(frequencies, 2, 2, positions): along the tile's second axis."""
    second_back_2PQ2: Tensor
    """(2, positions, frequencies * 2)"""
    first_back_PH2: Tensor
    """(positions, half * 2)"""


@cache
@torch.inference_mode(mode=False)
def transforms(side: int, dtype: torch.dtype) -> Transforms:
    """Return the matrices for tiles of `side` by `side`."""
    half = side // 2 + 1
    steps = torch.arange(side, dtype=torch.float64)
    angles_QP = 2 * math.pi * torch.outer(steps, steps) / side
    cos_QP, sin_QP = torch.cos(angles_QP), torch.sin(angles_QP)
    first_H2P = torch.stack([cos_QP[:half], -sin_QP[:half]], dim=1)
    rows = [torch.stack([cos_QP, sin_QP], dim=1), torch.stack([-sin_QP, cos_QP], dim=1)]
    back = [torch.stack([cos_QP, -sin_QP], dim=2), torch.stack([sin_QP, cos_QP], dim=2)]
    weights_H = torch.full((half,), 2.0, dtype=torch.float64)  # a frequency and its conjugate
    weights_H[0] = 1
    if side % 2 == 0:
        weights_H[-1] = 1
    first_back = first_H2P * weights_H[:, None, None] / side**2
    return Transforms(
        first_H2P.flatten(0, 1).to(dtype),
        torch.stack(rows, dim=1).to(dtype),
        torch.stack(back).flatten(2).to(dtype),
        first_back.flatten(0, 1).T.contiguous().to(dtype),
    )


class _Cut(torch.autograd.Function):
    """Images (B, C, rows, columns) to tiles (n, n, C, B, down, across) that start every `step` pixels."""

    @staticmethod
    def forward(ctx: Any, images_BCHW: Tensor, side: int, step: int) -> Tensor:
        ctx.shape, ctx.step = images_BCHW.shape, step
        return images_BCHW.unfold(2, side, step).unfold(3, side, step).permute(4, 5, 1, 0, 2, 3).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (tiles,) = gradients
        step, side = ctx.step, tiles.shape[0]
        channels, batch, down, across = tiles.shape[2:]
        more = -(-side // step) - 1
        shape = (batch, channels, down + more, step, across + more, step)
        found = tiles.new_zeros(shape)
        # In steps: the first part of each tile is its own, those after it lie over its neighbors'.
        for i in range(1 + more):
            for j in range(1 + more):
                part = tiles[i * step : (i + 1) * step, j * step : (j + 1) * step].permute(3, 2, 4, 0, 5, 1)
                place = found[:, :, i : i + down, : part.shape[3], j : j + across, : part.shape[5]]
                place += part
        found_BCHW = found.view(batch, channels, shape[2] * step, shape[4] * step)
        return found_BCHW[:, :, : ctx.shape[2], : ctx.shape[3]], None, None


def spectrum(values: Tensor, side: int) -> Tensor:
    """Return the frequencies of tiles (rows, columns, X): (half * side, 2, X).

    Tiles smaller than `side` are as if filled up with zeros.
    """
    matrices, (rows, columns) = transforms(side, values.dtype), values.shape[:2]
    half = side // 2 + 1
    once = (matrices.first_H2P[:, :rows] @ values.reshape(rows, -1)).view(half, 2 * columns, -1)
    second = matrices.second_Q22P[..., :columns].reshape(2 * side, 2 * columns)
    return torch.matmul(second, once).view(half * side, 2, -1)


def tiles_of(frequencies: Tensor, side: int, keep: int) -> Tensor:
    """Return the first `keep` rows and columns of the tiles that have these frequencies: (keep, keep, X)."""
    matrices, half = transforms(side, frequencies.dtype), side // 2 + 1
    back = matrices.second_back_2PQ2[:, :keep].flatten(0, 1)
    once = torch.matmul(back, frequencies.reshape(half, 2 * side, -1)).view(2 * half, -1)
    return (matrices.first_back_PH2[:keep] @ once).view(keep, keep, -1)


def convolve(images_BCHW: Tensor, weight_OCRS: Tensor, bias_O: Tensor | None) -> Tensor:
    """Compute `conv2d(images, weight, bias, padding=R // 2)` for square kernels of odd side R."""
    out, channels = weight_OCRS.shape[:2]
    kernel_F2X = spectrum(weight_OCRS.permute(2, 3, 0, 1).flatten(2), TILE)
    real, imaginary = kernel_F2X.view(-1, 2, out, channels).unbind(1)
    # Times the conjugate: a layer's convolution is a correlation.
    kernel_F2O2C = torch.cat([torch.cat([real, imaginary], 2), torch.cat([-imaginary, real], 2)], 1)
    parts = [
        _apply(kernel_F2O2C, part, weight_OCRS.shape[2]) for part in torch.split(images_BCHW, _AT_A_TIME)
    ]
    found_BOHW = torch.cat(parts)
    return found_BOHW if bias_O is None else found_BOHW + bias_O[:, None, None]


def _apply(kernel_F2O2C: Tensor, images_BCHW: Tensor, side: int) -> Tensor:
    batch, channels, rows, columns = images_BCHW.shape
    step, pad = TILE - side + 1, side // 2
    down, across = -(-rows // step), -(-columns // step)
    margins = (pad, across * step - columns + pad, pad, down * step - rows + pad)
    tiles: Any = _Cut.apply(F.pad(images_BCHW, margins), TILE, step)
    images_F2CN = spectrum(tiles.flatten(2), TILE).view(-1, 2 * channels, batch * down * across)
    product_F2ON = torch.bmm(kernel_F2O2C, images_F2CN)
    found = tiles_of(product_F2ON, TILE, step).view(step, step, -1, batch, down, across)
    found_BOHW = found.permute(3, 2, 4, 0, 5, 1).reshape(batch, -1, down * step, across * step)
    return found_BOHW[:, :, :rows, :columns]


def is_worthwhile(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution that is faster this way."""
    if type(layer) is not nn.Conv2d or layer.padding_mode != "zeros":
        return False
    side = layer.kernel_size[0]
    plain = layer.stride == layer.dilation == (1, 1) and layer.groups == 1
    same = layer.kernel_size == (side, side) and layer.padding == (side // 2, side // 2)
    large = layer.in_channels * layer.out_channels >= _WORTHWHILE
    return plain and same and large and side % 2 == 1 and 5 <= side <= TILE // 2


def use_fourier(model: nn.Module) -> None:
    """Let a model's large convolutions compute this way; weights and their names stay."""
    for layer in model.modules():
        if is_worthwhile(layer):
            changed: Any = layer
            changed.forward = partial(_forward, layer)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it would gain nothing here
def _forward(layer: nn.Conv2d, images_BCHW: Tensor) -> Tensor:
    small = min(images_BCHW.shape[2:]) < _SIDE
    if small or torch.is_autocast_enabled(images_BCHW.device.type):
        return nn.Conv2d.forward(layer, images_BCHW)
    return convolve(images_BCHW, layer.weight, layer.bias)
