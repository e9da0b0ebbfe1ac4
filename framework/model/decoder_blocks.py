"""Transformer blocks that decode tokens with a view of the slots.

Three kinds. In two of them each token sees those before it alone: `pre_norm` is torch's
`TransformerDecoderLayer` with `norm_first`, as in DINOSAUR (Seitzer et al. 2023); `slate` is SLATE's
(Singh et al. 2022), which SPOT uses too: no biases in attention, a final norm, and the first block's
residual begins at the normed input. In `bias_free`, of DIAS (2025), all tokens see one another: torch's
layer with GELU and without any bias, and the first block's residual as in SLATE's.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.model.kept_slots import kept

BlockKind = Literal["pre_norm", "slate", "bias_free"]
MLP_FACTOR = 4
"""Width of a block's hidden layer, as a multiple of the tokens' width."""


@dataclass
class Past:
    """Keys and values (B, heads, T, width / heads) of the tokens so far, for one block's self-attention."""

    keys_BATE: Tensor | None = None
    values_BATE: Tensor | None = None

    def extend(self, keys_BATE: Tensor, values_BATE: Tensor) -> tuple[Tensor, Tensor]:
        """Add those of the next tokens, and return all."""
        if self.keys_BATE is not None and self.values_BATE is not None:
            keys_BATE = torch.cat((self.keys_BATE, keys_BATE), dim=2)
            values_BATE = torch.cat((self.values_BATE, values_BATE), dim=2)
        self.keys_BATE, self.values_BATE = keys_BATE, values_BATE
        return keys_BATE, values_BATE


class Heads(nn.Module):
    """The linear maps of attention with several heads (A of them, each of width E).

    Queries, keys and values together are `inner` wide, None for the tokens' width.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, dropout: float = 0.0, inner: int | None = None):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        inner = inner or width
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner, bias=bias) for _ in range(3))
        self.to_out = nn.Linear(inner, width, bias=bias)

    def split(self, x_BTW: Tensor) -> Tensor:
        """Return (B, A, T, E)."""
        return rearrange(x_BTW, "b t (a e) -> b a t e", a=self.heads)

    def join(self, x_BATE: Tensor) -> Tensor:
        """Return the output (B, T, W) of values mixed in each head."""
        joined_BTW: Tensor = self.to_out(rearrange(x_BATE, "b a t e -> b t (a e)"))
        return F.dropout(joined_BTW, self.dropout, self.training)


class TokensAttention(Heads):
    """Each token attends to itself and to those before it or, if not causal, to all."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        bias: bool,
        causal: bool,
        dropout: float = 0.0,
        inner: int | None = None,
    ):
        super().__init__(width, heads, bias=bias, dropout=dropout, inner=inner)
        self.causal = causal

    def forward(self, x_BTW: Tensor, past: Past | None = None) -> Tensor:
        """Return (B, T, W); with a past, T is 1: the token that follows it."""
        query_BATE, keys_BATE, values_BATE = (
            self.split(to(x_BTW)) for to in (self.to_q, self.to_k, self.to_v)
        )
        if past is not None:
            keys_BATE, values_BATE = past.extend(keys_BATE, values_BATE)
        mixed_BATE = F.scaled_dot_product_attention(
            query_BATE,
            keys_BATE,
            values_BATE,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=self.causal and past is None,
        )
        return self.join(mixed_BATE)


class SlotsAttention(Heads):
    """Each token attends to the slots."""

    def forward(self, x_BTW: Tensor, slots_BKW: Tensor, keep_BK: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return (B, T, W), and the attention (B, T, K), the mean over heads, without dropped slots."""
        query_BATE, keys_BAKE = self.split(self.to_q(x_BTW)), self.split(self.to_k(slots_BKW))
        logits_BATK = query_BATE * query_BATE.shape[3] ** -0.5 @ keys_BAKE.transpose(2, 3)
        weights_BKAT = kept(logits_BATK.softmax(dim=3).movedim(3, 1), keep_BK)
        weights_BATK = weights_BKAT.movedim(1, 3)
        dropped_BATK = F.dropout(weights_BATK, self.dropout, self.training)
        mixed_BATE = dropped_BATK @ self.split(self.to_v(slots_BKW))
        return self.join(mixed_BATE), weights_BATK.mean(dim=1)


class DecoderBlock(nn.Module):
    """Self-attention, attention to slots and an MLP, each after a norm and added to its input.

    Dropout is SLATE's: of attention weights, and of what is added to the tokens.
    """

    def __init__(self, kind: BlockKind, width: int, heads: int, dropout: float = 0.0):
        super().__init__()
        biased, free, hidden = kind == "pre_norm", kind == "bias_free", MLP_FACTOR * width
        self.normed_residual = False
        self.norm_tokens, self.norm_cross, self.norm_mlp = (
            nn.LayerNorm(width, bias=not free) for _ in range(3)
        )
        self.attend_tokens = TokensAttention(width, heads, bias=biased, causal=not free, dropout=dropout)
        self.attend_slots = SlotsAttention(width, heads, bias=biased, dropout=dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=not free),
            nn.GELU() if free else nn.ReLU(),
            nn.Linear(hidden, width, bias=not free),
            nn.Dropout(dropout),
        )

    def forward(
        self, x_BTW: Tensor, slots_BKW: Tensor, keep_BK: Tensor | None = None, past: Past | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, T, W) and their attention to slots (B, T, K)."""
        normed_BTW = self.norm_tokens(x_BTW)
        x_BTW = (normed_BTW if self.normed_residual else x_BTW) + self.attend_tokens(normed_BTW, past)
        update_BTW, attention_BTK = self.attend_slots(self.norm_cross(x_BTW), slots_BKW, keep_BK)
        x_BTW = x_BTW + update_BTW
        return x_BTW + self.mlp(self.norm_mlp(x_BTW)), attention_BTK


class DecoderBlocks(nn.Module):
    """Several blocks of one kind, with the initial weights of the kind's paper.

    Args:
        kind: of the blocks.
        width: of tokens and slots (W), a multiple of `heads`.
        heads: of every attention.
        layers: how many blocks.
        dropout: in training, from torch's own random stream, which a training seeds for each step.
    """

    def __init__(self, kind: BlockKind, *, width: int, heads: int, layers: int, dropout: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(width) if kind == "slate" else nn.Identity()
        if kind == "slate":
            blocks = [DecoderBlock(kind, width, heads, dropout) for _ in range(layers)]
            for block in blocks:
                draw_as_slate(block, gain=(3 * layers) ** -0.5)
        else:  # torch's TransformerDecoder copies one layer: all of them start with the same weights
            first = DecoderBlock(kind, width, heads, dropout)
            draw_as_torch(first)
            blocks = [first, *(copy.deepcopy(first) for _ in range(layers - 1))]
        blocks[0].normed_residual = kind != "pre_norm"
        self.blocks = nn.ModuleList(blocks)

    def forward(
        self, x_BTW: Tensor, slots_BKW: Tensor, keep_BK: Tensor | None = None, pasts: list[Past] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, T, W) and the last block's attention to slots (B, T, K), the mean over heads.

        Args:
            x_BTW: all tokens in their order or, with `pasts`, the next one alone (T = 1).
            slots_BKW: of the tokens' width.
            keep_BK: weights of the slots in [0, 1]; None if all are kept.
            pasts: of `begin`, extended by this call.
        """
        attention_BTK = x_BTW.new_zeros(0)
        for index, block in enumerate(self.blocks):
            past = None if pasts is None else pasts[index]
            x_BTW, attention_BTK = block(x_BTW, slots_BKW, keep_BK, past)
        return self.norm(x_BTW), attention_BTK

    def begin(self) -> list[Past]:
        """Return the past before the first token, for each block."""
        return [Past() for _ in self.blocks]


def draw_as_torch(block: DecoderBlock) -> None:
    """Draw weights as torch's `TransformerDecoderLayer`; its MLP and output maps have torch's defaults."""
    for attention in (block.attend_tokens, block.attend_slots):
        for linear in (attention.to_q, attention.to_k, attention.to_v):
            nn.init.xavier_uniform_(linear.weight, gain=2**-0.5)  # torch draws the three as one matrix
        for linear in (attention.to_q, attention.to_k, attention.to_v, attention.to_out):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)


def draw_as_slate(block: DecoderBlock, *, gain: float) -> None:
    """Draw weights as SLATE; `gain` is that of the maps whose outputs are added to the tokens."""
    for attention in (block.attend_tokens, block.attend_slots):
        for linear in (attention.to_q, attention.to_k, attention.to_v):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.xavier_uniform_(attention.to_out.weight, gain=gain)
    first, last = block.mlp[0], block.mlp[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    nn.init.kaiming_uniform_(first.weight, nonlinearity="relu")
    nn.init.xavier_uniform_(last.weight, gain=gain)
    nn.init.zeros_(first.bias)
    nn.init.zeros_(last.bias)
