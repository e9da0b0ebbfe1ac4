"""Draw one row per arm: its seeds as dots, the mean and its t interval; the same for differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.compare.arm_styles import StyledArm, plain
from slotlab.framework.compare.results import ComparedMetric, Comparison, Interval
from slotlab.framework.compare.text_table import head
from slotlab.framework.figures.style import FAINT, save, styled

_WIDTH, _ROW, _LINE = 6.4, 0.3, 0.14
"""Inches."""
_ROOM = 1.5
"""Intervals are cut where they reach beyond the dots by more than this multiple of the dots' range."""


@dataclass(frozen=True)
class _Row:
    label: str
    style: StyledArm
    values: Mapping[int, float]
    mean: float | None
    interval: Interval | None


def draw_intervals(
    comparison: Comparison, arms: Sequence[StyledArm], metric: ComparedMetric, stem: Path
) -> list[Path]:
    """Draw the seeds of each arm with mean and 95 % interval; return the paths of the figures."""
    rows = []
    for style in arms:
        one = style.arm.statistics[metric.name]
        rows.append(_Row(label(comparison, style), style, one.by_seed, one.mean, one.interval))
    return _draw(rows, stem, f"{head(metric)}: each seed, mean and 95 % t interval", zero=False)


def label(comparison: Comparison, style: StyledArm) -> str:
    """Return an arm's name, and how many of its runs failed or did not bind."""
    counts = [f"{len(style.arm.failed)} failed"] if style.arm.failed else []
    counts += [f"{len(style.arm.not_bound)} did not bind"] if style.arm.not_bound else []
    return f"{style.arm.name} ({', '.join(counts)})" if counts else style.arm.name


def draw_differences(
    comparison: Comparison, arms: Sequence[StyledArm], metric: ComparedMetric, stem: Path
) -> list[Path]:
    """Draw the paired differences to the baseline, if there are any; return the paths of the figures."""
    rows = []
    for style in arms:
        if (one := style.arm.differences.get(metric.name)) and one.count:
            rows.append(_Row(style.arm.name, style, one.by_seed, one.mean, one.interval))
    title = f"{head(metric)}: arm minus '{comparison.baseline}', paired by seed, mean and 95 % t interval"
    return _draw(rows, stem, title, zero=True) if rows else []


def _draw(rows: Sequence[_Row], stem: Path, title: str, *, zero: bool) -> list[Path]:
    """Draw one row after another, from top to bottom."""
    every = [value for row in rows for value in row.values.values()] + ([0.0] if zero else [])
    if not any(row.values for row in rows):
        return []
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with styled():
        labels = [plain(row.label, width=44) for row in rows]
        height = _ROW + _LINE * max(label.count("\n") for label in labels)
        figure = Figure(figsize=(_WIDTH, 0.9 + height * len(rows)), layout="constrained")
        axis = figure.add_subplot()
        limits = _limits(every)
        if zero:
            axis.axvline(0, color=FAINT, linewidth=1)
        for y, row in enumerate(rows):
            _draw_row(axis, y, row, limits)
        axis.set_yticks(range(len(rows)), labels)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlim(_fitting(rows, every, limits))
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))  # labels such as -0.0025 beside long names
        axis.grid(axis="x")
        figure.suptitle(plain(title, width=80))
        save(figure, stem)
    return [stem]


def _draw_row(axis: Any, y: int, row: _Row, limits: tuple[float, float]) -> None:
    for i, value in enumerate(row.values.values()):
        shift = 0.12 * (1 if i % 2 else -1)  # so that equal values are visible as two
        axis.plot(value, y + shift, row.style.marker, color=row.style.color, alpha=0.45, markersize=3.5)
    if row.interval is not None:
        low, high = max(row.interval.low, limits[0]), min(row.interval.high, limits[1])
        axis.plot([low, high], [y, y], color=row.style.color, linewidth=1.4)
        if low > row.interval.low:
            axis.plot(low, y, "<", color=row.style.color, markersize=5, clip_on=False)
        if high < row.interval.high:
            axis.plot(high, y, ">", color=row.style.color, markersize=5, clip_on=False)
    if row.mean is not None:
        axis.plot(row.mean, y, "|", color=row.style.color, markersize=12, markeredgewidth=2)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return where intervals are cut, so that a wide one does not flatten all others."""
    low, high = min(values), max(values)
    room = _ROOM * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _fitting(
    rows: Sequence[_Row], values: Sequence[float], limits: tuple[float, float]
) -> tuple[float, float]:
    """Return the limits of the axis: all dots, and the intervals as far as they are drawn."""
    ends = [end for row in rows if row.interval for end in (row.interval.low, row.interval.high)]
    shown = [*values, *(min(max(end, limits[0]), limits[1]) for end in ends)]
    margin = 0.03 * ((max(shown) - min(shown)) or 1.0)
    return min(shown) - margin, max(shown) + margin
