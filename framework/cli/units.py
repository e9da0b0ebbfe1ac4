"""Numbers with units, for people: times, sizes, operations; and the cost of a training in one line."""

from collections.abc import Callable
from typing import Any


def duration(seconds: float) -> str:
    """Write a time in the two largest units that it has."""
    for large, name, small, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= large:
            return f"{seconds // large:.0f} {name} {seconds % large // small:.0f} {below}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Write a number of bytes in binary units."""
    return scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def flops(count: float) -> str:
    """Write a number of floating-point operations."""
    return scaled(count, 1000, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP"))


def counted(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    """Write a value with three digits in the unit that suits it."""
    power = 0
    while value >= 0.9995 * step and power < len(units) - 1:
        value, power = value / step, power + 1
    return f"{value:.0f} {units[power]}" if value >= 100 else f"{value:.3g} {units[power]}"


def maybe(value: float | None, write: Callable[[float], str]) -> str:
    """Write a value; nothing where there is none."""
    return "" if value is None else write(value)


def cost_line(cost: dict[str, Any]) -> str:
    """Return what a training took in one line; facts that are not known are left out."""
    each, achieved, part = cost["flops_per_image"], cost["flops_per_second"], cost["fraction_of_peak"]
    texts = [
        maybe(cost["images_per_second"], lambda value: f"{value:.3g} images/s"),
        duration(cost["seconds"]),
        f"{size(cost['memory'])} of memory ({cost['memory_of']})",
        "" if each is None else f"{flops(each)} an image",
        "" if achieved is None else f"{flops(achieved)}/s",
        "" if part is None else f"{part:.0%} of a matrix product's",
        "" if cost["energy_kwh"] is None else f"{cost['energy_kwh']:.3g} kWh",
    ]
    return ", ".join(text for text in texts if text)
