"""What intervals hold where some runs bind and others do not: the figures of docs/explanation/comparing.md."""

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.compare.binding import rate_interval
from slotlab.framework.compare.results import Interval
from slotlab.framework.compare.statistics import t_interval

DRAWS = 20_000
BOUND, UNBOUND, SPREAD = 0.60, 0.05, 0.03
"""Means of the runs that bound and of those that did not, and the standard deviation of each."""


def holds(found: Interval | None, value: float) -> bool:
    return found is not None and found.low <= value <= found.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "count", "mean", "exact"),
    [
        (0.5, 3, 0.75, 1.00), (0.5, 5, 0.94, 1.00), (0.5, 10, 0.94, 0.98),
        (0.7, 3, 0.63, 1.00), (0.7, 5, 0.83, 1.00), (0.7, 10, 0.95, 0.99),
        (0.9, 3, 0.69, 1.00), (0.9, 5, 0.49, 0.99), (0.9, 10, 0.65, 0.99),
    ],
)  # fmt: skip
def test_of_mixtures_the_t_interval_holds_too_little_and_the_others_what_they_say(
    rate: float, count: int, mean: float, exact: float
) -> None:
    random = np.random.default_rng(0)
    bound = random.random((DRAWS, count)) < rate
    values = np.where(bound, BOUND, UNBOUND) + SPREAD * random.standard_normal((DRAWS, count))
    true = rate * BOUND + (1 - rate) * UNBOUND
    held = np.mean([holds(t_interval(row), true) for row in values.tolist()])
    assert held == pytest.approx(mean, abs=0.015)

    rates = [rate_interval(k, count) for k in range(count + 1)]
    chances = stats.binom.pmf(range(count + 1), count, rate)
    held = sum(chance for chance, found in zip(chances, rates, strict=True) if holds(found, rate))
    assert held == pytest.approx(exact, abs=0.005)
    assert held >= 0.95

    given = [row[which].tolist() for row, which in zip(values, bound, strict=True) if which.sum() > 1]
    assert np.mean([holds(t_interval(row), BOUND) for row in given]) == pytest.approx(0.95, abs=0.01)
