"""Curves of a training over its steps: the losses, and the learning rate with its phases."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from slotlab.framework.figures.style import FAINT, TRAIN, VALIDATION, new_curve, save, styled

FEWEST_SMOOTHED = 20
"""Fewer losses are not smoothed."""
SMOOTHED = 20
"""A loss is smoothed over this part of all: a twentieth."""
MOST_EPOCHS = 8
"""How many epochs are named."""
EPOCHS_APART = tuple(step * 10**power for power in range(7) for step in (1, 2, 5))
Lines = Sequence[Mapping[str, Any]]
"""Lines of a log."""


def draw_loss(log: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the training and the validation loss on a logarithmic axis, as `stem`.png and .pdf.

    Many training losses are drawn faintly, and their smoothed line over them. Phases are marked, and epochs
    stand above. `log` has the lines of the run's metrics.jsonl, in their order.
    """
    with styled():
        figure, axis = new_curve("step", "loss")
        for kind, color, marker in (("train", TRAIN, ""), ("validation", VALIDATION, "o")):
            points = [(line["step"], line["loss"]) for line in log if line["kind"] == kind]
            if points:
                dots = marker if len(points) > 1 else "o"  # a line through a single point would be invisible
                steps, values = zip(*points, strict=True)
                noisy = kind == "train" and len(points) >= FEWEST_SMOOTHED
                look = {"color": color, "marker": dots}
                if noisy:
                    axis.plot(steps, values, color=color, alpha=0.3, linewidth=0.8)
                    axis.plot(steps, smoothed(values), label="train, smoothed", **look)
                else:
                    axis.plot(steps, values, label=kind, **look)
        axis.set_yscale("log")
        axis.legend(handles=[line for line in axis.get_lines() if not line.get_label().startswith("_")])
        phases = _phases(log)
        _mark_phases(axis, phases)
        _name_phases(axis, phases)
        _add_epochs(axis, log, named=len(phases) > 1)
        save(figure, stem)


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the mean of each value with its neighbors, `1 / SMOOTHED` of all of them, fewer at the ends."""
    reach = max(1, len(values) // (2 * SMOOTHED))
    windows = (values[max(0, at - reach) : at + reach + 1] for at in range(len(values)))
    return [sum(some) / len(some) for some in windows]


def draw_learning_rate(log: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the learning rate, one curve per phase; dotted lines connect the phases. Epochs stand above."""
    with styled():
        figure, axis = new_curve("step", "learning rate")
        phases = _phases(log)
        for number, phase in enumerate(phases):
            steps, rates = [line["step"] for line in phase], [line["lr"] for line in phase]
            axis.plot(steps, rates, color=TRAIN, marker="" if len(phase) > 1 else "o")
            if number:
                last = phases[number - 1][-1]
                jump = [last["step"], steps[0]], [last["lr"], rates[0]]
                axis.plot(*jump, color=TRAIN, linestyle=":", linewidth=1)
        _mark_phases(axis, phases)
        axis.set_ylim(bottom=0)
        _name_phases(axis, phases)
        _add_epochs(axis, log, named=len(phases) > 1)
        save(figure, stem)


def _phases(log: Sequence[Mapping[str, Any]]) -> list[Lines]:
    """Return the training lines of each phase."""
    lines = [line for line in log if line["kind"] == "train"]
    return [list(group) for _, group in groupby(lines, key=lambda line: line["phase"])]


def _mark_phases(axis: Any, phases: Sequence[Lines]) -> None:
    """Draw a dashed line where each phase but the last ends."""
    for phase in phases[:-1]:
        axis.axvline(phase[-1]["step"], color=FAINT, linewidth=0.8, linestyle="--", zorder=0)


def _name_phases(axis: Any, phases: Sequence[Lines]) -> None:
    """Write the number of each phase above it, unless it is too narrow: less than a tenth of all steps."""
    if len(phases) < 2:
        return
    narrow = (phases[-1][-1]["step"] - phases[0][0]["step"]) / 10
    for phase in phases:
        first, last = phase[0]["step"], phase[-1]["step"]
        if last - first > narrow:
            words, where = f"phase {phase[0]['phase'] + 1}", ((first + last) / 2, 1.01)
            axis.text(*where, words, ha="center", color=FAINT, transform=axis.get_xaxis_transform())


def _add_epochs(axis: Any, log: Sequence[Mapping[str, Any]], *, named: bool) -> None:
    """Write epochs over the axis, each at the first step logged in it; `named` leaves room for phases."""
    starts: dict[int, int] = {}
    for line in log:
        if line["kind"] == "train" and "epoch" in line:
            starts.setdefault(line["epoch"], line["step"])
    every = next((size for size in EPOCHS_APART if len(starts) / size <= MOST_EPOCHS), EPOCHS_APART[-1])
    shown = {epoch: step for epoch, step in starts.items() if epoch % every == 0}
    if len(shown) < 2:
        return
    above = axis.secondary_xaxis(1.07 if named else 1.0)
    above.set_xticks(list(shown.values()), [str(epoch) for epoch in shown])
    above.set_xlabel("epoch")
