"""Slot attention: slots compete for tokens by a softmax over slots, then a GRU updates them.

Source: Locatello et al. 2020, section 2.1, algorithm 1. Settings make it what others published under its
name: SLATE (`heads`), STEVE (`mlp_last`), VideoSAUR (`hidden_state`), BO-QSA (`epsilon_to`, `drop_path`,
`truncate`; Jia et al. 2023), SAVi (`mlp`; Kipf et al. 2022), implicit slot attention (`truncate`;
Chang et al. 2022), LSD (`scale_by`, `readout`; Jiang et al. 2023), the object-centric learning framework and
AdaSlot (`attention_dim`).
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le, Lt
from einops import rearrange, reduce
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Grouped, GroupingContext, GroupingTrace, Slots
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class SlotAttentionConfig(ComponentConfig):
    """Settings of slot attention."""

    iterations: Annotated[NonNegativeInt, Le(100)] = 3
    """Rounds of attention and update; with 0 the initial slots are returned."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the residual MLP; None for twice the slots' width."""
    attention_dim: PositiveInt | None = None
    """Width of queries, keys and values; None for the slots' width. AdaSlot's on CLEVR is twice that."""
    epsilon: PositiveFloat = 1e-8
    """Added to the attention before it is renormalized over tokens."""
    layer_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the three layer norms; Keras's default is 1e-3."""
    epsilon_to: Literal["weights", "sum"] = "weights"
    """What `epsilon` is added to: each token's weight, as in the paper, or their sum, as in BO-QSA (1.0)."""
    hidden_state: Literal["slots", "normalized"] = "slots"
    """What the GRU updates: the slots, as in the paper, or the slots after their norm, as in VideoSAUR."""
    heads: PositiveInt = 1
    """Attention heads; each token's softmax runs over heads and slots together, as in SLATE."""
    scale_by: Literal["head", "slot"] = "head"
    """Whose width's inverse root scales the logits: a head's, or, as in LSD with several heads, a slot's."""
    mlp: bool = True
    """Whether a residual MLP follows the GRU; SAVi's small model has none."""
    mlp_last: bool = True
    """Whether the MLP also follows the last update; STEVE leaves it out there."""
    activation: Literal["relu", "gelu"] = "relu"
    """The MLP's nonlinearity."""
    drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability, in training, that an image's slots skip an MLP; kept ones are divided by 1 - drop_path."""
    truncate: Literal["none", "fixed_point", "bi_level", "implicit"] = "none"
    """Where gradients stop: nowhere; before the last iteration (`fixed_point`); there too, but with the
    gradient of the slots passed on to the initial slots (`bi_level`); or before one more iteration
    (`implicit`), which is the gradient of the fixed point to first order. Initial slots learn with `none` and
    `bi_level` alone."""
    readout: bool = False
    """Whether a layer norm and a linear map follow the last iteration, as in LSD."""

    def cautions(self) -> list[str]:
        """Warn about an MLP that is never trained."""
        if self.truncate == "none" or self.mlp_last or not self.mlp:
            return []
        return [f"'truncate: {self.truncate}' without 'mlp_last' leaves the MLP as it was drawn"]


class SlotAttention(nn.Module):
    """Tokens (B, N, D') and initial slots (B, K, D) to slots (B, K, D), attention (B, K, N)."""

    iterates_by_call = True

    def __init__(self, config: SlotAttentionConfig, context: GroupingContext):
        super().__init__()
        dim, token_dim, eps = context.slot_dim, context.token_dim, config.layer_norm_eps
        check(config, dim)
        hidden, inner = config.mlp_dim or 2 * dim, config.attention_dim or dim
        self.config = config
        self.iterations = config.iterations
        self.epsilon = config.epsilon
        self.heads = config.heads
        self.traced = context.traced
        self.scale = (dim if config.scale_by == "slot" else inner // config.heads) ** -0.5
        self.norm_tokens = nn.LayerNorm(token_dim, eps=eps)
        self.norm_slots = nn.LayerNorm(dim, eps=eps)
        self.to_k = nn.Linear(token_dim, inner, bias=False)
        self.to_v = nn.Linear(token_dim, inner, bias=False)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.gru = nn.GRUCell(inner, dim)
        if config.mlp:
            nonlinearity = nn.ReLU() if config.activation == "relu" else nn.GELU()
            self.mlp = nn.Sequential(
                nn.LayerNorm(dim, eps=eps), nn.Linear(dim, hidden), nonlinearity, nn.Linear(hidden, dim)
            )
        if config.readout:
            self.readout = nn.Sequential(nn.LayerNorm(dim, eps=eps), nn.Linear(dim, dim))

    def forward(
        self,
        tokens_BND: Tensor,
        slots: Slots,
        *,
        generator: Generator | None = None,
        iterations: int | None = None,
    ) -> Grouped:
        """Run all iterations, or as many as asked for. The slots' extras are passed on as they are."""
        tokens_BNT = self.norm_tokens(tokens_BND)
        slots_BKD, truncate = slots.vectors_BKD, self.config.truncate
        rounds = self.iterations if iterations is None else iterations
        last, attentions = rounds - (truncate != "implicit"), []
        if truncate != "none" and not self.traced:
            slots_BKD = slots_BKD.detach()  # a view made without a graph would still say that it needs one
        # What is cut off needs no graph, unless an auxiliary loss may read its attention.
        with torch.set_grad_enabled(torch.is_grad_enabled() and (truncate == "none" or self.traced)):
            for _ in range(last):
                _, attention_BMN = self._attend(tokens_BNT, slots_BKD)
                slots_BKD = self._update(attention_BMN, tokens_BNT, slots_BKD, generator)
                if self.traced:
                    attentions.append(self._over_heads(attention_BMN))
        slots_BKD = self._cut(slots_BKD, slots.vectors_BKD)
        logits_BMN, attention_BMN = self._attend(tokens_BNT, slots_BKD)
        attention_BKN = self._over_heads(attention_BMN)
        if rounds:
            slots_BKD = self._update(attention_BMN, tokens_BNT, slots_BKD, generator, last=True)
        if self.config.readout:
            slots_BKD = self.readout(slots_BKD)
        trace = self._trace(logits_BMN, [*attentions, attention_BKN]) if self.traced else None
        return Grouped(Slots(slots_BKD, slots.extras), attention_BKN, trace)

    def _cut(self, slots_BKD: Tensor, initial_BKD: Tensor) -> Tensor:
        if self.config.truncate == "none":
            return slots_BKD
        if self.config.truncate == "bi_level":
            return slots_BKD.detach() + initial_BKD - initial_BKD.detach()
        return slots_BKD.detach()

    # There are thousands of tokens and a few slots, so keys and values of tokens are never computed:
    # q . (W_k t) = (W_k' q) . t, and the mean of W_v t is W_v times the mean of t. With several heads,
    # M = heads * K; the heads of a head-and-slot pair are rows of W_k and W_v.

    def _attend(self, tokens_BNT: Tensor, slots_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention of each head and slot before and after the softmax."""
        q_BKD = self.to_q(self.norm_slots(slots_BKD)) * self.scale
        if self.heads == 1:
            query_BMT = q_BKD @ self.to_k.weight
        else:
            q_BHKd = rearrange(q_BKD, "b k (h d) -> b h k d", h=self.heads)
            weight_HdT = rearrange(self.to_k.weight, "(h d) t -> h d t", h=self.heads)
            query_BMT = (q_BHKd @ weight_HdT).flatten(1, 2)
        logits_BMN = query_BMT @ tokens_BNT.transpose(1, 2)
        return logits_BMN, torch.softmax(logits_BMN, dim=1)  # over slots: they compete

    def _over_heads(self, attention_BMN: Tensor) -> Tensor:
        if self.heads == 1:
            return attention_BMN
        return reduce(attention_BMN, "b (h k) n -> b k n", "sum", h=self.heads)

    def _trace(self, logits_BMN: Tensor, attentions: list[Tensor]) -> GroupingTrace:
        if self.heads > 1:  # the softmax of these over slots is the attention, summed over heads
            logits_BMN = rearrange(logits_BMN, "b (h k) n -> b h k n", h=self.heads).logsumexp(dim=1)
        return GroupingTrace(logits_BMN, torch.stack(attentions, dim=1))

    def _update(
        self,
        attention_BMN: Tensor,
        tokens_BNT: Tensor,
        slots_BKD: Tensor,
        generator: Generator | None,
        *,
        last: bool = False,
    ) -> Tensor:
        updates_BKD = self._mean_values(attention_BMN, tokens_BNT)
        hidden_BKD = self.norm_slots(slots_BKD) if self.config.hidden_state == "normalized" else slots_BKD
        new_BKD = self.gru(updates_BKD.flatten(0, 1), hidden_BKD.flatten(0, 1)).view_as(slots_BKD)
        if not self.config.mlp or (last and not self.config.mlp_last):
            return new_BKD  # type: ignore[no-any-return]
        return new_BKD + self._drop(self.mlp(new_BKD), generator)  # type: ignore[no-any-return]

    def _mean_values(self, attention_BMN: Tensor, tokens_BNT: Tensor) -> Tensor:
        if self.config.epsilon_to == "weights":
            weights_BMN = attention_BMN + self.epsilon
            weights_BMN = weights_BMN / weights_BMN.sum(dim=2, keepdim=True)
        else:
            weights_BMN = attention_BMN / (attention_BMN.sum(dim=2, keepdim=True) + self.epsilon)
        means_BMT = weights_BMN @ tokens_BNT
        if self.heads == 1:
            return self.to_v(means_BMT)  # type: ignore[no-any-return]
        weight_HTd = rearrange(self.to_v.weight, "(h d) t -> h t d", h=self.heads)
        values_BHKd = rearrange(means_BMT, "b (h k) t -> b h k t", h=self.heads) @ weight_HTd
        return rearrange(values_BHKd, "b h k d -> b k (h d)")

    def _drop(self, residual_BKD: Tensor, generator: Generator | None) -> Tensor:
        kept = 1 - self.config.drop_path
        if not self.training or kept == 1:
            return residual_BKD
        shape, device = (len(residual_BKD), 1, 1), residual_BKD.device
        draw_B11 = torch.rand(shape, generator=generator, device=device)
        return residual_BKD * (draw_B11 < kept).to(residual_BKD.dtype) / kept


def check(config: SlotAttentionConfig, dim: int) -> None:
    """Refuse heads that do not divide the slots' width, and nothing to truncate."""
    inner = config.attention_dim or dim
    if inner % config.heads:
        whose = "the slots' width" if config.attention_dim is None else "attention_dim"
        raise ComponentError(f"{config.heads} heads do not divide {whose} {inner}", field="heads")
    if config.iterations == 0 and config.truncate != "none":
        raise ComponentError("with 0 iterations there is no gradient to cut; take 'none'", field="truncate")


@hookimpl
def slotlab_groupings() -> Iterable[Component[SlotAttentionConfig]]:
    """Provide `slot_attention`."""
    yield Component(
        name="slot_attention",
        config=SlotAttentionConfig,
        build=SlotAttention,
        summary="iterated attention with a softmax over slots and a GRU update",
    )
