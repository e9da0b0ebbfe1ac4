"""Whether the means of a summary are those of the rows beside it: one of the files may have been changed."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from slotlab.framework.compare.evaluations import EvaluationRecord
from slotlab.framework.compare.results import LeftOut, Member
from slotlab.framework.run import IMAGES, MODEL, SUMMARY

PRINTED = 1e-6
"""What numbers may differ by, as a part of the largest one: rows may have been printed with fewer digits."""


def checked(members: Iterable[Member], metrics: Sequence[str]) -> tuple[list[Member], list[LeftOut]]:
    """Return the runs whose means are those of their rows, and those that are left out, with the reason."""
    whole, left_out = [], []
    for member in members:
        reason = contradiction(member.evaluation, metrics)
        if reason is None:
            whole.append(member)
        else:
            left_out.append(LeftOut(member.run.path, reason))
    return whole, left_out


def contradiction(evaluation: EvaluationRecord, metrics: Sequence[str]) -> str | None:
    """Say how a summary and its rows contradict each other; None if they do not, or there are no rows."""
    path = evaluation.folder / IMAGES
    if not path.is_file():
        return None
    again = "evaluate the run again"
    try:
        rows = read_rows(path)
        told = evaluation.facts["images"]
        if len(rows) != told:
            return f"{path} has {len(rows)} images, and {SUMMARY} beside it tells of {told}; {again}"
        for name in metrics:
            value = evaluation.values.get(name)
            if value is None or not rows or name not in rows[0]:
                continue
            mean, scale = mean_of(rows, name)
            if mean is None or not abs(mean - value) <= PRINTED * scale:
                found = "none" if mean is None else f"{mean:.9g}"
                what = f"the mean {name} is {value:.9g} by {evaluation.folder / SUMMARY}"
                return f"{what}, and {found} by the rows of {path}; {again}"
    except (OSError, ValueError, csv.Error, LookupError, TypeError) as error:
        return f"{path} cannot be read as slotlab writes it ({type(error).__name__}); {again}"
    return None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the model's rows, one an image."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["method"] == MODEL]


def mean_of(rows: Sequence[dict[str, str]], metric: str) -> tuple[float | None, float]:
    """Return the mean of a metric over rows, weighted where it has weights, and the largest of its values."""
    weight = f"{metric}_weight"
    values = [float(row[metric] or "nan") for row in rows]
    weights = [float(row[weight] or "nan") for row in rows] if weight in rows[0] else [1.0] * len(rows)
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if math.isfinite(v) and w > 0]
    if not pairs:
        return None, 0.0
    mean = math.fsum(v * w for v, w in pairs) / math.fsum(w for _, w in pairs)
    return mean, max(abs(value) for value, _ in pairs)
