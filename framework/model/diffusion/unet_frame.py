"""The frame of a U-Net: levels on the way down, a middle, and levels on the way up, which see what was kept.

Source: Rombach et al. 2022 (latent diffusion), code.
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
    UpLevel,
    last_conv,
)
from slotlab.registry import ComponentError


@dataclass(frozen=True, kw_only=True)
class FrameSizes:
    """What a U-Net is made of, but for its attention."""

    channels: int
    """Of the input."""
    width: int
    """Channels at full resolution, before they are multiplied; even."""
    multipliers: Sequence[int]
    """Of the width, for each level; each level but the first has half as many rows and columns."""
    blocks: int
    """Stages of each level on the way down; on the way up there is one more."""
    groups: int
    zero_init: bool = True
    """Whether the last convolution of every branch, and that of the U-Net, starts as zero."""

    @property
    def factors(self) -> list[int]:
        """By how much rows and columns are fewer, at each level."""
        return [2**level for level in range(len(self.multipliers))]


class Frame(nn.Module):
    """Features (B, channels, H, W), told what is `Given`, to features (B, channels_out, H, W).

    Between the ways down and up are a residual block, attention, and a residual block.

    Args:
        sizes: of all but the attention.
        channels_out: of the output.
        attention: returns what follows a stage's residual block, by the stage's level, or None; and, for the
            level None, what is in the middle. It is called with features (B, C, H, W) and what is given.
    """

    def __init__(
        self, sizes: FrameSizes, channels_out: int, attention: Callable[[int | None], nn.Module | None]
    ):
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
            self.down.append(DownLevel(self._stages(inputs, level, attention), wide, lowest=lowest))
            saved += [wide] * (sizes.blocks + (not lowest))
        middle = self._block(last, last), attention(None), self._block(last, last)
        self.middle = nn.ModuleList(part for part in middle if part is not None)
        for level, wide in reversed(list(enumerate(widths))):
            inputs = [below + saved.pop() for below in (last, *[wide] * sizes.blocks)]
            self.up.append(UpLevel(self._stages(inputs, level, attention), wide, highest=level == 0))
            last = wide
        self.norm = nn.GroupNorm(sizes.groups, last)
        self.write = last_conv(last, channels_out, 3, zero=sizes.zero_init)

    def _stages(
        self, inputs: Sequence[int], level: int, attention: Callable[[int | None], nn.Module | None]
    ) -> Iterator[Stage]:
        width = self.sizes.width * self.sizes.multipliers[level]
        for width_in in inputs:
            yield Stage(self._block(width_in, width), attention(level))

    def _block(self, width_in: int, width: int) -> ResidualBlock:
        sizes = self.sizes
        time = TIME_FACTOR * sizes.width
        return ResidualBlock(width_in, width, groups=sizes.groups, time=time, zero=sizes.zero_init)

    def through(self, x_BCHW: Tensor, given: Given) -> Tensor:
        """Return (B, channels_out, H, W)."""
        saved = [self.read(x_BCHW)]
        for level in self.down:
            saved += level(saved[-1], given)
        x_BWHW = saved[-1]
        for part in self.middle:
            x_BWHW = part(x_BWHW, given)
        for level in self.up:
            x_BWHW = level(x_BWHW, saved, given)
        found_BCHW: Tensor = self.write(F.silu(self.norm(x_BWHW)))
        return found_BCHW


def check_frame(sizes: FrameSizes, size: Size, *, of: str) -> None:
    """Refuse widths and groups that do not divide one another, and maps that cannot be halved so often.

    Args:
        sizes: of the U-Net.
        size: rows and columns of its input.
        of: what the input is called.

    Raises:
        ComponentError: with the setting to change, by its name in `FrameSizes`; `norm_groups` for the groups.
    """
    width, last = sizes.width, sizes.factors[-1]
    if width % 2:
        text = f"half of the time's code are sines: {width} is odd; take an even one"
        raise ComponentError(text, field="width")
    if width % sizes.groups:
        fitting = [groups for groups in range(1, 33) if width % groups == 0]
        text = f"{sizes.groups} groups do not divide the width {width}; take one of {fitting}"
        raise ComponentError(text, field="norm_groups")
    rows, columns = size
    if rows % last or columns % last:
        number = len(sizes.multipliers)
        text = (
            f"{number} levels halve the {of} {number - 1} times, and {rows}x{columns} do not divide by {last}"
        )
        text = f"{text}; write fewer multipliers, or take images of another size"
        raise ComponentError(text, field="multipliers")
