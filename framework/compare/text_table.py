"""A table of text, and how numbers are written in its cells."""

import math
from dataclasses import dataclass
from statistics import median

from slotlab.framework.compare.results import ComparedMetric, Comparison, Interval

NONE = "-"
"""Written where there is no value."""


@dataclass(frozen=True)
class TextTable:
    """A title, column heads and rows of cells, all unescaped text; numbers are aligned right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    """How many columns, from the left, hold text."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Row and column of cells with a best mean that the tests bear out."""
    note: str = ""
    """What the marks of such cells mean."""


def head(metric: ComparedMetric) -> str:
    """Return a metric's name with an arrow in the better direction."""
    return f"{metric.name} {'↑' if metric.higher_is_better else '↓'}"


def decimals(comparison: Comparison, metric: ComparedMetric) -> int:
    """Return the number of decimals that shows two digits of the median standard deviation."""
    every = [arm.statistics[metric.name] for arm in comparison.arms]
    spreads = [one.std for one in every if one.std] or [abs(one.mean) / 100 for one in every if one.mean]
    if not spreads:
        return 3
    return min(8, max(0, 1 - math.floor(math.log10(median(spreads)))))


def number(value: float | None, places: int, *, signed: bool = False) -> str:
    """Write a number, or a dash for none."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:{'+' if signed else ''}.{places}f}"


def interval(value: Interval | None, places: int, *, signed: bool = False) -> str:
    """Write an interval, or a dash for none."""
    if value is None:
        return NONE
    low, high = (number(end, places, signed=signed) for end in (value.low, value.high))
    return f"[{low}, {high}]"


def chance(p: float | None) -> str:
    """Write a p value with two digits."""
    if p is None:
        return NONE
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"
