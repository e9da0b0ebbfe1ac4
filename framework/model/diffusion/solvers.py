"""Solvers: from noise to latents, by a number of predictions of the clean latents.

Each is a generator that yields every prediction of the clean latents (B, C, H, W), in order, and returns the
solved latents; `solved` runs one to its end. None draws anything but by `draw`, and none keeps gradients out.
"""

from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from math import expm1, sqrt

import numpy as np
from torch import Tensor

from slotlab.framework.model.diffusion.noise_schedule import NoiseSchedule, Rates

Denoise = Callable[[Tensor, float, Rates], tuple[Tensor, Tensor]]
"""From latents (B, C, H, W), their step in [0, T - 1] and its rates: the clean latents and the noise."""
Solving = Generator[Tensor, None, Tensor]


def solved(solving: Solving) -> Tensor:
    """Run a solver to its end; return the latents."""
    while True:
        try:
            next(solving)
        except StopIteration as end:
            latents_BCHW: Tensor = end.value
            return latents_BCHW


# --- DPM-Solver++ ------------------------------------------------------------------------


def dpm_orders(evaluations: int) -> list[int]:
    """Return the orders of DPM-Solver's steps, which add up to the evaluations: 3 as often as can be.

    Those that are left over are the last ones: an order of 2 or 1, or both if nothing is left over, so that
    the last step is never of order 3. Source: Lu et al. 2022 (DPM-Solver), "DPM-Solver-fast".
    """
    threes, rest = divmod(evaluations, 3)
    return [3] * (threes - 1) + [2, 1] if rest == 0 else [3] * threes + [rest]


def dpm_solver(denoise: Denoise, schedule: NoiseSchedule, x_BCHW: Tensor, evaluations: int) -> Solving:
    """Solve by single-step DPM-Solver++ of order 3 for the clean latents.

    Evaluations are equidistant in time, from the noisiest step down to the least noisy one, which is the
    time of the result: nothing is denoised after it. Source: Lu et al. 2022 (DPM-Solver++), section 4 and
    appendix, and their code; the orders as in `dpm_orders`. SlotDiffusion takes 20 evaluations.

    Args:
        denoise: the model.
        schedule: of its noise.
        x_BCHW: normal noise.
        evaluations: of the model, at least 1.
    """
    steps = np.linspace(schedule.steps - 1, 0, evaluations + 1).tolist()
    for order in dpm_orders(evaluations):
        x_BCHW = yield from _dpm_step(denoise, schedule, x_BCHW, steps[: order + 1])
        steps = steps[order:]
    return x_BCHW


def _dpm_step(denoise: Denoise, schedule: NoiseSchedule, x_BCHW: Tensor, steps: Sequence[float]) -> Solving:
    """Go from the first of some steps to the last; there is one evaluation at each but the last."""
    rates = [schedule.at(step) for step in steps]
    begin, end = rates[0], rates[-1]
    h = end.half_log_snr - begin.half_log_snr
    shares = [(one.half_log_snr - begin.half_log_snr) / h for one in rates]
    first_BCHW, _ = denoise(x_BCHW, steps[0], begin)
    yield first_BCHW
    straight_BCHW = _first_order(x_BCHW, first_BCHW, begin, end)
    if len(steps) == 2:
        return straight_BCHW
    second_BCHW, _ = denoise(_first_order(x_BCHW, first_BCHW, begin, rates[1]), steps[1], rates[1])
    yield second_BCHW
    change_BCHW = (second_BCHW - first_BCHW) / shares[1]
    if len(steps) == 3:
        return straight_BCHW - 0.5 * end.signal * expm1(-h) * change_BCHW
    inner_BCHW = _first_order(x_BCHW, first_BCHW, begin, rates[2])
    inner_BCHW = inner_BCHW + shares[2] * rates[2].signal * _phi_2(shares[2] * h) * change_BCHW
    third_BCHW, _ = denoise(inner_BCHW, steps[2], rates[2])
    yield third_BCHW
    return straight_BCHW + end.signal * _phi_2(h) / shares[2] * (third_BCHW - first_BCHW)


def _first_order(x_BCHW: Tensor, clean_BCHW: Tensor, begin: Rates, end: Rates) -> Tensor:
    """Return the latents at `end` if the prediction of the clean ones stays what it is at `begin`."""
    h = end.half_log_snr - begin.half_log_snr
    return end.noise / begin.noise * x_BCHW - end.signal * expm1(-h) * clean_BCHW


def _phi_2(h: float) -> float:
    """Return (exp(-h) - 1) / h + 1: what a slope of the prediction adds over a step of length h."""
    return expm1(-h) / h + 1


FEW = 15
"""With fewer evaluations the last step of `dpm_multistep` is of order 1."""


def dpm_multistep(denoise: Denoise, schedule: NoiseSchedule, x_BCHW: Tensor, evaluations: int) -> Solving:
    """Solve by multistep DPM-Solver++ of order 2: each step also uses the prediction before.

    The steps are T // (evaluations + 1) apart, and the least noisy one is that plus 1 (plus 0, if none is
    left out); the result is at step 0. Source: Lu et al. 2022 (DPM-Solver++), algorithm 2; steps and orders
    as in the library diffusers, with which LSD takes 25 evaluations.

    Args:
        denoise: the model.
        schedule: of its noise.
        x_BCHW: normal noise.
        evaluations: of the model, from 1 to T - 1.
    """
    apart = schedule.steps // (evaluations + 1)
    steps = [index * apart + min(1, apart - 1) for index in range(evaluations, 0, -1)]
    before: tuple[Tensor, float] | None = None
    for step, following in pairwise([*steps, 0]):
        begin, end = schedule.at(step), schedule.at(following)
        h = end.half_log_snr - begin.half_log_snr
        clean_BCHW, _ = denoise(x_BCHW, step, begin)
        yield clean_BCHW
        middle_BCHW = clean_BCHW
        if before is not None and (following or evaluations >= FEW):
            earlier_BCHW, length = before
            middle_BCHW = clean_BCHW + h / (2 * length) * (clean_BCHW - earlier_BCHW)
        x_BCHW = _first_order(x_BCHW, middle_BCHW, begin, end)
        before = clean_BCHW, h
    return x_BCHW


# --- DDIM, DDPM --------------------------------------------------------------------------


def ddim(
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_BCHW: Tensor,
    evaluations: int,
    *,
    eta: float,
    draw: Callable[[], Tensor],
) -> Solving:
    """Solve by DDIM (Song et al. 2021, equations 12 and 16).

    The steps are T // evaluations apart, and the least noisy one is 1 (0, if none is left out), as in the
    code of Rombach et al. 2022; the result is at step 0.

    Args:
        denoise: the model.
        schedule: of its noise.
        x_BCHW: normal noise.
        evaluations: of the model, from 1 to T.
        eta: how much noise is added at each step: none for 0, as much as DDPM adds for 1.
        draw: returns normal noise of the latents' shape; called at each step if `eta` is not 0.
    """
    apart = schedule.steps // evaluations
    offset = min(1, apart - 1)
    for index in reversed(range(evaluations)):
        step = index * apart + offset
        now, then = schedule.alphas_cumprod(step), schedule.alphas_cumprod(max(step - apart, 0))
        clean_BCHW, noise_BCHW = denoise(x_BCHW, step, schedule.at(step))
        yield clean_BCHW
        added = eta * sqrt((1 - then) / (1 - now) * (1 - now / then))
        x_BCHW = sqrt(then) * clean_BCHW + sqrt(max(1 - then - added**2, 0)) * noise_BCHW
        if eta:
            x_BCHW = x_BCHW + added * draw()
    return x_BCHW


def ddpm(
    denoise: Denoise,
    schedule: NoiseSchedule,
    x_BCHW: Tensor,
    evaluations: int,
    *,
    draw: Callable[[], Tensor],
) -> Solving:
    """Solve by ancestral sampling, with the lesser of the two variances (Ho et al. 2020, equations 6 and 7).

    The steps are T // evaluations apart, and the last one is 0; with fewer than T evaluations the steps that
    are left out are taken at once.

    Args:
        denoise: the model.
        schedule: of its noise.
        x_BCHW: normal noise.
        evaluations: of the model, from 1 to T.
        draw: returns normal noise of the latents' shape; called at each step but the last.
    """
    apart = schedule.steps // evaluations
    for index in reversed(range(evaluations)):
        step = index * apart
        now = schedule.alphas_cumprod(step)
        then = schedule.alphas_cumprod(step - apart) if index else 1.0
        alpha = now / then
        clean_BCHW, _ = denoise(x_BCHW, step, schedule.at(step))
        yield clean_BCHW
        x_BCHW = (
            sqrt(then) * (1 - alpha) / (1 - now) * clean_BCHW + sqrt(alpha) * (1 - then) / (1 - now) * x_BCHW
        )
        if index:
            x_BCHW = x_BCHW + sqrt((1 - then) / (1 - now) * (1 - alpha)) * draw()
    return x_BCHW
