"""Solvers on latents with a normal distribution, where the best prediction and the solution are known."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.model.diffusion.noise_schedule import NoiseSchedule, Rates
from slotlab.framework.model.diffusion.solvers import (
    Solving,
    ddim,
    ddpm,
    dpm_multistep,
    dpm_orders,
    dpm_solver,
    solved,
)

EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}
SCHEDULE = NoiseSchedule("scaled_linear", start=0.0015, end=0.0195, steps=1000)
SHAPE = (2, 3, 4, 4)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


MEAN, DEVIATION = noise(*SHAPE, seed=1), 0.2 + noise(*SHAPE, seed=2).abs()
START = noise(*SHAPE, seed=3)


def predicted_noise(x: Tensor, a: float, s: float) -> Tensor:
    """Return the expected noise in latents a * (mean + deviation * u) + s * noise, u being normal."""
    return s * (x - a * MEAN) / (a**2 * DEVIATION**2 + s**2)


def denoise(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
    found = predicted_noise(x, rates.signal, rates.noise)
    return (x - rates.noise * found) / rates.signal, found


def exact(x: Tensor, schedule: NoiseSchedule = SCHEDULE) -> Tensor:
    """Return what the probability flow makes of `x`, from the noisiest step to the least noisy one."""
    (a, s), (b, r) = ((one.signal, one.noise) for one in (schedule.at(schedule.steps - 1), schedule.at(0)))
    before, after = (u**2 * DEVIATION**2 + v**2 for u, v in ((a, s), (b, r)))
    return b * MEAN + (after / before).sqrt() * (x - a * MEAN)


# --- DPM-Solver++ ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluations", "orders"),
    [
        (1, [1]),
        (2, [2]),
        (3, [2, 1]),
        (4, [3, 1]),
        (5, [3, 2]),
        (6, [3, 2, 1]),
        (19, [3] * 6 + [1]),
        (20, [3] * 6 + [2]),
        (21, [3] * 6 + [2, 1]),
    ],
)
def test_orders(evaluations: int, orders: list[int]) -> None:
    assert dpm_orders(evaluations) == orders


def transcribed(
    x: Tensor, evaluations: int, orders: list[int], nearest: Callable[[Tensor], Tensor]
) -> Tensor:
    """Single-step DPM-Solver++ in continuous time t, by its published formulas with ratios r1 and r2."""
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    logs = (0.5 * torch.log(1 - betas).cumsum(0)).tolist()

    def log_alpha(t: float) -> float:
        i = min(max(int(t * 1000 - 1 + 1e-9), 0), 998)
        return logs[i] + (t * 1000 - (i + 1)) * (logs[i + 1] - logs[i])

    def alpha(t: float) -> float:
        return math.exp(log_alpha(t))

    def sigma(t: float) -> float:
        return math.sqrt(1 - math.exp(2 * log_alpha(t)))

    def lamb(t: float) -> float:
        return log_alpha(t) - math.log(sigma(t))

    def data(x: Tensor, t: float) -> Tensor:
        return nearest((x - sigma(t) * predicted_noise(x, alpha(t), sigma(t))) / alpha(t))

    times = [1 + (1 / 1000 - 1) * i / evaluations for i in range(evaluations + 1)]
    done = 0
    for order in orders:
        s, t = times[done], times[done + order]
        h, m = lamb(t) - lamb(s), data(x, s)
        phi = math.exp(-h) - 1
        y = sigma(t) / sigma(s) * x - alpha(t) * phi * m
        if order > 1:
            s1 = times[done + 1]
            r1 = (lamb(s1) - lamb(s)) / h
            m1 = data(sigma(s1) / sigma(s) * x - alpha(s1) * (math.exp(-r1 * h) - 1) * m, s1)
        if order == 2:
            y = y - 1 / (2 * r1) * alpha(t) * phi * (m1 - m)
        if order == 3:
            s2 = times[done + 2]
            r2 = (lamb(s2) - lamb(s)) / h
            inner = math.exp(-r2 * h) - 1
            u = sigma(s2) / sigma(s) * x - alpha(s2) * inner * m
            u = u + r2 / r1 * alpha(s2) * (inner / (r2 * h) + 1) * (m1 - m)
            y = y + 1 / r2 * alpha(t) * (phi / h + 1) * (data(u, s2) - m)
        x, done = y, done + order
    return x


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "quantized"])
def test_dpm_solvers_20_evaluations_are_the_transcriptions(quantized: bool) -> None:
    def nearest(x: Tensor) -> Tensor:
        return (x * 2).round() / 2 if quantized else x

    def quantizing(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        clean, found = denoise(x, step, rates)
        return nearest(clean), found

    made = solved(dpm_solver(quantizing, SCHEDULE, START, 20))
    torch.testing.assert_close(made, transcribed(START, 20, [3] * 6 + [2], nearest), **EXACT)


def test_dpm_solver_evaluates_equidistant_times_down_to_but_not_at_the_end() -> None:
    seen: list[float] = []

    def noting(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        seen.append(step)
        assert rates == SCHEDULE.at(step)
        return denoise(x, step, rates)

    predictions = list(dpm_solver(noting, SCHEDULE, START, 20))
    assert len(predictions) == 20
    assert seen == pytest.approx([999 * (1 - i / 20) for i in range(20)], abs=1e-9)


def test_dpm_solver_is_of_order_three() -> None:
    """Where all betas are one, so that time is smooth in the steps that the solver measures by."""
    schedule = NoiseSchedule("linear", start=0.3, end=0.3, steps=10)
    counts = (122, 242, 482, 962)  # steps of order 3, and one of order 2 at the end; each half as long
    errors = [
        float((solved(dpm_solver(denoise, schedule, START, n)) - exact(START, schedule)).abs().max())
        for n in counts
    ]
    assert errors[-1] < 1e-6
    for longer, shorter in pairwise(errors):
        assert math.log2(longer / shorter) == pytest.approx(3, abs=0.2)


def test_20_evaluations_of_dpm_solver_are_better_than_60_of_ddim() -> None:
    found = solved(dpm_solver(denoise, SCHEDULE, START, 20))
    other = solved(ddim(denoise, SCHEDULE, START, 60, eta=0.0, draw=draws()))
    errors = [(made - exact(START)).square().mean().sqrt() for made in (found, other)]
    assert errors[0] < errors[1]
    assert errors[0] < 0.05


@pytest.mark.parametrize("evaluations", [3, 15, 25, 999])
def test_dpm_multistep_is_the_papers_algorithm(evaluations: int) -> None:
    alpha, apart = alphas(), 1000 // (evaluations + 1)
    times = [*(i * apart + (apart > 1) for i in range(evaluations, 0, -1)), 0]
    log_snr = [0.5 * math.log(alpha[t] / (1 - alpha[t])) for t in times]
    x, data = START, []
    for i in range(1, len(times)):
        (a, s), (b, r) = ((alpha[t] ** 0.5, (1 - alpha[t]) ** 0.5) for t in times[i - 1 : i + 1])
        data.append((x - s * predicted_noise(x, a, s)) / a)
        h, best = log_snr[i] - log_snr[i - 1], data[-1]
        if i > 1 and (i < evaluations or evaluations >= 15):
            ratio = (log_snr[i - 1] - log_snr[i - 2]) / h
            best = (1 + 1 / (2 * ratio)) * data[-1] - 1 / (2 * ratio) * data[-2]
        x = r / s * x - b * (math.exp(-h) - 1) * best
    made = solved(dpm_multistep(denoise, SCHEDULE, START, evaluations))
    assert len(data) == evaluations
    torch.testing.assert_close(made, x, **EXACT)


# --- DDIM, DDPM --------------------------------------------------------------------------


def draws(seed: int = 4) -> Callable[[], Tensor]:
    stream = Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=stream, dtype=torch.float64)


def alphas() -> list[float]:
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    found: list[float] = (1 - betas).cumprod(0).tolist()
    return found


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("evaluations", [7, 200])
def test_ddim_is_the_papers_formula(evaluations: int, eta: float) -> None:
    a, x, draw, apart = alphas(), START, draws(), 1000 // evaluations
    for i in reversed(range(evaluations)):
        now, then = a[1 + i * apart], a[1 + (i - 1) * apart] if i else a[0]
        found = predicted_noise(x, now**0.5, (1 - now) ** 0.5)
        sigma = eta * ((1 - then) / (1 - now)) ** 0.5 * (1 - now / then) ** 0.5
        x = then**0.5 * (x - (1 - now) ** 0.5 * found) / now**0.5 + (1 - then - sigma**2) ** 0.5 * found
        x = x + (sigma * draw() if eta else 0)
    made = solved(ddim(denoise, SCHEDULE, START, evaluations, eta=eta, draw=draws()))
    torch.testing.assert_close(made, x, **EXACT)


def test_ddpm_is_the_papers_formula() -> None:
    a, x, draw = alphas(), START, draws()
    for t in reversed(range(1000)):
        now, then = a[t], a[t - 1] if t else 1.0
        beta = 1 - now / then
        found = predicted_noise(x, now**0.5, (1 - now) ** 0.5)
        x = (x - beta / (1 - now) ** 0.5 * found) / (1 - beta) ** 0.5  # Ho et al. 2020, algorithm 2
        x = x + (((1 - then) / (1 - now) * beta) ** 0.5 * draw() if t else 0)
    made = solved(ddpm(denoise, SCHEDULE, START, 1000, draw=draws()))
    torch.testing.assert_close(made, x, **EXACT)


def test_ddpm_finds_the_distribution_and_ddim_the_flow() -> None:
    stream = Generator().manual_seed(0)
    start = torch.randn(1000, *SHAPE[1:], generator=stream, dtype=torch.float64)
    mean, deviation = 0.5, 0.3

    def narrow(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        a, s = rates.signal, rates.noise
        found = s * (x - a * mean) / (a**2 * deviation**2 + s**2)
        return (x - s * found) / a, found

    made = solved(
        ddpm(narrow, SCHEDULE, start, 1000, draw=lambda: torch.randn(start.shape, generator=stream).double())
    )
    assert float(made.mean()) == pytest.approx(mean, abs=0.01)
    assert float(made.std()) == pytest.approx(deviation, rel=0.05)
    made = solved(ddim(denoise, SCHEDULE, START, 500, eta=0.0, draw=draws()))
    torch.testing.assert_close(made, exact(START), rtol=0, atol=0.02)


@pytest.mark.parametrize("evaluations", [1, 3, 5])
def test_solvers_that_leave_no_step_out_end_at_the_least_noisy_one(evaluations: int) -> None:
    schedule, seen = NoiseSchedule("linear", start=0.1, end=0.3, steps=5), []

    def noting(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        seen.append(step)
        return denoise(x, step, rates)

    both: list[Callable[[], Solving]] = [
        lambda: ddpm(noting, schedule, START, evaluations, draw=draws()),
        lambda: ddim(noting, schedule, START, evaluations, eta=1.0, draw=draws()),
    ]
    steps = {1: ([0], [1]), 3: ([2, 1, 0], [2, 1, 0]), 5: ([4, 3, 2, 1, 0], [4, 3, 2, 1, 0])}
    for solver, expected in zip(both, steps[evaluations], strict=True):
        seen.clear()
        assert solved(solver()).isfinite().all()
        assert seen == expected


# --- diffusers' schedulers ---------------------------------------------------------------


def theirs(name: str, **settings: Any) -> Any:
    """Return a scheduler with the numbers that it computes in float32 replaced by those of float64."""
    diffusers = pytest.importorskip("diffusers")
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0195}
    scheduler = getattr(diffusers, name)(**betas, **settings)
    exactly = torch.tensor(alphas(), dtype=torch.float64)
    torch.testing.assert_close(scheduler.alphas_cumprod, exactly.float(), rtol=1e-5, atol=1e-6)
    scheduler.alphas_cumprod = exactly
    scheduler.final_alpha_cumprod, scheduler.one = exactly[0], torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def same_steps(
    scheduler: Any, evaluations: int, made: list[Tensor], *, tolerance: float = 1e-9, **settings: Any
) -> None:
    """Check each step, from the latents that our solver had there."""
    scheduler.set_timesteps(evaluations)
    assert len(scheduler.timesteps) == len(made) - 1
    stream = Generator().manual_seed(4)
    for i, t in enumerate(scheduler.timesteps):
        a = float(scheduler.alphas_cumprod[t])
        found = predicted_noise(made[i], a**0.5, (1 - a) ** 0.5)
        expected = scheduler.step(found, t, made[i], generator=stream, **settings).prev_sample
        torch.testing.assert_close(made[i + 1], expected, rtol=0, atol=tolerance)


def passed(solve: Callable[[Any], Solving]) -> list[Tensor]:
    """Return the latents at every step, and the result."""
    seen: list[Tensor] = []

    def noting(x: Tensor, step: float, rates: Rates) -> tuple[Tensor, Tensor]:
        seen.append(x)
        return denoise(x, step, rates)

    last = solved(solve(noting))
    return [*seen, last]


@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize("evaluations", [10, 200])
def test_ddim_is_diffusers(evaluations: int, eta: float) -> None:
    scheduler = theirs("DDIMScheduler", clip_sample=False, steps_offset=1, set_alpha_to_one=False)
    made = passed(lambda by: ddim(by, SCHEDULE, START, evaluations, eta=eta, draw=draws()))
    same_steps(scheduler, evaluations, made, eta=eta)


@pytest.mark.parametrize("evaluations", [10, 250, 1000])
def test_ddpm_is_diffusers(evaluations: int) -> None:
    scheduler = theirs("DDPMScheduler", clip_sample=False)
    made = passed(lambda by: ddpm(by, SCHEDULE, START, evaluations, draw=draws()))
    same_steps(scheduler, evaluations, made)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("evaluations", [1, 2, 10, 25])
def test_dpm_multistep_is_diffusers_as_lsd_has_it(evaluations: int) -> None:
    settings = {"steps_offset": 1, "timestep_spacing": "leading", "final_sigmas_type": "sigma_min"}
    scheduler = theirs("DPMSolverMultistepScheduler", solver_order=2, **settings)
    made = passed(lambda by: dpm_multistep(by, SCHEDULE, START, evaluations))
    same_steps(scheduler, evaluations, made, tolerance=1e-5)  # it rounds latents to float32
