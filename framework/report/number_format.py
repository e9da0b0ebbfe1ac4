"""Numbers as text, as the page writes them."""

from slotlab.framework.compare.results import Comparison, Interval
from slotlab.framework.compare.text_table import decimals

MINUS, DASH = "\N{MINUS SIGN}", "\N{EM DASH}"


def decimals_of(comparison: Comparison, metric: str) -> int:
    """Return the number of decimals of a metric, the same as in the tables."""
    return decimals(comparison, next(one for one in comparison.metrics if one.name == metric))


def limit(comparison: Comparison) -> str:
    """Return the condition under which a run did not bind, in words."""
    metric = comparison.primary
    side = "below" if metric.higher_is_better else "above"
    return f"{metric.name} is {side} {number(comparison.failed_below, decimals_of(comparison, metric.name))}"


def number(value: float | None, places: int = 3) -> str:
    """Return a value with this many decimals, or with an exponent if it is too large or too small."""
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
    """Return the bounds in brackets; a dash for None."""
    show = signed if sign else number
    return DASH if found is None else f"[{show(found.low, places)}, {show(found.high, places)}]"


def probability(value: float | None) -> str:
    """Return a p value as text."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def three_digits(value: float | None) -> str:
    """Return a cost as text with three digits."""
    if value is None:
        return DASH
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}".replace("-", MINUS)
    return f"{float(f'{value:.3g}'):,g}"


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
