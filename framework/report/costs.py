"""What arms take, in units that people read, and which of them nothing beats."""

from collections.abc import Callable, Sequence

from slotlab.framework.compare.draw_cost import pareto
from slotlab.framework.compare.results import Comparison, Cost
from slotlab.framework.report.page import Measure


def measures(comparison: Comparison) -> list[Measure]:
    """Return each kind of cost that at least one arm tells."""
    costs = [arm.cost for arm in comparison.arms]
    on_cpu = {"cpu" in device.lower() for cost in costs for device in cost.devices}
    hours = {(True,): "CPU hours", (False,): "GPU hours"}.get(tuple(on_cpu), "device hours")
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
            found.append(Measure(title, unit, values, lower, fronts(comparison, values, lower)))
    return found


def fronts(
    comparison: Comparison, values: Sequence[float | None], lower_is_better: bool
) -> dict[str, list[int]]:
    """Return, by metric, the arms on the Pareto front of a cost and the mean."""
    found = {}
    for metric in comparison.metrics:
        known = [
            (position, value if lower_is_better else -value, mean)
            for position, (arm, value) in enumerate(zip(comparison.arms, values, strict=True))
            if value is not None and (mean := arm.statistics[metric.name].mean) is not None
        ]
        front = pareto([(cost, mean) for _, cost, mean in known], higher_is_better=metric.higher_is_better)
        found[metric.name] = [known[i][0] for i in front]
    return found
