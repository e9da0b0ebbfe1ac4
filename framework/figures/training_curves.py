"""Curves of a training over its steps: the losses, and the learning rate with its phases."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from slotlab.framework.figures.style import FAINT, TRAIN, VALIDATION, new_curve, save, styled


def draw_loss(log: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the training and the validation loss on a logarithmic axis, as `stem`.png and .pdf.

    `log` has the lines of the run's metrics.jsonl, in their order.
    """
    with styled():
        figure, axis = new_curve("step", "loss")
        for kind, color, marker in (("train", TRAIN, ""), ("validation", VALIDATION, "o")):
            points = [(line["step"], line["loss"]) for line in log if line["kind"] == kind]
            if points:
                dots = marker if len(points) > 1 else "o"  # a line through a single point would be invisible
                axis.plot(*zip(*points, strict=True), color=color, marker=dots, label=kind)
        axis.set_yscale("log")
        axis.legend(handles=axis.get_lines())
        save(figure, stem)


def draw_learning_rate(log: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draw the learning rate, one curve per phase; dotted lines connect the phases."""
    with styled():
        figure, axis = new_curve("step", "learning rate")
        lines = [line for line in log if line["kind"] == "train"]
        phases = [list(group) for _, group in groupby(lines, key=lambda line: line["phase"])]
        for number, phase in enumerate(phases):
            steps, rates = [line["step"] for line in phase], [line["lr"] for line in phase]
            axis.plot(steps, rates, color=TRAIN, marker="" if len(phase) > 1 else "o")
            if number:
                last = phases[number - 1][-1]
                jump = [last["step"], steps[0]], [last["lr"], rates[0]]
                axis.plot(*jump, color=TRAIN, linestyle=":", linewidth=1)
                axis.axvline(last["step"], color=FAINT, linewidth=0.8, linestyle="--", zorder=0)
            if len(phases) > 1:
                name = f"phase {phase[0]['phase'] + 1}" if steps[-1] - steps[0] > _narrow(lines) else ""
                where = ((steps[0] + steps[-1]) / 2, 1.01)
                axis.text(*where, name, ha="center", color=FAINT, transform=axis.get_xaxis_transform())
        axis.set_ylim(bottom=0)
        save(figure, stem)


def _narrow(lines: Sequence[Mapping[str, Any]]) -> float:
    """Return the number of steps below which a phase is too narrow for its name: a tenth of all."""
    steps: float = lines[-1]["step"] - lines[0]["step"]
    return steps / 10
