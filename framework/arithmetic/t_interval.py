"""Means over images, objects or seeds, and the t interval of a mean. Imports no torch.

Sums are exact before they are rounded (`math.fsum`), so that the order of the values changes nothing.
"""

import math
from collections.abc import Sequence
from functools import cache

CONFIDENCE = 0.95
"""Confidence level of every interval."""
Bounds = tuple[float | None, float | None]
"""The least and greatest possible value; None (or infinity) where there is none."""
ANY: Bounds = (None, None)


def defined(values: Sequence[float], weights: Sequence[float] | None = None) -> list[tuple[float, float]]:
    """Return (value, weight) of each finite value of positive weight; without weights each weighs 1."""
    counted = [1.0] * len(values) if weights is None else weights
    return [(v, w) for v, w in zip(values, counted, strict=True) if math.isfinite(v) and w > 0]


def weighted_mean(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the mean of (value, weight) pairs, of which there is at least one."""
    return math.fsum(w * v for v, w in pairs) / math.fsum(w for _, w in pairs)


@cache
def t_quantile(df: float) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom that ends a two-sided interval."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, df))


def t_bounds(mean: float, error: float, df: float, bounds: Bounds = ANY) -> tuple[float, float]:
    """Return the ends of the interval of a mean, by Student's t.

    It is cut at the bounds of the values, beyond which no true mean lies: it holds the truth exactly as
    often as it did, and says nothing that cannot be.

    Args:
        mean: its estimate, which stays inside.
        error: the standard error of the mean.
        df: degrees of freedom of the error: values less one.
        bounds: of the values that the mean is of.
    """
    half, (least, greatest) = t_quantile(df) * error, bounds
    low = mean - half if least is None else min(mean, max(mean - half, least))
    high = mean + half if greatest is None else max(mean, min(mean + half, greatest))
    return low, high
