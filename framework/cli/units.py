"""Numbers with units as text: times, sizes, operations; and the cost of a training in one line."""

from collections.abc import Callable
from typing import Any


def duration(seconds: float) -> str:
    """Return a time as text, in its two largest units."""
    for large, name, small, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= large:
            return f"{seconds // large:.0f} {name} {seconds % large // small:.0f} {below}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Return a number of bytes as text, in binary units."""
    return scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def flops(count: float) -> str:
    """Return a number of floating-point operations as text."""
    return scaled(count, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"))


def counted(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    """Return a value with three digits in the largest unit of which it is at least one."""
    power = 0
    while value >= 0.9995 * step and power < len(units) - 1:
        value, power = value / step, power + 1
    return f"{value:.0f} {units[power]}" if value >= 100 else f"{value:.3g} {units[power]}"


def maybe(value: float | None, write: Callable[[float], str]) -> str:
    """Return a value as text; empty for None."""
    return "" if value is None else write(value)


def cost_line(cost: dict[str, Any]) -> str:
    """Return the cost of a training in one line, without the facts that are unknown."""
    each, achieved, part = cost["flops_per_image"], cost["flops_per_second"], cost["fraction_of_peak"]
    texts = [
        maybe(cost["images_per_second"], lambda value: f"{value:.3g} images/s"),
        duration(cost["seconds"]),
        f"{size(cost['memory'])} of memory ({cost['memory_of']})",
        "" if each is None else f"{flops(each)} per image",
        "" if achieved is None else f"{flops(achieved)}/s",
        "" if part is None else f"{part:.0%} of the speed of a matrix product",
        "" if cost["energy_kwh"] is None else f"{cost['energy_kwh']:.3g} kWh",
    ]
    return ", ".join(text for text in texts if text)
