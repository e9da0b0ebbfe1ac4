"""Preheated slots: draws of one Gaussian that look at the tokens once, through a transformer layer.

The layer learns by the auxiliary loss `preheat` alone, which brings its output near the slots that the
grouping finds; in training the grouping starts from the output without gradient, with noise of a learned
deviation. Its authors use it with `truncate: bi_level`. Source: Zhao et al. 2025, "Smoothing Slot Attention
Iterations and Recurrences".
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class PreheatedConfig(ComponentConfig):
    """Settings of preheated slots."""

    heads: PositiveInt = 4
    """Attention heads; they divide the slots' width."""
    mlp_dim: PositiveInt | None = None
    """Hidden width of the layer's MLP; None for four times the slots' width."""
    detach: NonNegativeFloat = 1.0
    """While above 0, tokens get no gradient from here. May change during training (`training.anneal`): in the
    paper's code it is 1 for a tenth of the steps and then 0."""


class PreheatedInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D), any K.

    The extra `preheated` (B, K, D) is the layer's output, with gradient and without noise.
    """

    fixed_num_slots = False
    schedulable: ClassVar = frozenset({"detach"})

    def __init__(self, config: PreheatedConfig, context: InitializerContext):
        super().__init__()
        dim = context.slot_dim
        if dim % config.heads:
            raise ComponentError(f"{config.heads} heads do not divide the slots' width {dim}", field="heads")
        self.num_slots = context.num_slots
        self.detach = config.detach
        self.mu_D = nn.Parameter(torch.zeros(dim))
        self.log_sigma_D = nn.Parameter(torch.zeros(dim))
        self.log_noise_D = nn.Parameter(torch.zeros(dim))
        self.from_tokens = nn.Linear(context.token_dim, dim)
        self.look = nn.MultiheadAttention(dim, config.heads, bias=False, batch_first=True)
        self.norm_slots = nn.LayerNorm(dim, bias=False)
        self.mix = nn.MultiheadAttention(dim, config.heads, bias=False, batch_first=True)
        hidden = config.mlp_dim or 4 * dim
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim, bias=False),
            nn.Linear(dim, hidden, bias=False),
            nn.GELU(),
            nn.Linear(hidden, dim, bias=False),
        )

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return slots drawn with `generator` and preheated."""
        shape = (tokens_BND.shape[0], num_slots or self.num_slots, len(self.mu_D))
        like: Any = {"device": self.mu_D.device, "dtype": self.mu_D.dtype}
        noise_BKD = torch.randn(shape, generator=generator, **like)
        drawn_BKD = self.mu_D + self.log_sigma_D.exp() * noise_BKD
        found_BKD = self._layer(drawn_BKD, tokens_BND.detach() if self.detach > 0 else tokens_BND)
        if not self.training:
            return Slots(found_BKD, {"preheated": found_BKD})
        noise_BKD = torch.randn(shape, generator=generator, **like)
        return Slots(found_BKD.detach() + self.log_noise_D.exp() * noise_BKD, {"preheated": found_BKD})

    def _layer(self, slots_BKD: Tensor, tokens_BNT: Tensor) -> Tensor:
        """Look at the tokens, without a norm, then at the other slots, then pass the MLP."""
        tokens_BND = self.from_tokens(tokens_BNT)
        slots_BKD = slots_BKD + self.look(slots_BKD, tokens_BND, tokens_BND, need_weights=False)[0]
        normal_BKD = self.norm_slots(slots_BKD)
        slots_BKD = slots_BKD + self.mix(normal_BKD, normal_BKD, normal_BKD, need_weights=False)[0]
        return slots_BKD + self.mlp(slots_BKD)  # type: ignore[no-any-return]


@hookimpl
def slotlab_initializers() -> Iterable[Component[PreheatedConfig]]:
    """Provide `preheated`."""
    yield Component(
        name="preheated",
        config=PreheatedConfig,
        build=PreheatedInitializer,
        summary="drawn from one Gaussian, then a look at the tokens; any number of slots",
    )
