"""The patch MLP: each slot is decoded at each position of the target by the same MLP, to a part and a mask.

Source: Seitzer et al. 2023 (DINOSAUR), section 3.2 and appendix; `top_k` is the top-k decoding of FT-DINOSAUR
(Didolkar et al. 2024). A slot and the learned code of a position are added, and an MLP makes of them the
channels of the target and a mask logit.
"""

from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Annotated

import torch
from annotated_types import Len
from einops import rearrange
from pydantic import NonNegativeFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, Grouped, Slots
from slotlab.framework.model.kept_slots import kept
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class PatchMLPConfig(ComponentConfig):
    """Settings of the patch MLP."""

    hidden: Annotated[tuple[PositiveInt, ...], Len(1, 64)] = (2048, 2048, 2048)
    """Widths of the hidden layers; DINOSAUR's on real images, three of 1024 on MOVi."""
    position_std: NonNegativeFloat | None = 0.02
    """Deviation of the positions' codes at the start; null for slot_dim ** -0.5, as in VideoSAUR."""
    top_k: PositiveInt | None = None
    """Decode each position by so many slots only: those with the largest attention there, in training and in
    evaluation alike (3 in FT-DINOSAUR). Null for all slots."""


class PatchMLP(nn.Module):
    """Slots (B, K, D) to a prediction (B, C, H, W), masks (B, K, H, W) and, without top_k, parts."""

    def __init__(self, config: PatchMLPConfig, context: DecoderContext):
        super().__init__()
        check_top_k(config, context)
        self.top_k = config.top_k
        self.size = context.target.size
        std = context.slot_dim**-0.5 if config.position_std is None else config.position_std
        self.position_ND = nn.Parameter(torch.randn(prod(self.size), context.slot_dim) * std)
        widths = (context.slot_dim, *config.hidden, context.target.channels + 1)
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            linear = nn.Linear(width, following)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(inplace=True)]
        self.mlp = nn.Sequential(*layers[:-1])

    @property
    def guided(self) -> bool:
        """Whether the attention of the grouping is needed, to choose slots."""
        return self.top_k is not None

    def forward(
        self,
        slots: Slots,
        *,
        target_BCHW: Tensor | None = None,
        generator: Generator | None = None,
        grouped: Grouped | None = None,
    ) -> Decoded:
        """Mix the slots' parts by a softmax, over all slots or the chosen ones, of their mask logits.

        Raises:
            ComponentError: with top_k, for slots without a grouping, or attention on another grid.
        """
        if self.top_k is not None:
            return self._by_chosen_slots(slots, self.choose(grouped, self.top_k))
        painted_BKNC = self.mlp(slots.vectors_BKD[:, :, None] + self.position_ND)
        parts_BKNC, logits_BKN = painted_BKNC[..., :-1], painted_BKNC[..., -1]
        masks_BKN = kept(torch.softmax(logits_BKN, dim=1), slots.keep_BK)
        prediction_BNC = (masks_BKN[..., None] * parts_BKNC).sum(dim=1)
        parts_BKCHW = rearrange(parts_BKNC, "b k (h w) c -> b k c h w", h=self.size[0])
        return self._on_grid(prediction_BNC, masks_BKN, parts_BKCHW)

    @torch.no_grad()
    def choose(self, grouped: Grouped | None, count: int) -> Tensor:
        """Return the slots with the largest attention at each position: int64 (B, count or K, N).

        Raises:
            ComponentError: for slots without a grouping, or attention on another grid.
        """
        if grouped is None:
            text = "chooses slots by their attention, and these slots have none: they come from no image"
            raise ComponentError(f"{text}; only a decoder without it can decode them", field="top_k")
        attention_BKN, positions = grouped.attention_BKN, prod(self.size)
        if attention_BKN.shape[2] != positions:
            text = (
                f"chooses by attention at {positions} positions, and it is given at {attention_BKN.shape[2]}"
            )
            raise ComponentError(text, field="top_k")
        return attention_BKN.topk(min(count, attention_BKN.shape[1]), dim=1).indices

    def _by_chosen_slots(self, slots: Slots, chosen_BkN: Tensor) -> Decoded:
        """Decode each position by its chosen slots (k of K); the others have no mask there."""
        image_B11 = torch.arange(len(chosen_BkN), device=chosen_BkN.device)[:, None, None]
        painted_BkNC = self.mlp(slots.vectors_BKD[image_B11, chosen_BkN] + self.position_ND)
        parts_BkNC, logits_BkN = painted_BkNC[..., :-1], painted_BkNC[..., -1]
        masks_BkN = torch.softmax(logits_BkN, dim=1)
        masks_BKN = masks_BkN.new_zeros(*slots.vectors_BKD.shape[:2], masks_BkN.shape[2])
        masks_BKN = kept(masks_BKN.scatter(1, chosen_BkN, masks_BkN), slots.keep_BK)
        prediction_BNC = (masks_BKN.gather(1, chosen_BkN)[..., None] * parts_BkNC).sum(dim=1)
        return self._on_grid(prediction_BNC, masks_BKN, None)

    def _on_grid(self, prediction_BNC: Tensor, masks_BKN: Tensor, parts_BKCHW: Tensor | None) -> Decoded:
        prediction_BCHW = rearrange(prediction_BNC, "b (h w) c -> b c h w", h=self.size[0])
        masks_BKHW = rearrange(masks_BKN, "b k (h w) -> b k h w", h=self.size[0])
        return Decoded(prediction_BCHW, masks_BKHW, parts_BKCHW)


def check_top_k(config: PatchMLPConfig, context: DecoderContext) -> None:
    """Refuse a choice of more slots than there are, or by attention on another grid than the target's."""
    if config.top_k is None:
        return
    if context.num_slots is not None and config.top_k > context.num_slots:
        text = f"cannot choose {config.top_k} of {context.num_slots} slots; take fewer, or null for all"
        raise ComponentError(text, field="top_k")
    if context.grid not in (None, context.target.size):
        text = f"chooses by attention on the tokens' grid {context.grid}, and the target's is "
        hint = "take an objective on the tokens' grid, or null for all"
        raise ComponentError(f"{text}{context.target.size}; {hint}", field="top_k")


@hookimpl
def slotlab_decoders() -> Iterable[Component[PatchMLPConfig]]:
    """Provide `patch_mlp`."""
    yield Component(
        name="patch_mlp",
        config=PatchMLPConfig,
        build=PatchMLP,
        summary="an MLP decodes each slot at each position of the target to a part and a mask",
    )
