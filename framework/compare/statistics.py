"""Statistics over few seeds, by Student's t: bootstrap intervals of three values are far too narrow."""

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from scipy import optimize, special, stats

from slotlab.framework.arithmetic.t_interval import ANY, Bounds, t_bounds
from slotlab.framework.compare.results import Difference, Interval, Statistics

ALPHA = 0.05
"""Significance level for the smallest detectable effect."""
NEGLIGIBLE = 1e-12
"""Relative spread up to which numbers count as equal, as they differ by rounding alone."""
POWER = 0.8
"""Power used for the smallest detectable effect."""


def describe(by_seed: Mapping[int, float], bounds: Bounds = ANY) -> Statistics:
    """Return the statistics of a metric, with the bounds of its values, over seeds in any order."""
    ordered = dict(sorted(by_seed.items()))
    values = list(ordered.values())
    if not values:
        return Statistics(ordered, None, None, None, None, None)
    return Statistics(
        by_seed=ordered,
        mean=math.fsum(values) / len(values),
        std=deviation(values),
        median=float(np.median(values)),
        iqm=float(stats.trim_mean(values, 0.25)),
        interval=t_interval(values, bounds=bounds),
    )


def deviation(values: Sequence[float], scale: float = 0.0) -> float | None:
    """Return the standard deviation (n - 1), or None for fewer than two values.

    It is 0 where values differ by rounding alone. For differences, `scale` is the largest absolute value
    of the numbers that were subtracted.
    """
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    found = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return found if found > NEGLIGIBLE * max(scale, *map(abs, values)) else 0.0


def t_interval(values: Sequence[float], scale: float = 0.0, bounds: Bounds = ANY) -> Interval | None:
    """Return the 95 % t interval of the mean, within bounds; None for fewer than two values."""
    spread = deviation(values, scale)
    if spread is None:
        return None
    mean = math.fsum(values) / len(values)
    return Interval(*t_bounds(mean, spread / math.sqrt(len(values)), len(values) - 1, bounds))


def difference(arm: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Compare two arms on the seeds that both have. `p_holm` stays None; `correct` computes it."""
    shared = sorted(arm.keys() & baseline.keys())
    by_seed = {seed: arm[seed] - baseline[seed] for seed in shared}
    values = list(by_seed.values())
    scale = max((abs(one[seed]) for one in (arm, baseline) for seed in shared), default=0.0)
    count, spread = len(values), deviation(values, scale)
    mean = math.fsum(values) / count if values else None
    note = _note(arm, baseline, shared)
    if spread is None or mean is None:
        return Difference(by_seed, mean, None, None, None, None, None, None, None, None, note)
    related = correlation([arm[seed] for seed in shared], [baseline[seed] for seed in shared])
    t = p = effect = None
    if spread > 0:
        t = mean / (spread / math.sqrt(count))
        p = float(2 * special.stdtr(count - 1, -abs(t)))
        effect = mean / spread * hedges_correction(count - 1) if count > 2 else None
    else:
        note = "; ".join(filter(None, (note, "all pairs differ by the same amount, so there is no test")))
    return Difference(
        by_seed=by_seed,
        mean=mean,
        std=spread,
        interval=t_interval(values, scale),
        t=t,
        p=p,
        p_holm=None,
        effect=effect,
        detectable=detectable(count),
        least_p=least_p(count),
        note=note,
        correlation=related,
    )


def correlation(arm: Sequence[float], baseline: Sequence[float]) -> float | None:
    """Return Pearson's correlation; None for fewer than three pairs, and if one of the two is constant.

    That of two pairs is 1 or -1, whatever they are.
    """
    if len(arm) < 3 or not deviation(arm) or not deviation(baseline):
        return None
    return float(np.clip(np.corrcoef(arm, baseline)[0, 1], -1, 1))


def _note(arm: Mapping[int, float], baseline: Mapping[int, float], shared: Sequence[int]) -> str:
    """Say which seeds are not used, and which statistics are missing for that reason."""
    lone = sorted(arm.keys() ^ baseline.keys())
    if not arm or not baseline:
        return f"no run of the {'baseline' if arm else 'arm'} has a value, so there is no paired difference"
    if not shared:
        return "no seed in common, so there is no paired difference"
    texts = []
    if lone:
        texts.append(f"the seeds differ; not paired: {_join(lone)}")
    if len(shared) == 1:
        texts.append("one pair, so there is no interval and no test")
    return "; ".join(texts)


def _join(seeds: Sequence[int]) -> str:
    shown = ", ".join(map(str, seeds[:8]))
    return shown if len(seeds) <= 8 else f"{shown} and {len(seeds) - 8} more"


def correct(ps: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number by Holm's method (Holm 1979); None stays None and does not count."""
    known = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    reached = 0.0
    for rank, (p, i) in enumerate(known):
        reached = max(reached, min(1.0, (len(known) - rank) * p))
        corrected[i] = reached
    return corrected


@cache
def hedges_correction(df: int) -> float:
    """Return the factor that removes the bias of a standardized mean difference (Hedges 1981, eq. 6e).

    It is 0 for one degree of freedom: two values say nothing about their spread.
    """
    if df < 2:
        return 0.0
    return math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


@cache
def detectable(count: int, *, paired: bool = True, tests: int = 1) -> float:
    """Return the smallest true effect, in standard deviations, that a t test finds with 80 % power.

    Two-sided, at 5 %, by the noncentral distribution of t.

    Args:
        count: pairs, or seeds in each of two arms; at least 2.
        paired: whether seeds are paired; then the unit is the deviation of the differences,
            otherwise that of the seeds of an arm.
        tests: how many tests share the 5 %: the strictest level of Holm's method.
    """
    df = count - 1 if paired else 2 * count - 2
    return noncentrality(df, tests) / math.sqrt(count if paired else count / 2)


@cache
def noncentrality(df: float, tests: int = 1) -> float:
    """Return how many standard errors a true mean must lie from 0 for a t test to find it with 80 % power."""
    limit = stats.t.ppf(1 - ALPHA / tests / 2, df)

    def lacking(errors: float) -> float:
        # The square of a noncentral t is a noncentral F; scipy's lower tail of the t itself can be NaN.
        return float(stats.ncf.sf(limit**2, 1, df, errors**2)) - POWER

    return float(optimize.brentq(lacking, 1e-6, 2 * limit + 2))


def least_p(count: int, *, paired: bool = True) -> float:
    """Return the smallest two-sided p that a rank or permutation test can give.

    Paired: Wilcoxon's signed ranks, and the permutation of signs. Unpaired: Mann-Whitney, and the
    permutation of arms of `count` seeds each.
    """
    return float(min(1.0, 2 / 2**count if paired else 2 / math.comb(2 * count, count)))
