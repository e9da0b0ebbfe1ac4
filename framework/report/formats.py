"""Numbers as the page writes them."""

from slotlab.framework.compare.results import Comparison, Interval
from slotlab.framework.compare.tables import decimals

MINUS, DASH = "\N{MINUS SIGN}", "\N{EM DASH}"


def decimals_of(comparison: Comparison, metric: str) -> int:
    """Return with how many decimals a metric is written, on the page as in the tables."""
    return decimals(comparison, next(one for one in comparison.metrics if one.name == metric))


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


def plural(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
