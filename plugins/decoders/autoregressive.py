"""The autoregressive decoder: a transformer predicts the target position by position from the slots.

Sources: Seitzer et al. 2023 (DINOSAUR), appendix, for `blocks: pre_norm`; Kakogeorgiou et al. 2024 (SPOT),
sections 3.1 and 3.3, for `blocks: slate` and nine orders. It is taught with the target: the input at a
position is the true target at the position before, and at the first a learned vector. Masks are the last
block's attention to slots, the mean over heads.

Where the target is tokens, it is the decoder of SLATE (Singh et al. 2022, section 3), and of STEVE for one
frame: embeddings and learned positions are its inputs, and tokens are chosen one after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Annotated, Any, Literal

import torch
from einops import rearrange
from pydantic import Field, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Decoded, DecoderContext, Slots, TargetShape
from slotlab.framework.model.decoder_blocks import DecoderBlocks
from slotlab.framework.model.gumbel import gumbel_noise
from slotlab.framework.model.patch_orders import nine_orders
from slotlab.framework.model.token_reader import TokenReader
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
    """Width of the blocks; null for the target's channels, which leaves out the map to the prediction. It
    must be given where the target is tokens: 192 in SLATE."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of values that are dropped in training, in SLATE's blocks: 0.1 in SLATE, 0 in SPOT."""
    orders: Literal["one", "nine"] = "one"
    """Row by row, or one of SPOT's nine orders drawn for each training step; each has its own first input."""
    evaluate: Literal["standard", "random", "all"] = "standard"
    """Orders outside of training: row by row, a drawn one, or the mean of predictions and masks over all."""
    choose: Literal["greedy", "drawn"] = "greedy"
    """How a token is chosen for a picture: the likeliest, as in the papers, or drawn by its probability."""
    evaluate_with: Literal["target", "own"] = "target"
    """Whether masks of an image that are measured come from a pass that is told the target, as in the papers,
    or from the decoder's own predictions. Pictures, and masks of slots of no image, always from its own."""


class Autoregressive(nn.Module):
    """Slots (B, K, D) and a target (B, C, H, W) to a prediction of the target and masks (B, K, H, W)."""

    def __init__(self, config: AutoregressiveConfig, context: DecoderContext):
        super().__init__()
        channels, self.size = context.target.channels, context.target.size
        width = channels if config.width is None else config.width
        check_settings(config, width, context.target)
        self.evaluate, self.evaluate_with = config.evaluate, config.evaluate_with
        self.read_target, self.read_slots = self.readers(config, context, width)
        self.blocks = DecoderBlocks(
            config.blocks, width=width, heads=config.heads, layers=config.layers, dropout=config.dropout
        )
        self.write = self.writer(config, context, width)
        orders_RN = nine_orders(self.size) if config.orders == "nine" else torch.arange(prod(self.size))[None]
        self.register_buffer("orders_RN", orders_RN, persistent=False)
        self.orders_RN: Tensor
        self.add_first(config, channels)

    # What is done otherwise where the target is tokens (`AutoregressiveTokens`):

    def readers(
        self, config: AutoregressiveConfig, context: DecoderContext, width: int
    ) -> tuple[nn.Module, nn.Module]:
        """Return what makes inputs of the target and of slots."""
        return reader(context.target.channels, width), reader(context.slot_dim, width)

    def writer(self, config: AutoregressiveConfig, context: DecoderContext, width: int) -> nn.Module:
        """Return the map from the blocks' output to the prediction."""
        return nn.Identity() if config.width is None else writer(width, context.target.channels)

    def add_first(self, config: AutoregressiveConfig, channels: int) -> None:
        """Add the learned value that stands before the first position, for each order."""
        std = channels**-0.5 if config.blocks == "pre_norm" else 0.02
        self.first_RC = nn.Parameter(torch.randn(len(self.orders_RN), channels) * std)

    def first(self, index_1: Tensor, batch: int) -> Tensor:
        """Return the value before the first position, (B, 1, C)."""
        return self.first_RC.index_select(0, index_1).expand(batch, 1, -1)

    def values(self, target_BCHW: Tensor) -> Tensor:
        """Return the target, row by row: (B, N, C)."""
        return target_BCHW.flatten(2).transpose(1, 2)

    def read(self, values_BTC: Tensor, place: int) -> Tensor:
        """Return the blocks' inputs (B, T, W) for values of which the first is input number `place`."""
        read_BTW: Tensor = self.read_target(values_BTC)
        return read_BTW

    def taught(self, x_BNW: Tensor) -> Tensor:
        """Return what `forward` predicts, (B, N, C)."""
        prediction_BNC: Tensor = self.write(x_BNW)
        return prediction_BNC

    def next(self, x_B1W: Tensor, generator: Generator | None) -> Tensor:
        """Return the decoder's own value at a position, which is the next input: (B, 1, C)."""
        value_B1C: Tensor = self.write(x_B1W)
        return value_B1C

    @property
    def readout(self) -> nn.Module | None:
        """What makes logits of the prediction of `forward`, where the target is tokens."""
        return None

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
        values_BNC = self.values(target_BCHW.detach())
        slots_BKW = self.read_slots(slots.vectors_BKD)
        which = "random" if self.training else self.evaluate
        made = []
        for index_1 in self.chosen(which, generator):
            order_N = self.orders_RN.index_select(0, index_1)[0]
            first_B1C = self.first(index_1, len(slots_BKW))
            inputs_BNC = torch.cat((first_B1C, values_BNC.index_select(1, order_N[:-1])), dim=1)
            x_BNW, attention_BNK = self.blocks(self.read(inputs_BNC, 0), slots_BKW, slots.keep_BK)
            made.append(self._on_grid(self.taught(x_BNW), attention_BNK, order_N))
        return replace(mean(made), readout=self.readout)

    @torch.no_grad()
    def sample(self, slots: Slots, *, generator: Generator | None = None) -> Decoded:
        """Predict each position from the slots and the decoder's own predictions before it."""
        slots_BKW = self.read_slots(slots.vectors_BKD)
        made = []
        for index_1 in self.chosen(self.evaluate, generator):
            order_N = self.orders_RN.index_select(0, index_1)[0]
            first_B1C = self.first(index_1, len(slots_BKW))
            continued = self._continued(first_B1C, slots_BKW, slots.keep_BK, generator)
            made.append(self._on_grid(*continued, order_N))
        return mean(made)

    def _continued(
        self, input_B1C: Tensor, slots_BKW: Tensor, keep_BK: Tensor | None, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return what follows the first input: the prediction (B, N, C) and the attention (B, N, K)."""
        number, pasts = self.orders_RN.shape[1], self.blocks.begin()
        steps: list[tuple[Tensor, Tensor]] = []
        while len(steps) < number:
            read_B1W = self.read(input_B1C, len(steps))
            x_B1W, attention_B1K = self.blocks(read_B1W, slots_BKW, keep_BK, pasts)
            input_B1C = self.next(x_B1W, generator)
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
        if prediction_BNC.dim() == 2:  # tokens
            prediction_BNC = prediction_BNC[..., None]
        prediction_BCHW, masks_BKHW = (
            rearrange(made_BNx.index_select(1, place_N), "b (h w) x -> b x h w", h=self.size[0])
            for made_BNx in (prediction_BNC, attention_BNK)
        )
        return Decoded(prediction_BCHW, masks_BKHW)


class AutoregressiveTokens(Autoregressive):
    """Slots (B, K, D) and tokens (B, 1, H, W) to a prediction of the tokens and masks (B, K, H, W)."""

    def __init__(self, config: AutoregressiveConfig, context: DecoderContext):
        super().__init__(config, context)
        self.choose = config.choose

    @property
    def readout(self) -> nn.Module:
        """What makes logits of the prediction of `forward`."""
        return self.write

    def readers(
        self, config: AutoregressiveConfig, context: DecoderContext, width: int
    ) -> tuple[nn.Module, nn.Module]:
        """Return the embedding of tokens, and a linear map of slots."""
        codes, places = context.target.classes or 0, prod(context.target.size) + 1
        slots = nn.Linear(context.slot_dim, width, bias=False)
        nn.init.xavier_uniform_(slots.weight)
        return TokenReader(codes, places, width, config.dropout), slots

    def writer(self, config: AutoregressiveConfig, context: DecoderContext, width: int) -> nn.Module:
        """Return the map to logits, without a bias."""
        logits = nn.Linear(width, context.target.classes or 0, bias=False)
        nn.init.xavier_uniform_(logits.weight)
        return logits

    def add_first(self, config: AutoregressiveConfig, channels: int) -> None:
        """Add nothing: the first input is among the embeddings."""

    def first(self, index_1: Tensor, batch: int) -> Tensor:
        """Return the index of the first input, int64 (B, 1)."""
        reader: Any = self.read_target
        return index_1.new_full((1,), reader.first).expand(batch, 1)

    def values(self, target_BCHW: Tensor) -> Tensor:
        """Return the tokens, row by row: (B, N)."""
        return target_BCHW.flatten(1)

    def read(self, values_BTC: Tensor, place: int) -> Tensor:
        """Return the embeddings of tokens (B, T) with their places."""
        read_BTW: Tensor = self.read_target(values_BTC, place)
        return read_BTW

    def taught(self, x_BNW: Tensor) -> Tensor:
        """Return the blocks' output, of which `readout` makes logits."""
        return x_BNW

    def next(self, x_B1W: Tensor, generator: Generator | None) -> Tensor:
        """Return the chosen token, (B, 1)."""
        logits_BV: Tensor = self.write(x_B1W)[:, 0].float()
        if self.choose == "drawn":  # by adding Gumbel noise
            logits_BV = logits_BV + gumbel_noise(logits_BV, generator)
        return logits_BV.argmax(dim=1, keepdim=True)


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


def build(config: AutoregressiveConfig, context: DecoderContext) -> Autoregressive:
    """Build the decoder of numbers, or that of tokens."""
    kind = Autoregressive if context.target.classes is None else AutoregressiveTokens
    return kind(config, context)


def check_settings(config: AutoregressiveConfig, width: int, target: TargetShape) -> None:
    """Refuse heads that do not divide the width, and settings of which one leaves the other no use.

    Raises:
        ComponentError: at the setting.
    """
    if target.classes is not None and config.width is None:
        raise ComponentError("tokens have no width of their own: give one, such as 192", field="width")
    if target.classes is not None and config.orders != "one":
        text = "tokens are read by their place in one order; write 'orders: one'"
        raise ComponentError(text, field="orders")
    if target.classes is None and config.choose != "greedy":
        text = "only tokens are drawn, and this objective's target are numbers; leave it out"
        raise ComponentError(text, field="choose")
    if config.dropout and config.blocks != "slate":
        raise ComponentError("is SLATE's; write 'blocks: slate', or 0", field="dropout")
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
        build=build,
        summary="a causal transformer predicts the target position by position from the slots",
    )
