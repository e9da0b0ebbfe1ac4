"""The U-Net of latent diffusion, which predicts the noise in latents from the latents, a step and slots.

Sources: Rombach et al. 2022, code; SlotDiffusion (Wu et al. 2023), appendix and code, whose sizes are
`width` 128, `multipliers` 1, 2, 3, 4, two blocks, attention at the factors 2, 4 and 8, heads of width 32.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Size
from slotlab.framework.model.diffusion.unet_blocks import (
    TIME_FACTOR,
    DownLevel,
    Given,
    ResidualBlock,
    Stage,
    TimeCode,
    Transformer,
    UpLevel,
    ZeroConv,
)
from slotlab.framework.model.draws import unchanged
from slotlab.registry import ComponentError


@dataclass(frozen=True, kw_only=True)
class UNetSizes:
    """What a U-Net is made of."""

    channels: int
    """Of the latents."""
    slot_dim: int
    width: int
    """Channels at full resolution, before they are multiplied; even."""
    multipliers: Sequence[int]
    """Of the width, for each level; each level but the first has half as many rows and columns."""
    blocks: int
    """Stages of each level on the way down; on the way up there is one more."""
    attention_at: Sequence[int]
    """Factors (1, 2, 4, ...) by which the latents are smaller where stages have transformers."""
    head_width: int
    groups: int

    @property
    def factors(self) -> list[int]:
        """By how much rows and columns are fewer, at each level."""
        return [2**level for level in range(len(self.multipliers))]


class UNet(nn.Module):
    """Latents (B, C, H, W), steps (B,) and slots (B, K, D) to a prediction (B, C, H, W), at first zero.

    Between the ways down and up are a residual block, a transformer, and a residual block.
    """

    def __init__(self, sizes: UNetSizes):
        super().__init__()
        self.sizes = sizes
        width, widths = sizes.width, [sizes.width * by for by in sizes.multipliers]
        self.time = TimeCode(width)
        self.read = nn.Conv2d(sizes.channels, width, 3, padding=1)
        saved, last = [width], widths[-1]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, wide in enumerate(widths):
            inputs = [saved[-1], *[wide] * (sizes.blocks - 1)]
            lowest = level == len(widths) - 1
            self.down.append(DownLevel(self._stages(inputs, level), wide, lowest=lowest))
            saved += [wide] * (sizes.blocks + (not lowest))
        self.middle = nn.ModuleList(
            (self._block(last, last), self._transformer(last), self._block(last, last))
        )
        for level, wide in reversed(list(enumerate(widths))):
            inputs = [below + saved.pop() for below in (last, *[wide] * sizes.blocks)]
            self.up.append(UpLevel(self._stages(inputs, level), wide, highest=level == 0))
            last = wide
        self.norm, self.write = nn.GroupNorm(sizes.groups, last), ZeroConv(last, sizes.channels, 3)

    def _stages(self, inputs: Sequence[int], level: int) -> Iterator[Stage]:
        width = self.sizes.width * self.sizes.multipliers[level]
        attends = 2**level in self.sizes.attention_at
        for width_in in inputs:
            yield Stage(self._block(width_in, width), self._transformer(width) if attends else None)

    def _block(self, width_in: int, width: int) -> ResidualBlock:
        return ResidualBlock(width_in, width, groups=self.sizes.groups, time=TIME_FACTOR * self.sizes.width)

    def _transformer(self, width: int) -> Transformer:
        sizes = self.sizes
        return Transformer(width, sizes.slot_dim, groups=sizes.groups, head_width=sizes.head_width)

    def forward(
        self,
        x_BCHW: Tensor,
        step_B: Tensor,
        slots_BKD: Tensor,
        keep_BK: Tensor | None = None,
        drop: Callable[[Tensor], Tensor] = unchanged,
    ) -> Tensor:
        """Return the prediction (B, C, H, W).

        Args:
            x_BCHW: noisy latents.
            step_B: their steps, counted from 0; they need not be whole.
            slots_BKD: any number of slots.
            keep_BK: weights of the slots in [0, 1]; None if all are kept.
            drop: dropout, called in every residual block; outside of training it changes nothing.
        """
        given = Given(self.time(step_B), slots_BKD, keep_BK, drop)
        saved = [self.read(x_BCHW)]
        for level in self.down:
            saved += level(saved[-1], given)
        x_BWHW = saved[-1]
        for part in self.middle:
            x_BWHW = part(x_BWHW, given)
        for level in self.up:
            x_BWHW = level(x_BWHW, saved, given)
        prediction_BCHW: Tensor = self.write(F.silu(self.norm(x_BWHW)))
        return prediction_BCHW


def check_sizes(sizes: UNetSizes, latents: Size) -> None:
    """Refuse sizes that do not divide one another.

    Raises:
        ComponentError: with the setting to change, by its name in `UNetSizes`; `norm_groups` for the groups.
    """
    width, factors = sizes.width, sizes.factors
    if width % 2:
        raise ComponentError(
            f"half of the time's code are sines: {width} is odd; take an even one", field="width"
        )
    if width % sizes.groups:
        fitting = [groups for groups in range(1, 33) if width % groups == 0]
        text = f"{sizes.groups} groups do not divide the width {width}; take one of {fitting}"
        raise ComponentError(text, field="norm_groups")
    unknown = sorted(set(sizes.attention_at) - set(factors))
    if unknown:
        text = (
            f"no level is smaller than the latents by {unknown[0]}; there are levels of the factors {factors}"
        )
        raise ComponentError(text, field="attention_at")
    for factor, by in zip(factors, sizes.multipliers, strict=True):
        attends = factor in sizes.attention_at or factor == factors[-1]
        if attends and width * by % sizes.head_width:
            text = f"heads of width {sizes.head_width} do not divide the {width * by} channels where there is"
            raise ComponentError(f"{text} attention, at the factor {factor}", field="head_width")
    rows, columns = latents
    if rows % factors[-1] or columns % factors[-1]:
        text = (
            f"{len(factors)} levels halve the latents {len(factors) - 1} times, and {rows}x{columns} do not"
        )
        text = f"{text} divide by {factors[-1]}; write fewer multipliers, or take images of another size"
        raise ComponentError(text, field="multipliers")
