"""SlotFormer's kernels: what a frame's slots start from is read from the predicted slots, or drawn.

Source: Wu et al. 2023, appendix, and code (`kernel_dist_layer`): before each frame's attention a small
network makes of the slots a mean and a log-variance. The deterministic model uses the mean alone, the
stochastic one draws from both, also outside of training, and its loss pulls the variance, not the mean, to a
fixed one.
"""

import math

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Slots
from slotlab.registry import ClosedModel

LOG_VARIANCE = "log_variance"
"""The name in `Slots.extras` of the logarithm of what drawn slots vary by, (B, K, D)."""


class KernelSpec(ClosedModel):
    """Settings of the kernels."""

    hidden_dim: PositiveInt | None = None
    """Width between two linear maps with a layer norm and a ReLU between them, twice the slots' width in
    SlotFormer's OBJ3D; None for a single linear map, as for CLEVRER."""
    variance: PositiveFloat | None = None
    """What the loss pulls the variance to, 0.01 in SlotFormer's stochastic models; None to draw nothing."""
    weight: NonNegativeFloat = 1e-4
    """Factor on that loss, if there is one."""


class SlotKernel(nn.Module):
    """Slots (B, K, D) to those that a frame's attention starts from."""

    def __init__(self, settings: KernelSpec, slot_dim: int):
        super().__init__()
        self.variance, self.weight = settings.variance, settings.weight
        width = slot_dim if settings.variance is None else 2 * slot_dim  # the mean alone, or both
        if settings.hidden_dim is None:
            self.layers: nn.Module = nn.Linear(slot_dim, width)
        else:
            hidden = settings.hidden_dim
            self.layers = nn.Sequential(
                nn.Linear(slot_dim, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, width)
            )

    def forward(self, slots: Slots, *, generator: Generator | None = None) -> Slots:
        """Return kernels; what belongs to the slots goes along, and the log-variance of drawn ones."""
        if self.variance is None:
            return Slots(self.layers(slots.vectors_BKD), slots.extras)
        mean_BKD, log_variance_BKD = self.layers(slots.vectors_BKD).chunk(2, dim=-1)
        noise_BKD = torch.randn(
            mean_BKD.shape, generator=generator, device=mean_BKD.device, dtype=mean_BKD.dtype
        )
        drawn_BKD = mean_BKD + noise_BKD * (log_variance_BKD / 2).exp()
        return Slots(drawn_BKD, {**slots.extras, LOG_VARIANCE: log_variance_BKD})

    def loss(self, drawn: Slots) -> Tensor | None:
        """Return the divergence from the fixed variance around the same mean; None if nothing is drawn.

        The sum over widths, and the mean over all slots, of KL(N(m, s^2) || N(m, variance)); not weighted.
        """
        if self.variance is None:
            return None
        log_variance_BKD = drawn.extras[LOG_VARIANCE]
        log_variance_BKD = log_variance_BKD.to(torch.promote_types(log_variance_BKD.dtype, torch.float32))
        difference_BKD = log_variance_BKD - math.log(self.variance)
        return (difference_BKD.exp() - difference_BKD - 1).sum(dim=-1).mean() / 2
