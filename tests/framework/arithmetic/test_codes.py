import math
from collections import Counter

import pytest
import torch
from torch import Generator

from slotlab.framework.arithmetic.codes import count_codes, dead_share, perplexity

TOKENS = torch.randint(0, 7, (3, 4, 5), generator=Generator().manual_seed(0)) * 2


def test_counts_are_those_of_a_counter() -> None:
    expected = Counter(TOKENS.flatten().tolist())
    counts = count_codes(TOKENS, 15)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [expected[code] for code in range(15)]


def test_perplexity_is_the_exponential_of_the_entropy() -> None:
    every = Counter(TOKENS.flatten().tolist())
    entropy = -sum(n / 60 * math.log(n / 60) for n in every.values())
    found = perplexity(count_codes(TOKENS, 15))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(math.exp(entropy), rel=1e-14)


@pytest.mark.parametrize("codes", [1, 5, 4096])
def test_perplexity_of_equal_use_is_the_number_of_codes(codes: int) -> None:
    assert perplexity(torch.full((codes,), 3)).item() == pytest.approx(codes, rel=1e-12)
    assert perplexity(torch.tensor([4, *[0] * codes])) == 1


def test_no_tokens_have_no_perplexity() -> None:
    assert perplexity(torch.zeros(3, dtype=torch.int64)).isnan()


def test_dead_codes_are_those_that_do_not_occur() -> None:
    counts = count_codes(TOKENS, 15)
    found = dead_share(counts)
    assert found.dtype == torch.float64
    assert found.item() == sum(n == 0 for n in counts.tolist()) / 15
    assert dead_share(torch.zeros(3, dtype=torch.int64)) == 1


def test_shapes_are_known_without_values() -> None:
    counts = count_codes(torch.empty(2, 3, 4, dtype=torch.int64, device="meta"), 9)
    assert counts.shape == (9,)
    assert perplexity(counts).shape == ()
