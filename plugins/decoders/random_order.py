"""The random-order decoder: a transformer predicts all positions from the slots and from some true ones.

Source: Zhao et al. 2025 (DIAS), the random-order decoder of the authors' code, which SmoothSA uses too.
In each training step a random part of the target is shown and the rest hidden behind a learned vector;
learned codes tell positions apart. Masks are the last block's attention to slots, the mean over heads.
"""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, Slots
from slotlab.framework.model.decoder_blocks import DecoderBlocks
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

Share = Annotated[float, Field(ge=0, le=1)]


class RandomOrderConfig(ComponentConfig):
    """Settings of the random-order decoder."""

    layers: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of blocks."""
    heads: PositiveInt = 4
    """Heads of every attention; the target's channels are a multiple. DIAS: 4 of 384 channels, 6 of 768."""
    any_share: Share = 0.5
    """How often, in training, any share of an image's target is shown; otherwise it is `few`."""
    few: Share = 0.1
    """Share of the target that is shown otherwise; one position less, as in the authors' code."""
    evaluate_with: Literal["target", "own"] = "target"
    """Whether masks of an image that are measured come from a pass that is shown the whole target, as in the
    papers, or nothing of it. Predictions outside of training always come from one that is shown nothing."""


class RandomOrder(nn.Module):
    """Slots (B, K, D) and a target (B, C, H, W) to a prediction of the target and masks (B, K, H, W)."""

    def __init__(self, config: RandomOrderConfig, context: DecoderContext):
        super().__init__()
        channels, self.size = context.target.channels, context.target.size
        if channels % config.heads:
            fitting = [heads for heads in range(1, min(channels, 32) + 1) if channels % heads == 0]
            text = f"{config.heads} heads cannot share {channels} channels; take one of {fitting}"
            raise ComponentError(text, field="heads")
        self.any_share, self.few, self.evaluate_with = config.any_share, config.few, config.evaluate_with
        self.read_target, self.read_slots = (
            nn.Sequential(nn.Linear(width, channels, bias=False), nn.LayerNorm(channels))
            for width in (channels, context.slot_dim)
        )
        self.hidden_C = nn.Parameter(torch.randn(channels) * channels**-0.5)
        self.position_NC = nn.Parameter(nn.init.trunc_normal_(torch.empty(prod(self.size), channels)))
        self.blocks = DecoderBlocks("bias_free", width=channels, heads=config.heads, layers=config.layers)

    @property
    def masks_with_target(self) -> bool:
        """Whether measured masks of images come from `forward` with the target."""
        return self.evaluate_with == "target"

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        """Predict the target from the slots and a part of it; outside of training see `evaluate_with`.

        Raises:
            ComponentError: without a target.
        """
        if target_BCHW is None:
            raise ComponentError("is taught with the target and needs it; `sample` does without")
        target_BNC = rearrange(target_BCHW.detach(), "b c h w -> b (h w) c")
        if self.training:
            return self.decode(slots, target_BNC, self.shown(target_BNC, generator))
        told = self.decode(slots, target_BNC, torch.ones_like(target_BNC[..., 0], dtype=torch.bool))
        return Decoded(self.sample(slots).prediction_BCHW, told.masks_BKHW)

    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        """Predict the target from the slots alone, in one pass."""
        batch, (number, channels) = len(slots.vectors_BKD), self.position_NC.shape
        nothing_BNC = self.position_NC.new_zeros(batch, number, channels)
        return self.decode(slots, nothing_BNC, torch.zeros_like(nothing_BNC[..., 0], dtype=torch.bool))

    def shown(self, target_BNC: Tensor, generator: Generator | None) -> Tensor:
        """Draw which positions of each image are shown: bool (B, N)."""
        batch, number = target_BNC.shape[:2]
        device = target_BNC.device
        place_BN = torch.rand(batch, number, generator=generator, device=device).argsort(dim=1)
        any_B1 = torch.randint(max(number - 1, 1), (batch, 1), generator=generator, device=device)
        few_B1 = torch.full_like(any_B1, max(int(number * self.few) - 1, 0))
        chance_B1 = torch.rand(batch, 1, generator=generator, device=device)
        return place_BN < any_B1.where(chance_B1 < self.any_share, few_B1)

    def decode(self, slots: Slots, target_BNC: Tensor, shown_BN: Tensor) -> Decoded:
        """Predict all positions, of which those that are not shown are hidden from the blocks."""
        tokens_BNC = self.read_target(target_BNC)
        tokens_BNC = tokens_BNC.where(shown_BN[..., None], self.hidden_C.to(tokens_BNC.dtype))
        x_BNC, attention_BNK = self.blocks(
            tokens_BNC + self.position_NC, self.read_slots(slots.vectors_BKD), slots.keep_BK
        )
        made = (x_BNC, attention_BNK)
        return Decoded(*(rearrange(made_BNx, "b (h w) x -> b x h w", h=self.size[0]) for made_BNx in made))


@hookimpl
def slotlab_decoders() -> Iterable[Component[RandomOrderConfig]]:
    """Provide `random_order`."""
    yield Component(
        name="random_order",
        config=RandomOrderConfig,
        build=RandomOrder,
        summary="a transformer predicts the target from the slots and a random part of it",
    )
