"""Draw curves with bands over seeds: logged values over steps, and metrics by number of objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from slotlab.framework.compare.arm_styles import StyledArm, legend, plain
from slotlab.framework.compare.results import ComparedMetric
from slotlab.framework.compare.text_table import head
from slotlab.framework.figures.style import save, styled
from slotlab.framework.system.file_names import file_name

BAND = "mean over seeds; the band goes from the lowest to the highest seed"
_SIZE = (6.4, 3.8)
"""Inches."""
_NOT_CURVES = {"kind", "step", "epoch", "phase", "lr", "images_per_second"}
"""Keys of a log line that are not losses or metrics."""

Series = Mapping[float, float]
"""Values by training step, or by number of objects."""


@dataclass(frozen=True)
class Band:
    """One arm's curve: mean, least and greatest over its seeds, where all of them have a value."""

    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def band(seeds: Sequence[Series]) -> Band:
    """Return the band over the series of several seeds."""
    common = sorted(set.intersection(*(set(series) for series in seeds))) if seeds else []
    columns = [[series[x] for series in seeds] for x in common]
    return Band(
        tuple(common),
        tuple(sum(column) / len(column) for column in columns),
        tuple(min(column) for column in columns),
        tuple(max(column) for column in columns),
    )


def log_series(log: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[float, float]]:
    """Return the values in a log by (kind, name) and step; the kind is train or validation."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for line in log:
        for name, value in line.items():
            if name not in _NOT_CURVES and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault((line["kind"], name), {})[line["step"]] = value
    return found


def draw_learning_curves(arms: Sequence[StyledArm], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw each logged loss and metric over steps; return the figures' paths, and the damaged logs."""
    read = {style.arm.name: [member.run.log_or_reason() for member in style.arm.members] for style in arms}
    damaged = [reason for logs in read.values() for _, reason in logs if reason]
    logs = {name: [log_series(log) for log, reason in logs if not reason] for name, logs in read.items()}
    keys = sorted({key for seeds in logs.values() for series in seeds for key in series})
    stems = []
    for kind, name in keys:
        bands = []
        for style in arms:
            one = band([series[kind, name] for series in logs[style.arm.name] if (kind, name) in series])
            if one.x:
                bands.append((style, one))
        stem = folder / file_name(f"curve-{kind}-{name}")
        stems += _draw(bands, stem, x_label="step", y_label=f"{kind} {name}", logarithmic="loss" in name)
    return stems, damaged


def draw_by_objects(arms: Sequence[StyledArm], metric: ComparedMetric, stem: Path) -> list[Path]:
    """Draw a metric by the number of objects per image, if the evaluations have it; return the paths."""
    bands = []
    counts: dict[float, int] = {}
    for style in arms:
        seeds = []
        for member in style.arm.members:
            series, images = by_objects(member.evaluation.breakdowns.get("objects", ()), metric.name)
            counts |= images
            seeds += [series] if series else []
        one = band(seeds)
        if one.x:
            bands.append((style, one))
    if len(counts) < 2:  # a single number of objects does not make a curve
        return []
    label = head(metric)
    return _draw(bands, stem, x_label="objects per image (number of images)", y_label=label, counts=counts)


def by_objects(rows: Sequence[Mapping[str, Any]], metric: str) -> tuple[dict[float, float], dict[float, int]]:
    """Return the metric and the number of images, both by number of objects."""
    found = {float(row["group"]): row[metric] for row in rows if metric in row and is_number(row["group"])}
    defined = {group: one for group, one in found.items() if one["mean"] is not None}
    means = {group: float(one["mean"]) for group, one in defined.items()}
    return means, {group: int(one.get("count") or 0) for group, one in defined.items()}


def is_number(group: object) -> bool:
    """Return whether a group's name is a finite number."""
    try:
        return isfinite(float(str(group)))
    except ValueError:
        return False


def _draw(
    bands: Sequence[tuple[StyledArm, Band]],
    stem: Path,
    *,
    x_label: str,
    y_label: str,
    logarithmic: bool = False,
    counts: Mapping[float, int] | None = None,
) -> list[Path]:
    """Draw one curve per arm. `counts` are written under the ticks, which then are the groups."""
    if not bands:
        return []
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with styled():
        figure = Figure(figsize=_SIZE, layout="constrained")
        axis = figure.add_subplot()
        for arm, one in bands:
            _draw_band(axis, arm, one)
        if logarithmic and min(min(one.low) for _, one in bands) > 0:
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if counts:
            axis.set_xticks(sorted(counts), [f"{group:g}\n({counts[group]})" for group in sorted(counts)])
        axis.set_xlabel(x_label)
        axis.set_ylabel(plain(y_label))
        axis.set_title(BAND, loc="left")
        axis.grid()
        legend(figure, [arm.arm.name for arm, _ in bands])
        save(figure, stem)
    return [stem]


def _draw_band(axis: Any, arm: StyledArm, one: Band) -> None:
    # Few points have a marker each: a line through a single point would be invisible.
    every = 1 if len(one.x) <= 12 else max(1, len(one.x) // 8)
    axis.plot(
        one.x,
        one.mean,
        arm.line,
        color=arm.color,
        marker=arm.marker,
        markevery=every,
        markersize=4,
        label=plain(arm.arm.name),
    )
    axis.fill_between(one.x, one.low, one.high, color=arm.color, alpha=0.15, linewidth=0)
