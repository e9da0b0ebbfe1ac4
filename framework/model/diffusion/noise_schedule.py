"""How much noise is in the latents at each step of a diffusion, and what a prediction says of both.

At step t of T the latents are x_t = a_t * x_0 + s_t * noise, with a_t^2 = alphas_cumprod[t] and
s_t^2 = 1 - a_t^2 (Ho et al. 2020, equation 4). Steps count from 0, the least noise; the U-Net is told them.
Between two steps log(a) is interpolated linearly, as in DPM-Solver's code for discrete models
(Lu et al. 2022, DPM-Solver, appendix on discrete-time models); its time is (t + 1) / T.
"""

from dataclasses import dataclass
from math import exp, expm1, log, sqrt
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BetaSchedule = Literal["scaled_linear", "linear"]
Prediction = Literal["noise", "velocity", "sample"]


@dataclass(frozen=True)
class Rates:
    """The latents at a step: `signal` times the clean ones plus `noise` times normal noise."""

    signal: float
    noise: float

    @property
    def half_log_snr(self) -> float:
        """The logarithm of signal / noise, in which DPM-Solver's steps are measured (its lambda)."""
        return log(self.signal) - log(self.noise)


class NoiseSchedule(nn.Module):
    """The noise of T steps, in float64.

    Sources: Ho et al. 2020 (`linear`); Rombach et al. 2022, code (`scaled_linear`: the square roots of the
    betas are equidistant; SlotDiffusion takes it from sqrt(0.0015) to sqrt(0.0195)).

    Args:
        kind: of the betas.
        start: the first beta, in (0, 1).
        end: the last beta, in (0, 1).
        steps: how many (T).
    """

    def __init__(self, kind: BetaSchedule, *, start: float, end: float, steps: int):
        super().__init__()
        self.steps = steps
        # By numpy, since solvers need the numbers even if tensors are made without values.
        if kind == "linear":
            betas_T = np.linspace(start, end, steps, dtype=np.float64)
        else:
            betas_T = np.linspace(sqrt(start), sqrt(end), steps, dtype=np.float64) ** 2
        self.log_signal_T: NDArray[np.float64] = 0.5 * np.cumsum(np.log1p(-betas_T))
        signal_T, noise_T = np.exp(self.log_signal_T), np.sqrt(-np.expm1(2 * self.log_signal_T))
        self.register_buffer(
            "signal_T", torch.tensor(signal_T.tolist(), dtype=torch.float64), persistent=False
        )
        self.register_buffer("noise_T", torch.tensor(noise_T.tolist(), dtype=torch.float64), persistent=False)
        self.signal_T: Tensor
        self.noise_T: Tensor

    def at(self, step: float) -> Rates:
        """Return the rates at a step in [0, T - 1], which may lie between two."""
        log_signal = float(np.interp(step, np.arange(self.steps), self.log_signal_T))
        return Rates(exp(log_signal), sqrt(-expm1(2 * log_signal)))

    def alphas_cumprod(self, step: int) -> float:
        """Return the square of the signal's rate at a step."""
        return exp(2 * float(self.log_signal_T[step]))

    def rates(self, step_B: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the rates of signal and noise, both (B, 1, 1, 1), at steps int64 (B,)."""
        signal_B, noise_B = self.signal_T[step_B].to(dtype), self.noise_T[step_B].to(dtype)
        return signal_B[:, None, None, None], noise_B[:, None, None, None]

    def add_noise(self, x_BCHW: Tensor, noise_BCHW: Tensor, step_B: Tensor) -> Tensor:
        """Return the latents (B, C, H, W) at steps int64 (B,) (Ho et al. 2020, equation 4)."""
        signal_B111, noise_B111 = self.rates(step_B, x_BCHW.dtype)
        return signal_B111 * x_BCHW + noise_B111 * noise_BCHW

    def wanted(self, kind: Prediction, x_BCHW: Tensor, noise_BCHW: Tensor, step_B: Tensor) -> Tensor:
        """Return what is to be predicted of clean latents and noise, all (B, C, H, W), at steps (B,).

        The velocity is a * noise - s * x_0 (Salimans and Ho 2022, appendix D).
        """
        if kind == "noise":
            return noise_BCHW
        if kind == "sample":
            return x_BCHW
        signal_B111, noise_B111 = self.rates(step_B, x_BCHW.dtype)
        return signal_B111 * noise_BCHW - noise_B111 * x_BCHW


def clean_and_noise(
    kind: Prediction, rates: Rates, x_BCHW: Tensor, predicted_BCHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the clean latents and the noise, both (B, C, H, W), that a prediction says are in `x_BCHW`."""
    signal, noise = rates.signal, rates.noise
    if kind == "noise":
        return (x_BCHW - noise * predicted_BCHW) / signal, predicted_BCHW
    if kind == "sample":
        return predicted_BCHW, (x_BCHW - signal * predicted_BCHW) / noise
    return signal * x_BCHW - noise * predicted_BCHW, noise * x_BCHW + signal * predicted_BCHW
