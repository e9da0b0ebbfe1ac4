"""One learned vector per slot, the same for every image.

Source: the learned embedding of Kipf et al. 2022 (SAVi), N(0, 1) at the start, as in H.
Goyal, "COL775: Slot Attention" (2024). The number of slots is fixed by training. With `init: xavier` and
`sigma: 1` it is BO-QSA's (Jia et al. 2023, section 3.2): `training.anneal` brings `initializer.sigma` to 0.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class LearnableConfig(ComponentConfig):
    """Settings of learned initial slots."""

    init_std: PositiveFloat = 1.0
    """Standard deviation of the normal distribution the vectors are first drawn from."""
    init: Literal["normal", "xavier"] = "normal"
    """How the vectors are first drawn: normally, or uniformly within (6 / (K + D)) ** 0.5, as BO-QSA and SPOT
    do; `init_std` is then not used."""
    sigma: NonNegativeFloat = 0.0
    """Deviation of the noise on the vectors in training, relative to each of their values; it does not teach
    them. May change during training (`training.anneal`): BO-QSA lets it fall from 1 to 0 by a cosine."""


class LearnableInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D); the tokens give only the batch size."""

    fixed_num_slots = True
    schedulable: ClassVar = frozenset({"sigma"})

    def __init__(self, config: LearnableConfig, context: InitializerContext):
        super().__init__()
        self.sigma = config.sigma
        shape = (context.num_slots, context.slot_dim)
        if config.init == "normal":
            self.vectors_KD = nn.Parameter(torch.randn(shape) * config.init_std)
        else:
            self.vectors_KD = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return the learned vectors for each image, in training with noise drawn with `generator`.

        Raises:
            ComponentError: if `num_slots` is not the trained number of slots.
        """
        trained = self.vectors_KD.shape[0]
        if num_slots not in (None, trained):
            raise ComponentError(f"{trained} learned slots cannot become {num_slots}")
        vectors_BKD = self.vectors_KD.expand(tokens_BND.shape[0], -1, -1)
        if not self.training or self.sigma == 0:
            return Slots(vectors_BKD)
        like: Any = {"device": vectors_BKD.device, "dtype": vectors_BKD.dtype}
        noise_BKD = torch.randn(vectors_BKD.shape, generator=generator, **like)
        return Slots(vectors_BKD + self.sigma * noise_BKD * vectors_BKD.detach())


@hookimpl
def slotlab_initializers() -> Iterable[Component[LearnableConfig]]:
    """Provide `learnable`."""
    yield Component(
        name="learnable",
        config=LearnableConfig,
        build=LearnableInitializer,
        summary="one learned vector a slot; fixes the number of slots",
    )
