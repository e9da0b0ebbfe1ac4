"""Slots drawn from one Gaussian with learned mean and standard deviation.

Source: Locatello et al. 2020, section 2.1 and algorithm 1: mu + exp(log_sigma) * N(0, 1),
mu and log_sigma of shape (1, 1, D) shared by all slots, Glorot-uniform at the start. Other starts are those
of SLATE, LSD and DINOSAUR (`xavier`) and VideoSAUR (`zeros` and `inverse_root`).
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.registry import Component, ComponentConfig, hookimpl


class GaussianConfig(ComponentConfig):
    """Settings of the shared Gaussian: where its parameters start."""

    mean_init: Literal["keras", "xavier", "normal", "zeros"] = "keras"
    """The mean: uniform within (6 / (1 + D)) ** 0.5, as Keras draws it, or within (3 / D) ** 0.5, as torch's
    `xavier_uniform_` does for the shape (1, 1, D); N(0, 1); or 0."""
    log_sigma_init: Literal["keras", "xavier", "inverse_root", "zeros"] = "keras"
    """The logarithm of the deviation: uniform as for the mean; so that the deviation is D ** -0.5; or 1."""


class GaussianInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D) drawn anew for each image; any K."""

    fixed_num_slots = False

    def __init__(self, config: GaussianConfig, context: InitializerContext):
        super().__init__()
        self.num_slots = context.num_slots
        self.mu_D = nn.Parameter(start(config.mean_init, context.slot_dim))
        self.log_sigma_D = nn.Parameter(start(config.log_sigma_init, context.slot_dim))

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return slots drawn with `generator` (on the tokens' device; None for torch's own)."""
        shape = (tokens_BND.shape[0], num_slots or self.num_slots, self.mu_D.shape[0])
        noise_BKD = torch.randn(shape, generator=generator, device=self.mu_D.device, dtype=self.mu_D.dtype)
        return Slots(self.mu_D + self.log_sigma_D.exp() * noise_BKD)


def start(how: str, dim: int) -> Tensor:
    """Return the first values of a parameter of width `dim`."""
    if how == "zeros":
        return torch.zeros(dim)
    if how == "normal":
        return torch.randn(dim)
    if how == "inverse_root":
        return torch.full((dim,), dim**-0.5).log()
    # Keras reads a (1, 1, D) variable as fan-in 1, fan-out D; torch reads D and D.
    bound = (6.0 / (1 + dim)) ** 0.5 if how == "keras" else (6.0 / (dim + dim)) ** 0.5
    return torch.empty(dim).uniform_(-bound, bound)


@hookimpl
def slotlab_initializers() -> Iterable[Component[GaussianConfig]]:
    """Provide `gaussian`."""
    yield Component(
        name="gaussian",
        config=GaussianConfig,
        build=GaussianInitializer,
        summary="drawn from one Gaussian with learned mean and deviation; any number of slots",
    )
