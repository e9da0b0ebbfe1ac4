"""What arms take, in units that people read, and which of them nothing beats."""

from collections.abc import Callable, Sequence

from slotlab.framework.compare.results import Comparison, Cost
from slotlab.framework.report.page import Measure


def measures(comparison: Comparison) -> list[Measure]:
    """Return each kind of cost that at least one arm tells."""
    costs = [arm.cost for arm in comparison.arms]
    on_gpu = all("cpu" not in device.lower() for cost in costs for device in cost.devices)
    hours = "GPU hours" if on_gpu else "CPU hours" if is_cpu(costs) else "device hours"
    kinds: list[tuple[str, str, Callable[[Cost], float | None], float, bool]] = [
        (hours, "h", lambda cost: cost.device_hours, 1.0, True),
        ("wall time", "min", lambda cost: cost.seconds, 1 / 60, True),
        ("speed", "images/s", lambda cost: cost.images_per_second, 1.0, False),
        ("memory", "GiB", lambda cost: cost.memory, 2.0**-30, True),
        ("operations", "PFLOP", lambda cost: cost.flops, 1e-15, True),
        ("energy", "kWh", lambda cost: cost.energy_kwh, 1.0, True),
    ]
    found = []
    for title, unit, read, scale, lower in kinds:
        values = [None if (value := read(cost)) is None else value * scale for cost in costs]
        if any(value is not None for value in values):
            found.append(Measure(title, unit, values, lower))
    return found


def is_cpu(costs: Sequence[Cost]) -> bool:
    """Tell whether every run was made on a CPU."""
    return all("cpu" in device.lower() for cost in costs for device in cost.devices)
