"""Slots drawn from Gaussians of their own: a learned mean and standard deviation for each slot.

Source: the slotwise conditioning in the code of Seitzer et al. 2023 (DINOSAUR); `xavier`, `inverse_root` and
noise in training alone are those of Zhao et al. 2025 (VQ-VFM-OCL).
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class GaussianPerSlotConfig(ComponentConfig):
    """Settings of a Gaussian for each slot."""

    mean_init: Literal["normal", "xavier"] = "normal"
    """How the means start: N(0, 1), or uniform within (6 / (K + D)) ** 0.5."""
    log_sigma_init: Literal["xavier", "inverse_root"] = "xavier"
    """How the logarithms of the deviations start: uniform within (6 / (K D + D)) ** 0.5, as torch's
    `xavier_uniform_` draws the shape (1, K, D), or so that the deviations are D ** -0.5."""
    noise: Literal["always", "training"] = "always"
    """When slots are drawn; with `training` an evaluation takes the means."""


class GaussianPerSlotInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D), drawn anew for each image; K is fixed by training."""

    fixed_num_slots = True

    def __init__(self, config: GaussianPerSlotConfig, context: InitializerContext):
        super().__init__()
        self.noise = config.noise
        number, dim = shape = (context.num_slots, context.slot_dim)
        mean_KD = torch.randn(shape)
        if config.mean_init == "xavier":
            mean_KD = nn.init.xavier_uniform_(mean_KD)
        log_sigma_KD = torch.full(shape, dim**-0.5).log()
        if config.log_sigma_init == "xavier":
            bound = (6.0 / (number * dim + dim)) ** 0.5
            log_sigma_KD = log_sigma_KD.uniform_(-bound, bound)
        self.mu_KD = nn.Parameter(mean_KD)
        self.log_sigma_KD = nn.Parameter(log_sigma_KD)

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return slots drawn with `generator`.

        Raises:
            ComponentError: if `num_slots` is not the trained number of slots.
        """
        number, dim = self.mu_KD.shape
        if num_slots not in (None, number):
            raise ComponentError(f"{number} learned slots cannot become {num_slots}")
        batch = tokens_BND.shape[0]
        if self.noise == "training" and not self.training:
            return Slots(self.mu_KD.expand(batch, -1, -1))
        shape, mu_KD = (batch, number, dim), self.mu_KD
        noise_BKD = torch.randn(shape, generator=generator, device=mu_KD.device, dtype=mu_KD.dtype)
        return Slots(mu_KD + self.log_sigma_KD.exp() * noise_BKD)


@hookimpl
def slotlab_initializers() -> Iterable[Component[GaussianPerSlotConfig]]:
    """Provide `gaussian_per_slot`."""
    yield Component(
        name="gaussian_per_slot",
        config=GaussianPerSlotConfig,
        build=GaussianPerSlotInitializer,
        summary="drawn from a Gaussian of each slot's own; fixes the number of slots",
    )
