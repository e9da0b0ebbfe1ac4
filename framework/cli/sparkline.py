"""A curve in one line of text."""

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int = 12) -> str:
    """Return values as bars from the least to the greatest, at most `width`; a space where there is none.

    Of more values each bar shows the last of as many neighbors, so that the last value is always shown.

    >>> sparkline([0.0, 0.5, None, 1.0])
    '▁▅ █'
    """
    count = min(width, len(values))
    last = [values[(place + 1) * len(values) // count - 1] for place in range(count)]
    known = [value for value in last if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = (high - low) or 1.0
    return "".join(
        " " if value is None else BARS[round((value - low) / span * (len(BARS) - 1))] for value in last
    )
