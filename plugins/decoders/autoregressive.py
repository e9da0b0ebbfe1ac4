"""The autoregressive decoder: a transformer predicts the target position by position from the slots.

Sources: Seitzer et al. 2023 (DINOSAUR), appendix, for `blocks: pre_norm`; Kakogeorgiou et al. 2024 (SPOT),
sections 3.1 and 3.3, for `blocks: slate` and nine orders. It is taught with the target: the input at a
position is the true target at the position before, and at the first a learned vector. Masks are the last
block's attention to slots, the mean over heads.
"""

from collections.abc import Iterable, Sequence
from math import prod
from typing import Annotated, Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, Slots
from slotlab.framework.model.decoder_blocks import DecoderBlocks
from slotlab.framework.model.patch_orders import nine_orders
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class AutoregressiveConfig(ComponentConfig):
    """Settings of the autoregressive decoder."""

    blocks: Literal["pre_norm", "slate"] = "pre_norm"
    """DINOSAUR's blocks, which are torch's own with the norm first, or SLATE's, which SPOT uses."""
    layers: Annotated[int, Field(ge=1, le=64)] = 4
    """Number of blocks; 4 in DINOSAUR and SPOT."""
    heads: PositiveInt = 8
    """Heads of every attention; the width must be a multiple. DINOSAUR 8 on COCO and 4 elsewhere, SPOT 6."""
    width: PositiveInt | None = None
    """Width of the blocks; null for the target's channels, which leaves out the map to the prediction."""
    orders: Literal["one", "nine"] = "one"
    """Row by row, or one of SPOT's nine orders drawn for each training step; each has its own first input."""
    evaluate: Literal["standard", "random", "all"] = "standard"
    """Orders outside of training: row by row, a drawn one, or the mean of predictions and masks over all."""
    evaluate_with: Literal["target", "own"] = "target"
    """Whether masks of an image that are measured come from a pass that is told the target, as in the papers,
    or from the decoder's own predictions. Pictures, and masks of slots of no image, always from its own."""


class Autoregressive(nn.Module):
    """Slots (B, K, D) and a target (B, C, H, W) to a prediction of the target and masks (B, K, H, W)."""

    def __init__(self, config: AutoregressiveConfig, context: DecoderContext):
        super().__init__()
        channels, self.size = context.target.channels, context.target.size
        width = channels if config.width is None else config.width
        check_settings(config, width)
        self.evaluate, self.evaluate_with = config.evaluate, config.evaluate_with
        self.read_target, self.read_slots = reader(channels, width), reader(context.slot_dim, width)
        self.blocks = DecoderBlocks(config.blocks, width=width, heads=config.heads, layers=config.layers)
        self.write = nn.Identity() if config.width is None else writer(width, channels)
        orders_RN = nine_orders(self.size) if config.orders == "nine" else torch.arange(prod(self.size))[None]
        self.register_buffer("orders_RN", orders_RN, persistent=False)
        self.orders_RN: Tensor
        std = channels**-0.5 if config.blocks == "pre_norm" else 0.02
        self.first_RC = nn.Parameter(torch.randn(len(orders_RN), channels) * std)

    @property
    def masks_with_target(self) -> bool:
        """Whether measured masks of images come from `forward` with the target."""
        return self.evaluate_with == "target"

    def forward(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: Generator | None = None
    ) -> Decoded:
        """Predict each position of the target from the slots and the true target before it.

        Raises:
            ComponentError: without a target.
        """
        if target_BCHW is None:
            raise ComponentError("is taught with the target and needs it; `sample` does without")
        target_BNC = target_BCHW.detach().flatten(2).transpose(1, 2)
        slots_BKW = self.read_slots(slots.vectors_BKD)
        which = "random" if self.training else self.evaluate
        made = []
        for index_1 in self.chosen(which, generator):
            order_N = self.orders_RN.index_select(0, index_1)[0]
            first_B1C = self.first_RC.index_select(0, index_1).expand(len(slots_BKW), 1, -1)
            inputs_BNC = torch.cat((first_B1C, target_BNC.index_select(1, order_N[:-1])), dim=1)
            x_BNW, attention_BNK = self.blocks(self.read_target(inputs_BNC), slots_BKW, slots.keep_BK)
            made.append(self._on_grid(self.write(x_BNW), attention_BNK, order_N))
        return mean(made)

    @torch.no_grad()
    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        """Predict each position from the slots and the decoder's own predictions before it."""
        slots_BKW = self.read_slots(slots.vectors_BKD)
        made = []
        for index_1 in self.chosen(self.evaluate, generator):
            order_N = self.orders_RN.index_select(0, index_1)[0]
            first_B1C = self.first_RC.index_select(0, index_1).expand(len(slots_BKW), 1, -1)
            made.append(self._on_grid(*self._continued(first_B1C, slots_BKW, slots.keep_BK), order_N))
        return mean(made)

    def _continued(
        self, input_B1C: Tensor, slots_BKW: Tensor, keep_BK: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what follows the first input: the prediction (B, N, C) and the attention (B, N, K)."""
        number, pasts = self.orders_RN.shape[1], self.blocks.begin()
        steps: list[tuple[Tensor, Tensor]] = []
        while len(steps) < number:
            x_B1W, attention_B1K = self.blocks(self.read_target(input_B1C), slots_BKW, keep_BK, pasts)
            input_B1C = self.write(x_B1W)
            # Without values all steps are alike, and slow: `validate` makes one.
            steps += [(input_B1C, attention_B1K)] * (number if input_B1C.is_meta else 1)
        prediction_BNC, attention_BNK = (torch.cat(each, dim=1) for each in zip(*steps, strict=True))
        return prediction_BNC, attention_BNK

    def chosen(self, which: str, generator: Generator | None) -> Sequence[Tensor]:
        """Return the indices of the orders to go by, each int64 of shape (1,)."""
        number, device = len(self.orders_RN), self.orders_RN.device
        if which == "random" and number > 1:
            return [torch.randint(number, (1,), generator=generator, device=device)]
        return list(torch.arange(number if which == "all" else 1, device=device)[:, None])

    def _on_grid(self, prediction_BNC: Tensor, attention_BNK: Tensor, order_N: Tensor) -> Decoded:
        """Bring what was made in an order back to the grid."""
        place_N = order_N.argsort()
        made = (made_BNx.index_select(1, place_N) for made_BNx in (prediction_BNC, attention_BNK))
        return Decoded(*(rearrange(made_BNx, "b (h w) x -> b x h w", h=self.size[0]) for made_BNx in made))


def reader(inputs: int, width: int) -> nn.Sequential:
    """Return the map of inputs to tokens of the blocks: linear without bias, then a norm."""
    linear = nn.Linear(inputs, width, bias=False)
    nn.init.xavier_uniform_(linear.weight)
    return nn.Sequential(linear, nn.LayerNorm(width))


def writer(width: int, channels: int) -> nn.Linear:
    """Return the map of tokens to a prediction."""
    linear = nn.Linear(width, channels)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def mean(made: Sequence[Decoded]) -> Decoded:
    """Return the mean of predictions and masks."""
    if len(made) == 1:
        return made[0]
    prediction_BCHW = torch.stack([one.prediction_BCHW for one in made]).mean(dim=0)
    masks = [one.masks_BKHW for one in made if one.masks_BKHW is not None]
    return Decoded(prediction_BCHW, torch.stack(masks).mean(dim=0))


def check_settings(config: AutoregressiveConfig, width: int) -> None:
    """Refuse heads that do not divide the width, and several orders in evaluation alone."""
    if width % config.heads:
        fitting = [heads for heads in range(1, min(width, 32) + 1) if width % heads == 0]
        text = f"{config.heads} heads cannot share a width of {width}; take one of {fitting}"
        raise ComponentError(text, field="heads")
    if config.orders == "one" and config.evaluate != "standard":
        text = (
            f"'{config.evaluate}' chooses among orders, and there is one; write 'orders: nine', or 'standard'"
        )
        raise ComponentError(text, field="evaluate")


@hookimpl
def slotlab_decoders() -> Iterable[Component[AutoregressiveConfig]]:
    """Provide `autoregressive`."""
    yield Component(
        name="autoregressive",
        config=AutoregressiveConfig,
        build=Autoregressive,
        summary="a causal transformer predicts the target position by position from the slots",
    )
