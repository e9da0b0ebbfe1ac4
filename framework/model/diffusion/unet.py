"""The U-Net of latent diffusion, which predicts the noise in latents from the latents, a step and slots.

Sources: Rombach et al. 2022, code; SlotDiffusion (Wu et al. 2023), appendix and code, whose sizes are
`width` 128, `multipliers` 1, 2, 3, 4, two blocks, attention at the factors 2, 4 and 8, heads of width 32;
LSD (Jiang et al. 2023), code: `width` 192, `multipliers` 1, 2, 4, 4, attention at the factors 1, 2 and 4, 24
heads everywhere, with positions, and without convolutions that start as zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.model.diffusion.unet_blocks import Given, Transformer
from slotlab.framework.model.diffusion.unet_frame import Frame, FrameSizes, check_frame
from slotlab.framework.model.draws import unchanged
from slotlab.registry import ComponentError


@dataclass(frozen=True, kw_only=True)
class UNetSizes(FrameSizes):
    """What a U-Net that attends to slots is made of; `channels` are those of the latents."""

    slot_dim: int
    attention_at: Sequence[int]
    """Factors (1, 2, 4, ...) by which the latents are smaller where stages have transformers."""
    head_width: int
    heads: int | None = None
    """Of every attention; None for as many as have `head_width`."""
    positions: bool = False
    """Whether a code of the position is added to what enters each attention."""

    def heads_of(self, width: int) -> int:
        """Return the number of heads in features of some width."""
        return self.heads or width // self.head_width


class UNet(Frame):
    """Latents (B, C, H, W), steps (B,) and slots (B, K, D) to a prediction (B, C, H, W).

    Unless `zero_init` is off, it is zero at first. Between the ways down and up are a residual block, a
    transformer, and a residual block.
    """

    sizes: UNetSizes

    def __init__(self, sizes: UNetSizes):
        super().__init__(sizes, sizes.channels, partial(transformer_of, sizes))

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
        return self.through(x_BCHW, Given(self.time(step_B), slots_BKD, keep_BK, drop))


def transformer_of(sizes: UNetSizes, level: int | None) -> Transformer | None:
    """Return the transformer of a level's stages, if they have one, or that of the middle (None)."""
    if level is not None and sizes.factors[level] not in sizes.attention_at:
        return None
    width = sizes.width * sizes.multipliers[-1 if level is None else level]
    return Transformer(
        width,
        sizes.slot_dim,
        groups=sizes.groups,
        heads=sizes.heads_of(width),
        positions=sizes.positions,
        zero=sizes.zero_init,
    )


def check_sizes(sizes: UNetSizes, latents: Size) -> None:
    """Refuse sizes that do not divide one another.

    Raises:
        ComponentError: with the setting to change, by its name in `UNetSizes`; `norm_groups` for the groups.
    """
    check_frame(sizes, latents, of="latents")
    width, factors = sizes.width, sizes.factors
    unknown = sorted(set(sizes.attention_at) - set(factors))
    if unknown:
        text = (
            f"no level is smaller than the latents by {unknown[0]}; there are levels of the factors {factors}"
        )
        raise ComponentError(text, field="attention_at")
    for factor, by in zip(factors, sizes.multipliers, strict=True):
        wide = width * by
        if factor not in sizes.attention_at and factor != factors[-1]:
            continue
        where = f"the {wide} channels where there is attention, at the factor {factor}"
        if sizes.heads is not None and wide % sizes.heads:
            raise ComponentError(f"{sizes.heads} heads do not divide {where}", field="heads")
        if sizes.heads is None and wide % sizes.head_width:
            text = f"heads of width {sizes.head_width} do not divide {where}"
            raise ComponentError(text, field="head_width")
