"""Draw the primary metric against each cost, with the Pareto front of the arms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slotlab.framework.compare.arm_styles import StyledArm, legend, plain
from slotlab.framework.compare.results import Comparison
from slotlab.framework.compare.text_table import head
from slotlab.framework.figures.style import FAINT, save, styled

QUANTITIES = {
    "seconds": ("time", "hours of training", 3600.0),
    "flops": ("operations", "operations of a training, TFLOP", 1e12),
    "memory": ("memory", "peak memory, GiB", 2.0**30),
    "energy_kwh": ("energy", "energy of a training, kWh", 1.0),
}
"""Fields of `ArmCost`, each with its name in the figure's file, the axis label and the unit."""


@dataclass(frozen=True)
class _Point:
    style: StyledArm
    cost: float
    value: float


def pareto(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[int]:
    """Return the positions of the points (cost, value) on the Pareto front, by rising cost.

    A point is on it unless another costs no more, is no worse, and is better in one of the two.
    """
    sign = 1.0 if higher_is_better else -1.0
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -sign * points[i][1]))
    front: list[int] = []
    for i in order:
        better = not front or sign * points[i][1] > sign * points[front[-1]][1]
        if better or points[i] == points[front[-1]]:
            front.append(i)
    return front


def draw_costs(comparison: Comparison, arms: Sequence[StyledArm], folder: Path) -> list[Path]:
    """Draw the primary metric against each cost in which arms differ; return the paths of the figures."""
    stems = []
    for quantity, (name, label, unit) in QUANTITIES.items():
        points = []
        for style in arms:
            cost, mean = getattr(style.arm.cost, quantity), style.arm.statistics[comparison.primary.name].mean
            if cost is not None and mean is not None:
                points.append(_Point(style, cost / unit, mean))
        if len({point.cost for point in points}) > 1:
            stems.append(folder / f"cost-{name}")
            _draw(comparison, points, label, stems[-1])
    return stems


def _draw(comparison: Comparison, points: Sequence[_Point], label: str, stem: Path) -> None:
    from matplotlib.figure import Figure

    metric = comparison.primary
    front = pareto([(point.cost, point.value) for point in points], higher_is_better=metric.higher_is_better)
    with styled():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axis = figure.add_subplot()
        best = [points[i] for i in front]
        axis.step(
            [point.cost for point in best],
            [point.value for point in best],
            where="post",
            color=FAINT,
            linewidth=1,
            zorder=1,
            label="Pareto front",
        )
        for i, point in enumerate(points):
            one = point.style.arm.statistics[metric.name]
            filled = i in front
            axis.errorbar(
                point.cost,
                point.value,
                yerr=one.std,
                fmt=point.style.marker,
                color=point.style.color,
                markerfacecolor=point.style.color if filled else "white",
                markersize=6,
                elinewidth=0.8,
                label=plain(point.style.arm.name),
            )
        axis.set_xlabel(label)
        axis.set_ylabel(plain(head(metric)))
        axis.set_title("mean ± standard deviation over seeds; filled: on the Pareto front", loc="left")
        axis.grid()
        legend(figure, [point.style.arm.name for point in points])
        save(figure, stem)
