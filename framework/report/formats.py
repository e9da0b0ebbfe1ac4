"""Numbers as the page writes them."""

import math

from slotlab.framework.compare.results import Interval

MINUS, DASH = "\N{MINUS SIGN}", "\N{EM DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a value with so many decimals, fewer if it is large, an exponent if it is tiny or huge."""
    if value is None:
        return DASH
    size = abs(value)
    if size >= 1e6 or 0 < size < 0.5 * 10**-digits:
        text = f"{value:.2e}"
    else:
        before_the_point = math.floor(math.log10(size)) if size >= 1 else 0
        text = f"{value:.{max(0, digits - before_the_point)}f}"
    return text.replace("-", MINUS)


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return number(value) if value is None or value < 0 else f"+{number(value)}"


def interval(found: Interval | None, *, sign: bool = False) -> str:
    """Return the bounds in brackets; a dash where there are none."""
    show = signed if sign else number
    return DASH if found is None else f"[{show(found.low)}, {show(found.high)}]"


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
