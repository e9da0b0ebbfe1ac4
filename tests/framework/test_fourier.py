"""Convolutions by Fourier transforms: the same numbers and gradients as torch's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.fourier import convolve, is_worthwhile, use_fourier


def layers(batch: int, side: tuple[int, int], kernel: int) -> tuple[Tensor, Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    shapes = [(batch, 3, *side), (4, 3, kernel, kernel), (4,)]
    made = [torch.randn(shape, generator=stream, dtype=torch.float64) for shape in shapes]
    images, weight, bias = (tensor.requires_grad_() for tensor in made)
    return images, weight, bias


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.sampled_from([5, 7, 9]))
def test_numbers_and_gradients_are_torchs(batch: int, rows: int, columns: int, kernel: int) -> None:
    images, weight, bias = inputs = layers(batch, (rows, columns), kernel)
    found = convolve(images, weight, bias)
    expected = F.conv2d(images, weight, bias, padding=kernel // 2)
    assert (found - expected).abs().max() < 1e-11
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine = torch.autograd.grad(found, inputs, direction)
    theirs = torch.autograd.grad(expected, inputs, direction)
    for one, other in zip(mine, theirs, strict=True):
        assert (one - other).abs().max() < 1e-10


def test_in_float32_it_is_no_less_exact_than_the_plain_way() -> None:
    stream = torch.Generator().manual_seed(0)
    images = torch.randn(2, 64, 64, 64, generator=stream)
    weight = torch.randn(64, 64, 5, 5, generator=stream) / 40
    exact = F.conv2d(images.double(), weight.double(), padding=2)
    error = (convolve(images, weight, None) - exact).abs().max()
    assert error <= (F.conv2d(images, weight, padding=2) - exact).abs().max()


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(64, 64, 5, padding=2), True),
        (nn.Conv2d(32, 64, 5, padding=2, bias=False), True),
        (nn.Conv2d(32, 32, 5, padding=2), False),
        (nn.Conv2d(64, 64, 3, padding=1), False),
        (nn.Conv2d(64, 64, 5), False),
        (nn.Conv2d(64, 64, 5, stride=2, padding=2), False),
        (nn.Conv2d(64, 64, 5, padding=4, dilation=2), False),
        (nn.Conv2d(64, 64, 5, padding=2, groups=2), False),
        (nn.Conv2d(64, 64, 5, padding=2, padding_mode="circular"), False),
        (nn.Conv2d(64, 64, (5, 3), padding=(2, 1)), False),
        (nn.ConvTranspose2d(64, 64, 5, padding=2), False),
    ],
)
def test_which_layers_are_changed(layer: nn.Module, expected: bool) -> None:
    assert is_worthwhile(layer) == expected


def test_a_changed_model_computes_the_same_keeps_its_names_and_can_be_copied() -> None:
    model = nn.Sequential(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.Conv2d(64, 3, 1))
    plain, names = copy.deepcopy(model), list(model.state_dict())
    use_fourier(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin[0].weight.zero_()
        for side in (16, 64):  # the smaller is computed directly
            images = torch.randn(1, 32, side, side)
            assert (model(images) - plain(images)).abs().max() < 1e-5
            assert not torch.equal(twin(images), model(images))  # a copy has weights of its own
    assert list(model.state_dict()) == names
