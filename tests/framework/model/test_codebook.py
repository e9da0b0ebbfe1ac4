import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.model import codebook
from slotlab.framework.model.codebook import Codebook, code_usage, nearest_code, straight_through


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_nearest_is_the_smallest_squared_distance(dtype: torch.dtype, channels: int) -> None:
    latents, codes = noise(2, channels, 9, 7, dtype=dtype), noise(300, channels, seed=1, dtype=dtype)
    distance = (latents.double().movedim(1, -1)[..., None, :] - codes.double()).square().sum(-1)
    assert torch.equal(nearest_code(latents, codes), distance.argmin(-1))


@pytest.mark.parametrize("most", [1, 100, 301, 1 << 20])
def test_no_position_depends_on_how_many_are_computed_at_a_time(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents, codes = noise(3, 3, 5, 4), noise(100, 3, seed=1)
    expected = torch.stack([nearest_code(one[None], codes)[0] for one in latents])
    monkeypatch.setattr(codebook, "CACHED", most)
    assert torch.equal(nearest_code(latents, codes), expected)


def test_codes_that_lie_close_together_are_told_apart() -> None:
    """Where |z|^2 - 2zc + |c|^2 in float32 finds another code for most of the codes themselves."""
    codes = torch.full((4096, 3), 30.0) + noise(4096, 3) * 1e-3
    assert len(codes.unique(dim=0)) == 4096
    found = nearest_code(codes.T.reshape(1, 3, 64, 64), codes).flatten()
    assert torch.equal(found, torch.arange(4096))
    expanded = (codes.square().sum(1, keepdim=True) - 2 * codes @ codes.T + codes.square().sum(1)).argmin(1)
    assert (expanded != found).double().mean() > 0.5


@pytest.mark.parametrize("codes", [5, 100, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_several_nearest_codes_the_first_is_taken(codes: int, dtype: torch.dtype) -> None:
    book = torch.ones(codes, 2, dtype=dtype)
    book[0] = 9
    assert (nearest_code(noise(2, 2, 30, 30, dtype=dtype), book) == 1).all()
    last = torch.cat((book, torch.zeros(7, 2, dtype=dtype)))
    assert (nearest_code(torch.zeros(1, 2, 3, 3, dtype=dtype), last) == codes).all()


def test_half_precision_is_compared_precisely() -> None:
    codes = noise(50, 3)
    latents = noise(1, 3, 8, 8, seed=2).bfloat16()
    assert torch.equal(nearest_code(latents, codes), nearest_code(latents.float(), codes))


def test_the_gradient_passes_by_the_choice() -> None:
    latents, codes = noise(2, 3, 4, 4).requires_grad_(), noise(2, 3, 4, 4, seed=1).requires_grad_()
    through, slope = straight_through(latents, codes), noise(2, 3, 4, 4, seed=2)
    assert torch.equal(through, codes)
    (through * slope).sum().backward()
    assert latents.grad is not None
    assert torch.equal(latents.grad, slope)
    assert codes.grad is None


def test_tokens_look_up_their_codes() -> None:
    book = Codebook(9, 3, 0.5)
    assert book.codes_VC.abs().max() <= 0.5
    tokens = torch.randint(9, (2, 4, 5), generator=Generator().manual_seed(0))
    codes = book.look_up(tokens)
    assert codes.shape == (2, 3, 4, 5)
    assert torch.equal(codes[1, :, 2, 3], book.codes_VC[tokens[1, 2, 3]])
    assert torch.equal(book.tokens(codes), tokens)


def test_usage_is_for_the_log() -> None:
    usage = code_usage(torch.tensor([[0, 0, 2, 2]]), 5, torch.float32)
    assert {name: (value.item(), value.dtype) for name, value in usage.items()} == {
        "perplexity": (2.0, torch.float32),
        "codes_used": (2.0, torch.float32),
    }


def test_shapes_are_known_without_values() -> None:
    with torch.device("meta"):
        assert nearest_code(torch.empty(2, 3, 4, 5), torch.empty(7, 3)).shape == (2, 4, 5)
