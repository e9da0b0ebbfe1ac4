"""Laws of the scenes' random numbers: those of the same hash in plain integers, and even."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.scenes.counter_random import Chance, chain, mix, picture_keys, signed
from slotlab.framework.scenes.vectors import cosine, sine

LOW64 = 2**64 - 1


def reference_mix(value: int) -> int:
    """Splitmix64's finalizer in Python's unbounded integers."""
    value &= LOW64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & LOW64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & LOW64
    return value ^ (value >> 31)


def reference_chain(key: int, value: int) -> int:
    return reference_mix(key + reference_mix(value * 0x9E3779B97F4A7C15 + 1))


def reference_uniform(key: int, stream: int, place: int) -> float:
    step = (place + (stream + 1) * 2**32) * 0x9E3779B97F4A7C15
    return (reference_mix(key + step) >> 40) / 2**24


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_the_hash_is_that_of_plain_integers(values: list[int]) -> None:
    found = mix(torch.tensor(values)).tolist()
    assert found == [signed(reference_mix(value)) for value in values]


@given(st.integers(0, 2**64), st.integers(0, 5), st.integers(0, 2**40), st.integers(0, 100))
def test_keys_and_draws_are_those_of_plain_integers(seed: int, split: int, index: int, stream: int) -> None:
    key = reference_chain(reference_chain(seed, split), index)
    keys_B = picture_keys(seed, split, torch.tensor([index]))
    assert keys_B.tolist() == [signed(key)]
    drawn = Chance(keys_B).uniform(stream, 2, 3)
    expected = [reference_uniform(key, stream, place) for place in range(6)]
    assert drawn.flatten().tolist() == expected


def test_the_finalizer_is_splitmix64() -> None:
    # The first output of splitmix64 with seed 0, as its authors' program prints it.
    assert mix(torch.tensor([signed(0x9E3779B97F4A7C15)])).tolist() == [signed(0xE220A8397B1DCDAF)]


def test_draws_are_even() -> None:
    drawn = Chance(picture_keys(0, 0, torch.arange(1000))).uniform(3, 100)
    counts = torch.histc(drawn, bins=50, min=0, max=1)
    expected = drawn.numel() / 50
    # Chi-squared with 49 degrees of freedom is below 85 with probability 0.999.
    assert ((counts - expected) ** 2 / expected).sum() < 85
    assert (drawn >= 0).all()
    assert (drawn < 1).all()


@pytest.mark.parametrize("neighbor", ["index", "place", "stream", "seed", "split"])
def test_neighbors_are_independent(neighbor: str) -> None:
    many = torch.arange(20_000)
    keys_B = picture_keys(5, 0, many)
    first = Chance(keys_B).uniform(2, 2)
    second = {
        "index": Chance(picture_keys(5, 0, many + 1)).uniform(2, 2)[:, 0],
        "place": first[:, 1],
        "stream": Chance(keys_B).uniform(3, 2)[:, 0],
        "seed": Chance(picture_keys(6, 0, many)).uniform(2, 2)[:, 0],
        "split": Chance(picture_keys(5, 1, many)).uniform(2, 2)[:, 0],
    }[neighbor]
    correlation = torch.corrcoef(torch.stack([first[:, 0], second]))[0, 1]
    assert correlation.abs() < 4 / len(many) ** 0.5


def test_attempts_have_other_keys() -> None:
    keys_B = picture_keys(0, 0, torch.arange(100))
    attempts = torch.stack([chain(keys_B, torch.full_like(keys_B, attempt)) for attempt in range(30)])
    assert attempts.unique().numel() == attempts.numel()


def test_choices_are_alike_likely() -> None:
    drawn = Chance(picture_keys(1, 2, torch.arange(6000))).choice(0, 6)
    assert drawn.dtype == torch.int64
    counts = drawn.bincount(minlength=6)
    assert len(counts) == 6
    assert ((counts - 1000).abs() < 120).all()


def test_cosine_and_sine() -> None:
    turns = torch.linspace(-3, 3, 10_001)
    torch.testing.assert_close(
        cosine(turns), torch.cos(2 * torch.pi * turns.double()).float(), atol=6e-6, rtol=0
    )
    torch.testing.assert_close(
        sine(turns), torch.sin(2 * torch.pi * turns.double()).float(), atol=6e-6, rtol=0
    )
