"""Numbers as the page writes them."""

import math
from collections.abc import Iterable

from slotlab.framework.compare.results import Comparison, Interval

MINUS, DASH = "\N{MINUS SIGN}", "\N{EM DASH}"


def decimals(values: Iterable[float | None]) -> int:
    """Return how many decimals give the largest of some values three digits, from 1 to 6."""
    largest = max((abs(value) for value in values if value is not None), default=1.0)
    return 3 if largest == 0 else min(6, max(1, 2 - math.floor(math.log10(largest))))


def decimals_of(comparison: Comparison, metric: str) -> int:
    """Return the decimals with which a metric is written: by the largest mean of an arm."""
    return decimals(arm.statistics[metric].mean for arm in comparison.arms if metric in arm.statistics)


def limit(comparison: Comparison) -> str:
    """Return when a run counts as failed to bind."""
    metric = comparison.primary
    side = "below" if metric.higher_is_better else "above"
    return f"{metric.name} is {side} {number(comparison.failed_below, decimals_of(comparison, metric.name))}"


def number(value: float | None, places: int = 3) -> str:
    """Return a value with so many decimals; with an exponent if it is too large or small for them."""
    if value is None:
        return DASH
    text = f"{value:.{places}f}"
    if abs(value) >= 1e6 or (value != 0 and float(text) == 0):
        text = f"{value:.1e}"
    return text.replace("-", MINUS)


def signed(value: float | None, places: int = 3) -> str:
    """Return a difference with its sign."""
    return number(value, places) if value is None or value < 0 else f"+{number(value, places)}"


def interval(found: Interval | None, places: int = 3, *, sign: bool = False) -> str:
    """Return the bounds in brackets; a dash where there are none."""
    show = signed if sign else number
    return DASH if found is None else f"[{show(found.low, places)}, {show(found.high, places)}]"


def probability(value: float | None) -> str:
    """Return a p-value."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def three_digits(value: float | None) -> str:
    """Return a cost with three digits."""
    if value is None:
        return DASH
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("-", MINUS)
    return f"{float(f'{value:.3g}'):,g}"


def setting(value: object) -> str:
    """Return a setting's value as a spec has it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(setting, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
