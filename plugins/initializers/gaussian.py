"""Slots drawn from one Gaussian with learned mean and standard deviation.

Source: Locatello et al. 2020, section 2.1 and algorithm 1: mu + exp(log_sigma) * N(0, 1),
mu and log_sigma of shape (1, 1, D) shared by all slots, Glorot-uniform at the start.
"""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, hookimpl


class GaussianConfig(ComponentConfig):
    """No settings."""


class GaussianInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D) drawn anew for each image; any K."""

    fixed_num_slots = False

    def __init__(self, config: GaussianConfig, context: InitializerContext):
        super().__init__()
        self.num_slots = context.num_slots
        # Keras reads a (1, 1, D) variable as fan-in 1, fan-out D; torch's xavier would not.
        bound = (6.0 / (1 + context.slot_dim)) ** 0.5
        self.mu_D = nn.Parameter(torch.empty(context.slot_dim).uniform_(-bound, bound))
        self.log_sigma_D = nn.Parameter(torch.empty(context.slot_dim).uniform_(-bound, bound))

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return slots drawn with `generator` (on the tokens' device; None for torch's own)."""
        shape = (tokens_BND.shape[0], num_slots or self.num_slots, self.mu_D.shape[0])
        noise_BKD = torch.randn(shape, generator=generator, device=self.mu_D.device, dtype=self.mu_D.dtype)
        return Slots(self.mu_D + self.log_sigma_D.exp() * noise_BKD)


@hookimpl
def slotlab_initializers() -> Iterable[Component[GaussianConfig]]:
    """Provide `gaussian`."""
    yield Component(
        name="gaussian",
        config=GaussianConfig,
        build=GaussianInitializer,
        summary="drawn from one Gaussian with learned mean and deviation; any number of slots",
    )
