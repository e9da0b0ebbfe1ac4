"""One learned vector per slot, the same for every image.

Source: the learned embedding of Kipf et al. 2022 (SAVi), N(0, 1) at the start, as in H.
Goyal, "COL775: Slot Attention" (2024). The number of slots is fixed by training.
"""

from collections.abc import Iterable

import torch
from pydantic import PositiveFloat
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class LearnableConfig(ComponentConfig):
    """Settings of learned initial slots."""

    init_std: PositiveFloat = 1.0
    """Standard deviation of the normal distribution the vectors are first drawn from."""


class LearnableInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D); the tokens give only the batch size."""

    fixed_num_slots = True

    def __init__(self, config: LearnableConfig, context: InitializerContext):
        super().__init__()
        self.vectors_KD = nn.Parameter(torch.randn(context.num_slots, context.slot_dim) * config.init_std)

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return the learned vectors for each image.

        Raises:
            ComponentError: if `num_slots` is not the trained number of slots.
        """
        trained = self.vectors_KD.shape[0]
        if num_slots not in (None, trained):
            raise ComponentError(f"{trained} learned slots cannot become {num_slots}")
        return Slots(self.vectors_KD.expand(tokens_BND.shape[0], -1, -1))


@hookimpl
def slotlab_initializers() -> Iterable[Component[LearnableConfig]]:
    """Provide `learnable`."""
    yield Component(
        name="learnable",
        config=LearnableConfig,
        build=LearnableInitializer,
        summary="one learned vector a slot; fixes the number of slots",
    )
