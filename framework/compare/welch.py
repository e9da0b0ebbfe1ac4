"""Differences of arms that are not paired: Welch's t test, which lets arms scatter differently."""

import math
from collections.abc import Sequence

from scipy import special, stats

from slotlab.framework.arithmetic.t_interval import t_bounds
from slotlab.framework.compare.results import Interval, UnpairedDifference
from slotlab.framework.compare.statistics import deviation, noncentrality


def welch(arm: Sequence[float], baseline: Sequence[float]) -> UnpairedDifference:
    """Compare two arms over all their seeds (Welch 1947). Holm's correction stays None."""
    counts = len(arm), len(baseline)
    if not all(counts):
        return UnpairedDifference(counts, None)
    mean = math.fsum(arm) / counts[0] - math.fsum(baseline) / counts[1]
    error, df = standard_error(arm, baseline)
    if not error or df is None:
        return UnpairedDifference(counts, mean)
    return UnpairedDifference(
        counts=counts,
        mean=mean,
        interval=Interval(*t_bounds(mean, error, df)),
        t=mean / error,
        df=df,
        p=float(2 * special.stdtr(df, -abs(mean / error))),
        detectable_difference=noncentrality(df) * error if min(counts) > 2 else None,
    )


def welch_of_summaries(arm: tuple[float, float, int], other: tuple[float, float, int]) -> UnpairedDifference:
    """Compare two means of which only (mean, standard deviation, number of seeds) are known."""
    found = stats.ttest_ind_from_stats(*arm, *other, equal_var=False)
    parts = [spread**2 / count for _, spread, count in (arm, other)]
    df = sum(parts) ** 2 / sum(p**2 / (one[2] - 1) for p, one in zip(parts, (arm, other), strict=True))
    mean = arm[0] - other[0]
    return UnpairedDifference(
        counts=(arm[2], other[2]),
        mean=mean,
        interval=Interval(*t_bounds(mean, math.sqrt(sum(parts)), df)),
        t=float(found.statistic),
        df=df,
        p=float(found.pvalue),
    )


def standard_error(arm: Sequence[float], baseline: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the standard error of the difference of means and its degrees of freedom, or None for both.

    The degrees are those of Welch and Satterthwaite. None for an arm of one seed, and if no seed differs.
    """
    spreads = deviation(arm), deviation(baseline)
    if spreads[0] is None or spreads[1] is None or not any(spreads):
        return None, None
    parts = [
        (spread**2 / len(values), len(values) - 1)
        for spread, values in zip((spreads[0], spreads[1]), (arm, baseline), strict=True)
    ]
    variance = math.fsum(part for part, _ in parts)
    # Shares of the variance, since the squares of very small ones would vanish.
    return math.sqrt(variance), 1 / math.fsum((part / variance) ** 2 / df for part, df in parts)
