"""Curves over seeds: learning curves from the runs' logs, and metrics by group of images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.compare.draw_curves import is_number, log_series
from slotlab.framework.compare.results import Arm, Comparison
from slotlab.framework.report.page import Chart, Line

MOST_POINTS, FEWEST_POINTS = 160, 24
"""Bounds of the number of points of a curve; with many arms it is smaller."""
MOST_IN_ALL = 12_000
"""Points of all arms in one chart."""
MOST_CHARTS = 12


def learning_curves(comparison: Comparison) -> list[Chart]:
    """Return a chart for each logged quantity: the primary metric first, then the loss."""
    charts: dict[str, dict[int, Line]] = {}
    points = max(FEWEST_POINTS, min(MOST_POINTS, MOST_IN_ALL // max(1, len(comparison.arms))))
    for position, arm in enumerate(comparison.arms):
        for name, line in arm_curves(arm, points).items():
            charts.setdefault(name, {})[position] = line
    ordered = sorted(charts, key=lambda name: rank(name, comparison.primary.name))
    return [Chart(name, "training step", charts[name]) for name in ordered[:MOST_CHARTS]]


def rank(name: str, primary: str) -> tuple[int, str]:
    """Return the sort key of a curve."""
    first = (f"validation {primary}", f"watch {primary}", "train loss", "validation loss")
    return (first.index(name) if name in first else len(first), name)


def arm_curves(arm: Arm, points: int) -> dict[str, Line]:
    """Return the curves of one arm over its seeds."""
    logs = [member.run.log_or_reason()[0] for member in arm.members]
    runs = [log_series(log) for log in logs]
    keys = dict.fromkeys(key for run in runs for key in run)
    clock = next((log for log in logs if log), ())  # seeds have the same epochs and phases
    times, phases = epochs_by_step(clock), phase_starts(clock)
    found = {}
    for key in keys:
        line = over_seeds([run[key] for run in runs if key in run], points)
        epochs = np.interp(np.asarray(line.x, float), *times).tolist() if times[0] else ()
        found[" ".join(key)] = replace(line, epochs=epochs, phases=phases)
    return found


def epochs_by_step(log: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Return the steps of a log at which an epoch was logged for the first time, and these epochs."""
    first: dict[float, float] = {}
    for row in log:
        if row["kind"] == "train" and is_number(row.get("epoch")):
            first.setdefault(float(row["epoch"]), float(row["step"]))
    return list(first.values()), list(first)


def phase_starts(log: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the steps at which the second and further phases of a training begin."""
    starts: dict[Any, float] = {}
    last = 0.0
    for row in log:
        if row["kind"] == "train" and "phase" in row:
            starts.setdefault(row["phase"], last)
            last = float(row["step"])
    return list(starts.values())[1:]


def over_seeds(runs: Sequence[Mapping[float, float]], points: int) -> Line:
    """Return mean, least and greatest over runs, each given as values by step.

    If there are more than `points` steps, neighbors are averaged within each run first. A run that
    has no value at a step is left out there.
    """
    steps = np.unique(np.concatenate([np.fromiter(run, float) for run in runs]))
    bins = np.arange(len(steps)) if len(steps) <= points else bins_of(steps, points)
    count = int(bins[-1]) + 1
    x = np.bincount(bins, steps, count) / np.bincount(bins, minlength=count)
    table = np.full((len(runs), count), np.nan)
    for row, run in zip(table, runs, strict=True):
        places = bins[np.searchsorted(steps, np.fromiter(run, float))]
        sizes = np.bincount(places, minlength=count)
        there = sizes > 0
        row[there] = np.bincount(places, np.fromiter(run.values(), float), count)[there] / sizes[there]
    return Line(x.tolist(), *(found.tolist() for found in summaries(table)))


def bins_of(steps: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Return the bin of each step, of at most `points` equally wide bins, numbered without empty ones."""
    edges = np.linspace(steps[0], steps[-1], points + 1)[1:-1]
    return np.unique(np.searchsorted(edges, steps, side="right"), return_inverse=True)[1].astype(np.int64)


def summaries(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return mean, least and greatest of each column, which all have a value."""
    return np.nanmean(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)


def group_charts(comparison: Comparison) -> list[Chart]:
    """Return a chart for each breakdown of each metric: by number of objects first."""
    tables = [arm_groups(arm) for arm in comparison.arms]
    names = dict.fromkeys(name for table in tables for name, _ in table)
    charts = []
    for metric in comparison.metrics:
        for name in sorted(names, key=lambda name: (name != "objects", name)):
            lines = {
                i: line(table[name, metric.name])
                for i, table in enumerate(tables)
                if (name, metric.name) in table
            }
            if lines:
                charts.append(Chart(f"{metric.name} by {name}", name, lines))
    return charts


Groups = dict[str, list[float]]
"""The means of one metric by group, one per run."""


def arm_groups(arm: Arm) -> dict[tuple[str, str], Groups]:
    """Return the means of each run by breakdown and metric."""
    found: dict[tuple[str, str], Groups] = {}
    for member in arm.members:
        for name, rows in member.evaluation.breakdowns.items():
            for row in rows:
                for metric, cell in row.items():
                    if metric != "group" and isinstance(cell, Mapping) and cell.get("mean") is not None:
                        groups = found.setdefault((name, metric), {})
                        groups.setdefault(str(row["group"]), []).append(float(cell["mean"]))
    return found


def line(groups: Groups) -> Line:
    """Return mean, least and greatest over runs by group; numeric groups are sorted."""
    names = sorted(groups, key=lambda name: float(name) if is_number(name) else 0.0)
    values = [groups[name] for name in names]
    means = [sum(item) / len(item) for item in values]
    return Line(names, means, list(map(min, values)), list(map(max, values)))
