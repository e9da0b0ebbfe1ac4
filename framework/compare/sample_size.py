"""How many seeds a comparison needs: for a difference at 80 % power, or for an interval of some width."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import special, stats

from slotlab.framework.arithmetic.t_interval import CONFIDENCE, t_quantile
from slotlab.framework.compare.results import Interval
from slotlab.framework.compare.statistics import ALPHA, POWER, detectable

MOST_SEEDS = 1000
"""No more seeds are asked for; a study that needs more is another study."""
MOST_RUNS = 200
"""The same for counts, whose exact power takes longer to compute."""


def seeds_for_difference(wanted: float, spread: float, *, paired: bool, tests: int = 1) -> int | None:
    """Return the least number of pairs, or of seeds of each arm, with which a t test finds a difference.

    It finds it in 80 of 100 studies, two-sided at 5 %. None if that takes more than `MOST_SEEDS`.

    Args:
        wanted: the true difference.
        spread: the true standard deviation: of the differences if paired, else of the seeds of an arm.
        paired: whether seeds are paired.
        tests: how many tests share the 5 %: the strictest level of Holm's method.
    """
    return _least(lambda count: detectable(count, paired=paired, tests=tests) * spread <= wanted)


def seeds_for_width(wanted: float, spread: float, *, paired: bool) -> int | None:
    """Return the least number for which the 95 % t interval of a difference is at most this wide.

    The arguments are those of `seeds_for_difference`; the width is from end to end, at this spread.
    """

    def is_enough(count: int) -> bool:
        df = count - 1 if paired else 2 * count - 2
        error = spread * math.sqrt((1 if paired else 2) / count)
        return 2 * t_quantile(df) * error <= wanted

    return _least(is_enough)


def _least(is_enough: Callable[[int], bool]) -> int | None:
    """Return the least number from 2 to `MOST_SEEDS` that is enough; from there on all are."""
    low, high = 1, 2
    while not is_enough(high):
        if high == MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def spread_interval(spread: float, df: int) -> Interval:
    """Return the 95 % interval of the true standard deviation, by chi-square, for normal values."""
    ends = (stats.chi2.ppf(level, df) for level in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2))
    low, high = (spread * math.sqrt(df / end) for end in ends)
    return Interval(low, high)


def runs_for_rates(rate: float, other: float, *, tests: int = 1) -> int | None:
    """Return the least number of runs of each arm with which Fisher's test tells two rates apart.

    It does so in at least 80 of 100 studies, two-sided at 5 % by the number of `tests`. Since counts are
    whole, a few more runs may do so a little less often. None if it takes more than `MOST_RUNS`.
    """
    enough = (n for n in range(2, MOST_RUNS + 1) if fisher_power(n, rate, other, tests=tests) >= POWER)
    return next(enough, None)


def fisher_power(runs: int, rate: float, other: float, *, tests: int = 1) -> float:
    """Return how often Fisher's exact test finds that two arms of so many runs bind at other rates."""
    counts = np.arange(runs + 1)
    chances = np.outer(stats.binom.pmf(counts, runs, rate), stats.binom.pmf(counts, runs, other))
    return float(chances[fisher_table(runs) < ALPHA / tests].sum())


@cache
def fisher_table(runs: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Return the two-sided p of Fisher's test by how many runs of either arm bound."""
    counts = np.arange(runs + 1)
    ways = special.gammaln(runs + 1) - special.gammaln(counts + 1) - special.gammaln(runs - counts + 1)
    found = np.empty((runs + 1, runs + 1))
    for total in range(2 * runs + 1):
        ones = np.arange(max(0, total - runs), min(runs, total) + 1)
        weights = np.exp(ways[ones] + ways[total - ones] - (ways[ones] + ways[total - ones]).max())
        order = np.argsort(weights)
        # As in scipy, tables that are equally likely but for rounding count as such.
        last = np.searchsorted(weights[order], weights * (1 + 1e-7), side="right") - 1
        found[ones, total - ones] = np.cumsum(weights[order])[last] / weights.sum()
    return found
