import math

import pytest
import torch
from torch import Generator
from torch.nn import functional as F

from slotlab.framework.model.gumbel import gumbel_noise, one_hot, relaxed


def stream(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def test_noise_is_minus_the_logarithm_of_an_exponential() -> None:
    like = torch.empty(3, 5, dtype=torch.float64)
    drawn = torch.empty_like(like).exponential_(generator=stream())
    before = torch.get_rng_state()
    assert torch.equal(gumbel_noise(like, stream()), -drawn.log())
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_has_the_moments_of_a_gumbel_distribution() -> None:
    noise = gumbel_noise(torch.empty(400_000), stream()).double()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)


def test_noise_is_precise_and_finite() -> None:
    noise = gumbel_noise(torch.empty(100, dtype=torch.bfloat16), stream())
    assert noise.dtype == torch.float32
    assert len(noise.unique()) == 100
    assert gumbel_noise(torch.empty(2, device="meta"), None).device.type == "meta"


def test_a_draw_of_zero_is_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, generator: self.zero_())
    noise = gumbel_noise(torch.empty(3), None)
    assert noise.isfinite().all()
    assert (noise > 80).all()


def test_choices_follow_the_probabilities() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = p.log()[None, :, None, None].expand(1, 4, 300, 300)
    weights = relaxed(logits, gumbel_noise(logits, stream()), 0.5, straight_through=True)
    torch.testing.assert_close(weights.mean(dim=(0, 2, 3)), p, rtol=0, atol=0.01)


@pytest.mark.parametrize("tau", [2.0, 0.1])
def test_soft_weights_are_a_softmax(tau: float) -> None:
    logits, noise = torch.randn(2, 2, 4, 3, 5, generator=stream(), dtype=torch.float64)
    weights = relaxed(logits, noise, tau)
    scaled = ((logits + noise) / tau).exp()
    torch.testing.assert_close(weights, scaled / scaled.sum(1, keepdim=True), rtol=1e-12, atol=1e-12)


def test_hard_weights_are_exact_with_the_gradient_of_soft_ones() -> None:
    logits, noise, slope = torch.randn(3, 2, 4, 3, 5, generator=stream())
    logits.requires_grad_()
    hard, soft = (relaxed(logits, noise, 0.7, straight_through=way) for way in (True, False))
    assert torch.equal(hard, F.one_hot(soft.argmax(1), 4).movedim(-1, 1).float())
    (found,), (expected,) = (
        torch.autograd.grad((w * slope).sum(), logits, retain_graph=True) for w in (hard, soft)
    )
    assert torch.equal(found, expected)


def test_one_hot_puts_categories_second() -> None:
    tokens = torch.tensor([[[2, 0]]])
    assert one_hot(tokens, 3, torch.float64).tolist() == [[[[0, 1]], [[0, 0]], [[1, 0]]]]
