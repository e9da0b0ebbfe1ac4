"""The parts of the U-Net: residual blocks that know the time, transformers that attend to slots, levels.

Source: Rombach et al. 2022 (latent diffusion), code, in the form in which SlotDiffusion (Wu et al. 2023,
appendix and code) uses it; LSD (Jiang et al. 2023, code) adds positions and starts no convolution at zero.
Letters: E is the width of the time's code, W that of a level, T its positions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Size
from slotlab.framework.model.draws import unchanged
from slotlab.framework.model.kept_slots import kept
from slotlab.framework.model.ramps import ramps

TRANSFORMER_EPS = 1e-6
"""Epsilon of the group norm before a transformer; that of the others is torch's, 1e-5."""
TIME_FACTOR, HIDDEN_FACTOR = 4, 4
"""Widths of the time's code, as a multiple of the U-Net's, and of a transformer's hidden layer."""
MAX_PERIOD = 10_000


@dataclass(frozen=True)
class Given:
    """What every part of the U-Net is told beside its features."""

    time_BE: Tensor
    """The code of the step, after its last activation."""
    slots_BKD: Tensor
    keep_BK: Tensor | None = None
    """Weights of the slots in [0, 1]; None if all are kept."""
    drop: Callable[[Tensor], Tensor] = unchanged
    """Dropout."""


class ZeroConv(nn.Conv2d):
    """A convolution that starts as zero, also where a spec draws weights in another way than torch."""

    own_weights = True

    def __init__(self, width_in: int, width: int, size: int):
        super().__init__(width_in, width, size, padding=size // 2)
        nn.init.zeros_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


def last_conv(width_in: int, width: int, size: int, *, zero: bool) -> nn.Conv2d:
    """Return the convolution that ends a branch, of an odd size; it starts as zero, or as torch draws it."""
    if zero:
        return ZeroConv(width_in, width, size)
    return nn.Conv2d(width_in, width, size, padding=size // 2)


def sinusoid(step_B: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return the code (B, width) of steps (B,), whole or not: all cosines, then all sines.

    Frequency i of half the width is 10000^(-i / half) (Rombach et al. 2022, code). `width` is even.
    """
    half = width // 2
    exponent_F = torch.arange(half, device=step_B.device, dtype=dtype) / half
    angle_BF = step_B.to(dtype)[:, None] * torch.pow(MAX_PERIOD, -exponent_F)
    return torch.cat((angle_BF.cos(), angle_BF.sin()), dim=1)


class TimeCode(nn.Module):
    """Steps (B,) to their code (B, 4 * width): sinusoid, linear, SiLU, linear, SiLU.

    The last SiLU is the one with which every residual block would begin.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.first = nn.Linear(width, TIME_FACTOR * width)
        self.second = nn.Linear(TIME_FACTOR * width, TIME_FACTOR * width)

    def forward(self, step_B: Tensor) -> Tensor:
        """Return the code; the sinusoid is computed in float32 at least."""
        dtype = self.first.weight.dtype
        code_BW = sinusoid(step_B, self.width, torch.promote_types(dtype, torch.float32))
        return F.silu(self.second(F.silu(self.first(code_BW.to(dtype)))))


class ResidualBlock(nn.Module):
    """GN, SiLU, conv; plus a map of the time; GN, SiLU, dropout, conv; plus the input.

    The last convolution starts as zero if `zero`.
    """

    def __init__(self, width_in: int, width: int, *, groups: int, time: int, zero: bool = True):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.read_time = nn.Linear(time, width)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = last_conv(width, width, 3, zero=zero)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x_BCHW: Tensor, given: Given) -> Tensor:
        """Return (B, width, H, W)."""
        y_BWHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        y_BWHW = y_BWHW + self.read_time(given.time_BE)[:, :, None, None]
        y_BWHW = self.conv2(given.drop(F.silu(self.norm2(y_BWHW))))
        found_BWHW: Tensor = self.skip(x_BCHW) + y_BWHW
        return found_BWHW


class HeadsAttention(nn.Module):
    """Attention of positions to a source, with heads (A of them, each of width E).

    Args:
        width: of positions; a multiple of `heads`.
        source: width of what is attended to.
        heads: number of heads.
        bias: whether queries, keys and values have biases; the output has one.
    """

    def __init__(self, width: int, source: int, *, heads: int, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k, self.to_v = (nn.Linear(source, width, bias=bias) for _ in range(2))
        self.to_out = nn.Linear(width, width)

    def forward(self, x_BTW: Tensor, source_BKD: Tensor, keep_BK: Tensor | None = None) -> Tensor:
        """Return (B, T, W); with `keep_BK`, nothing is read from what has the weight 0."""
        query_BATE, keys_BAKE, values_BAKE = (
            rearrange(to(z_BTx), "b t (a e) -> b a t e", a=self.heads)
            for to, z_BTx in ((self.to_q, x_BTW), (self.to_k, source_BKD), (self.to_v, source_BKD))
        )
        if keep_BK is None:
            mixed_BATE = F.scaled_dot_product_attention(query_BATE, keys_BAKE, values_BAKE)
        else:
            logits_BATK = query_BATE * query_BATE.shape[3] ** -0.5 @ keys_BAKE.transpose(2, 3)
            weights_BKAT = kept(logits_BATK.softmax(dim=3).movedim(3, 1), keep_BK)
            mixed_BATE = weights_BKAT.movedim(1, 3) @ values_BAKE
        mixed_BTW: Tensor = self.to_out(rearrange(mixed_BATE, "b a t e -> b t (a e)"))
        return mixed_BTW


class GatedMLP(nn.Module):
    """A linear map times the GELU of another, and a linear map back (GEGLU: Shazeer 2020)."""

    def __init__(self, width: int):
        super().__init__()
        self.read = nn.Linear(width, 2 * HIDDEN_FACTOR * width)
        self.out = nn.Linear(HIDDEN_FACTOR * width, width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        """Return (B, T, W)."""
        value_BTH, gate_BTH = self.read(x_BTW).chunk(2, dim=2)
        found_BTW: Tensor = self.out(value_BTH * F.gelu(gate_BTH))
        return found_BTW


class PositionCode(nn.Module):
    """Adds a learned linear function of the position to features (B, T, W); positions are cells' centers."""

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Linear(4, width)

    def forward(self, x_BTW: Tensor, size: Size) -> Tensor:
        """Return (B, T, W), T being the rows times the columns of `size`."""
        dtype = torch.promote_types(x_BTW.dtype, torch.float32)
        ramps_HW4 = ramps(size, "centers", dtype=dtype, device=x_BTW.device)
        placed_BTW: Tensor = x_BTW + self.project(ramps_HW4.flatten(0, 1).to(x_BTW.dtype))
        return placed_BTW


class Transformer(nn.Module):
    """All positions attend to one another, then to the slots, then an MLP; each after a norm, and added.

    Before it are a group norm and a 1x1 convolution, after it another one; the input is added.

    Args:
        width: of the features.
        slot_dim: of the slots.
        groups: of the group norm.
        heads: of both attentions.
        positions: whether a code of the position is added to what enters each attention.
        zero: whether the last convolution starts as zero.
    """

    def __init__(
        self,
        width: int,
        slot_dim: int,
        *,
        groups: int,
        heads: int,
        positions: bool = False,
        zero: bool = True,
    ):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=TRANSFORMER_EPS)
        self.read = nn.Conv2d(width, width, 1)
        self.norm_self, self.norm_slots, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.attend_self = HeadsAttention(width, width, heads=heads)
        self.attend_slots = HeadsAttention(width, slot_dim, heads=heads)
        self.mlp = GatedMLP(width)
        self.write = last_conv(width, width, 1, zero=zero)
        self.place_self = PositionCode(width) if positions else None
        self.place_slots = PositionCode(width) if positions else None

    def forward(self, x_BCHW: Tensor, given: Given) -> Tensor:
        """Return (B, C, H, W)."""
        rows, columns = x_BCHW.shape[2:]
        x_BTW = rearrange(self.read(self.norm(x_BCHW)), "b w r c -> b (r c) w")
        query_BTW = self.norm_self(x_BTW)
        if self.place_self is not None:
            query_BTW = self.place_self(query_BTW, (rows, columns))
        x_BTW = x_BTW + self.attend_self(query_BTW, query_BTW)
        query_BTW = self.norm_slots(x_BTW)
        if self.place_slots is not None:
            query_BTW = self.place_slots(query_BTW, (rows, columns))
        x_BTW = x_BTW + self.attend_slots(query_BTW, given.slots_BKD, given.keep_BK)
        x_BTW = x_BTW + self.mlp(self.norm_mlp(x_BTW))
        found_BCHW: Tensor = x_BCHW + self.write(rearrange(x_BTW, "b (r c) w -> b w r c", r=rows))
        return found_BCHW


class Stage(nn.Module):
    """A residual block, and a transformer after it, if there is one."""

    def __init__(self, block: ResidualBlock, transformer: nn.Module | None):
        super().__init__()
        self.block, self.transformer = block, transformer

    def forward(self, x_BCHW: Tensor, given: Given) -> Tensor:
        """Return (B, width, H, W)."""
        x_BCHW = self.block(x_BCHW, given)
        return x_BCHW if self.transformer is None else self.transformer(x_BCHW, given)


class Upsample(nn.Module):
    """Each position becomes 2x2 of them; then a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, 2 * H, 2 * W)."""
        found_BCHW: Tensor = self.conv(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"))
        return found_BCHW


class DownLevel(nn.Module):
    """Stages, and, but for the lowest level, a convolution of stride 2. All outputs are kept for later."""

    def __init__(self, stages: Iterator[Stage], width: int, *, lowest: bool):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.down = None if lowest else nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x_BCHW: Tensor, given: Given) -> list[Tensor]:
        """Return every stage's output and the halved map; the last of them goes on to the next level."""
        found = []
        for stage in self.stages:
            x_BCHW = stage(x_BCHW, given)
            found.append(x_BCHW)
        return found if self.down is None else [*found, self.down(x_BCHW)]


class UpLevel(nn.Module):
    """Stages, each of which also sees what was kept on the way down, and, but for the highest, upsampling."""

    def __init__(self, stages: Iterator[Stage], width: int, *, highest: bool):
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.up = None if highest else Upsample(width)

    def forward(self, x_BCHW: Tensor, saved: list[Tensor], given: Given) -> Tensor:
        """Return the map for the next level; each stage takes a tensor from the end of `saved`."""
        for stage in self.stages:
            x_BCHW = stage(torch.cat((x_BCHW, saved.pop()), dim=1), given)
        return x_BCHW if self.up is None else self.up(x_BCHW)
