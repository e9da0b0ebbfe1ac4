"""The schedule of the noise: published betas, float64 inside, and what predictions say of latents."""

import math

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.model.diffusion.noise_schedule import NoiseSchedule, Prediction, clean_and_noise

EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-12}
KINDS: tuple[Prediction, ...] = ("noise", "velocity", "sample")


def slotdiffusions() -> NoiseSchedule:
    return NoiseSchedule("scaled_linear", start=0.0015, end=0.0195, steps=1000)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_slotdiffusions_schedule() -> None:
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    expected = (1 - betas).cumprod(0)
    schedule = slotdiffusions()
    found = torch.tensor([schedule.alphas_cumprod(step) for step in range(1000)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, **EXACT)
    torch.testing.assert_close(schedule.signal_T, expected.sqrt(), **EXACT)
    torch.testing.assert_close(schedule.noise_T, (1 - expected).sqrt(), **EXACT)


def test_a_linear_schedule() -> None:
    schedule = NoiseSchedule("linear", start=0.1, end=0.3, steps=3)
    found = [schedule.alphas_cumprod(step) for step in range(3)]
    assert found == pytest.approx([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7], abs=1e-14)


def test_the_logarithm_of_the_signal_is_linear_between_steps() -> None:
    schedule = slotdiffusions()
    low, high, between = schedule.at(41), schedule.at(42), schedule.at(41.25)
    assert low.signal == pytest.approx(math.sqrt(schedule.alphas_cumprod(41)), abs=1e-15)
    assert between.signal == pytest.approx(low.signal**0.75 * high.signal**0.25, abs=1e-15)
    assert between.signal**2 + between.noise**2 == pytest.approx(1, abs=1e-15)
    assert between.half_log_snr == pytest.approx(math.log(between.signal / between.noise), abs=1e-12)


def test_noise_is_added_by_the_step_of_each_image() -> None:
    schedule, steps = slotdiffusions(), torch.tensor([0, 999, 500])
    x, z = noise(3, 2, 4, 4), noise(3, 2, 4, 4, seed=1)
    found = schedule.add_noise(x, z, steps)
    for i, step in enumerate((0, 999, 500)):
        a = schedule.alphas_cumprod(step)
        torch.testing.assert_close(found[i], a**0.5 * x[i] + (1 - a) ** 0.5 * z[i], **EXACT)
    assert schedule.add_noise(x.float(), z.float(), steps).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_prediction_gives_latents_and_noise_back(kind: Prediction) -> None:
    schedule, x, z = slotdiffusions(), noise(1, 2, 4, 4), noise(1, 2, 4, 4, seed=1)
    for step in (0, 123, 999):
        steps = torch.tensor([step])
        wanted = schedule.wanted(kind, x, z, steps)
        clean, found = clean_and_noise(kind, schedule.at(step), schedule.add_noise(x, z, steps), wanted)
        torch.testing.assert_close(clean, x, rtol=0, atol=1e-11)
        torch.testing.assert_close(found, z, rtol=0, atol=1e-11)


def test_the_schedule_has_no_weights_and_keeps_its_numbers_without_values() -> None:
    with torch.device("meta"):
        schedule = slotdiffusions()
    assert schedule.signal_T.is_meta
    assert not schedule.state_dict()
    assert schedule.at(17.5) == slotdiffusions().at(17.5)
