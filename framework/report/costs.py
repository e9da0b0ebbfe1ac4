"""The costs of arms in readable units, and the Pareto fronts of cost and metrics."""

from collections.abc import Callable, Mapping, Sequence

from slotlab.framework.compare.draw_cost import pareto
from slotlab.framework.compare.results import ArmCost, Comparison
from slotlab.framework.report.page import Measure

Scales = Mapping[str, float]
"""The sizes of units, the largest first."""


def measures(comparison: Comparison) -> list[Measure]:
    """Return each kind of cost that at least one arm recorded."""
    costs = [arm.cost for arm in comparison.arms]
    on_cpu = {"cpu" in device.lower() for cost in costs for device in cost.devices}
    hours = "CPU hours" if on_cpu == {True} else "GPU hours" if on_cpu == {False} else "device hours"
    kinds: list[tuple[str, Scales, Callable[[ArmCost], float | None], bool]] = [
        (hours, {"h": 1.0}, lambda cost: cost.device_hours, True),
        ("wall time", {"h": 3600.0, "min": 60.0}, lambda cost: cost.seconds, True),
        ("speed", {"images/s": 1.0}, lambda cost: cost.images_per_second, False),
        ("memory", {"GiB": 2.0**30}, lambda cost: cost.memory, True),
        ("operations", {"PFLOP": 1e15, "TFLOP": 1e12}, lambda cost: cost.flops, True),
        ("energy", {"kWh": 1.0}, lambda cost: cost.energy_kwh, True),
    ]
    found = []
    for title, scales, read, lower in kinds:
        measured = [read(cost) for cost in costs]
        known = [value for value in measured if value is not None]
        if known:
            unit = fitting(scales, max(known))
            values = [None if value is None else value / scales[unit] for value in measured]
            found.append(Measure(title, unit, values, lower, fronts(comparison, values, lower)))
    return found


def fitting(scales: Scales, largest: float) -> str:
    """Return the largest unit in which the largest value is at least one, else the smallest unit."""
    return next((unit for unit, size in scales.items() if largest >= size), list(scales)[-1])


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
