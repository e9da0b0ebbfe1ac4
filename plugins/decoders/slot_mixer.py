"""The slot mixer: slots are mixed at each position before they are decoded, which costs as much as one slot.

    query of a position, looks at the slots by a transformer; its attention over slots are the masks
    mixture of the slots by the masks, plus the position's code, through an MLP: the prediction there

Source: Sajjadi et al. 2022 (OSRT), as Zadaianchuk et al. 2023 (VideoSAUR) decode with it: section 3.2 and
code. Queries do not look at one another. The published attention of the transformer multiplies its logits
by the root of a head's width where others divide (`scale: multiplied`); that of the masks divides.
"""

from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

import torch
from annotated_types import Len
from einops import rearrange
from pydantic import PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, Slots
from slotlab.framework.model.kept_slots import kept
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

MLP_FACTOR = 4
"""Width of a block's hidden layer, as a multiple of the slots' width."""


class SlotMixerConfig(ComponentConfig):
    """Settings of the slot mixer; the defaults are VideoSAUR's on MOVi-C."""

    layers: PositiveInt = 2
    """Blocks by which queries look at the slots; 2 on MOVi-C, 3 on YouTube-VIS."""
    heads: PositiveInt = 4
    """Heads of each block's attention; they divide the slots' width."""
    hidden: Annotated[tuple[PositiveInt, ...], Len(1, 64)] = (1024, 1024, 1024, 1024)
    """Widths of the hidden layers of the MLP that decodes mixtures."""
    scale: Literal["divided", "multiplied"] = "divided"
    """What the root of a head's width does to the logits of the blocks' attention: it divides them, or, as in
    VideoSAUR's code, multiplies them."""


class MixerBlock(nn.Module):
    """Queries (B, N, D) look at slots, then an MLP; each after a norm, and added."""

    def __init__(self, dim: int, heads: int, scale: str):
        super().__init__()
        self.heads = heads
        width = dim // heads
        self.scale = width**0.5 if scale == "multiplied" else width**-0.5
        self.norm_queries, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(dim, dim) for _ in range(4))
        hidden = MLP_FACTOR * dim
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        for linear in (self.to_q, self.to_k, self.to_v, self.to_out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x_BND: Tensor, slots_BKD: Tensor, keep_BK: Tensor | None) -> Tensor:
        """Return the queries, which have seen the slots that are kept."""
        query_BANE = self._split(self.to_q(self.norm_queries(x_BND)))
        key_BAKE, value_BAKE = (self._split(to(slots_BKD)) for to in (self.to_k, self.to_v))
        weights_BANK = (query_BANE @ key_BAKE.mT * self.scale).softmax(dim=3)
        weights_BANK = kept(weights_BANK.movedim(3, 1), keep_BK).movedim(1, 3)
        x_BND = x_BND + self.to_out(rearrange(weights_BANK @ value_BAKE, "b a n e -> b n (a e)"))
        return x_BND + self.mlp(self.norm_mlp(x_BND))  # type: ignore[no-any-return]

    def _split(self, x_BND: Tensor) -> Tensor:
        return rearrange(x_BND, "b n (a e) -> b a n e", a=self.heads)


class SlotMixer(nn.Module):
    """Slots (B, K, D) to a prediction (B, C, H, W) and masks (B, K, H, W); a slot has no part of its own."""

    def __init__(self, config: SlotMixerConfig, context: DecoderContext):
        super().__init__()
        dim = context.slot_dim
        if dim % config.heads:
            raise ComponentError(f"{config.heads} heads do not divide the slots' width {dim}", field="heads")
        self.size = context.target.size
        self.scale = dim**-0.5
        self.position_ND = nn.Parameter(torch.randn(prod(self.size), dim) * dim**-0.5)
        self.blocks = nn.ModuleList(MixerBlock(dim, config.heads, config.scale) for _ in range(config.layers))
        self.norm_memory, self.norm_keys, self.norm_queries = (nn.LayerNorm(dim) for _ in range(3))
        self.to_q, self.to_k = (nn.Linear(dim, dim, bias=False) for _ in range(2))
        layers: list[nn.Module] = []
        for width, following in pairwise((dim, *config.hidden)):
            linear = nn.Linear(width, following)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(inplace=True)]
        self.mlp = nn.Sequential(*layers)
        self.readout = nn.Linear(config.hidden[-1], context.target.channels)
        for one in (self.to_q, self.to_k, self.readout):
            nn.init.xavier_uniform_(one.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        """Decode the mixture of slots at each position; dropped slots are not seen, and have no share."""
        slots_BKD, keep_BK = slots.vectors_BKD, slots.keep_BK
        position_BND = self.position_ND.expand(len(slots_BKD), -1, -1)
        memory_BKD, queries_BND = self.norm_memory(slots_BKD), position_BND
        for block in self.blocks:
            queries_BND = block(queries_BND, memory_BKD, keep_BK)
        query_BND, key_BKD = self.to_q(self.norm_queries(queries_BND)), self.to_k(self.norm_keys(slots_BKD))
        masks_BKN = kept((key_BKD @ query_BND.mT * self.scale).softmax(dim=1), keep_BK)
        mixed_BND = masks_BKN.mT @ slots_BKD + position_BND
        prediction_BNC = self.readout(self.mlp(mixed_BND))
        rows = self.size[0]
        return Decoded(
            rearrange(prediction_BNC, "b (h w) c -> b c h w", h=rows),
            rearrange(masks_BKN, "b k (h w) -> b k h w", h=rows),
        )


@hookimpl
def slotlab_decoders() -> Iterable[Component[SlotMixerConfig]]:
    """Provide `slot_mixer`."""
    yield Component(
        name="slot_mixer",
        config=SlotMixerConfig,
        build=SlotMixer,
        summary="slots are mixed at each position and decoded once (VideoSAUR)",
    )
