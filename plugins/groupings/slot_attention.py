"""Slot attention: slots compete for tokens by a softmax over slots, then a GRU updates them.

Source: Locatello et al. 2020, section 2.1, algorithm 1.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Grouped, GroupingContext, Slots
from slotlab.registry import Component, ComponentConfig, hookimpl


class SlotAttentionConfig(ComponentConfig):
    """Settings of slot attention."""

    iterations: Annotated[NonNegativeInt, Le(100)] = 3
    """Rounds of attention and update; with 0 the initial slots are returned."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the residual MLP; None for twice the slots' width."""
    epsilon: PositiveFloat = 1e-8
    """Added to the attention before it is renormalized over tokens."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the three layer norms; Keras's default is 1e-3."""


class SlotAttention(nn.Module):
    """Tokens (B, N, D') and initial slots (B, K, D) to slots (B, K, D), attention (B, K, N)."""

    def __init__(self, config: SlotAttentionConfig, context: GroupingContext):
        super().__init__()
        dim, token_dim, eps = context.slot_dim, context.token_dim, config.layer_norm_eps
        hidden = config.mlp_dim or 2 * dim
        self.iterations = config.iterations
        self.epsilon = config.epsilon
        self.scale = dim**-0.5
        self.norm_tokens = nn.LayerNorm(token_dim, eps=eps)
        self.norm_slots = nn.LayerNorm(dim, eps=eps)
        self.to_k = nn.Linear(token_dim, dim, bias=False)
        self.to_v = nn.Linear(token_dim, dim, bias=False)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.gru = nn.GRUCell(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim, eps=eps), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )

    def forward(self, tokens_BND: Tensor, slots: Slots, *, generator: Generator | None = None) -> Grouped:
        """Run all iterations. The slots' extras are passed on as they are."""
        tokens_BNT = self.norm_tokens(tokens_BND)
        slots_BKD = slots.vectors_BKD
        attention_BKN = self._attend(tokens_BNT, slots_BKD)
        for step in range(self.iterations):
            if step:
                attention_BKN = self._attend(tokens_BNT, slots_BKD)
            slots_BKD = self._update(attention_BKN, tokens_BNT, slots_BKD)
        return Grouped(Slots(slots_BKD, slots.extras), attention_BKN)

    # There are thousands of tokens and a few slots, so keys and values of tokens are never computed:
    # q . (W_k t) = (W_k' q) . t, and the mean of W_v t is W_v times the mean of t.

    def _attend(self, tokens_BNT: Tensor, slots_BKD: Tensor) -> Tensor:
        q_BKD = self.to_q(self.norm_slots(slots_BKD)) * self.scale
        query_BKT = q_BKD @ self.to_k.weight
        return torch.softmax(query_BKT @ tokens_BNT.transpose(1, 2), dim=1)  # over slots: they compete

    def _update(self, attention_BKN: Tensor, tokens_BNT: Tensor, slots_BKD: Tensor) -> Tensor:
        weights_BKN = attention_BKN + self.epsilon
        weights_BKN = weights_BKN / weights_BKN.sum(dim=2, keepdim=True)
        updates_BKD = self.to_v(weights_BKN @ tokens_BNT)
        new_BKD = self.gru(updates_BKD.flatten(0, 1), slots_BKD.flatten(0, 1)).view_as(slots_BKD)
        return new_BKD + self.mlp(new_BKD)  # type: ignore[no-any-return]


@hookimpl
def slotlab_groupings() -> Iterable[Component[SlotAttentionConfig]]:
    """Provide `slot_attention`."""
    yield Component(
        name="slot_attention",
        config=SlotAttentionConfig,
        build=SlotAttention,
        summary="iterated attention with a softmax over slots and a GRU update",
    )
