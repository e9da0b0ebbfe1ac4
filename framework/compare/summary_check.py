"""Check that the means of a summary are those of images.csv beside it: a file may have been changed."""

import math
from collections.abc import Iterable, Sequence

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.results import LeftOut, MeasuredRun
from slotlab.framework.runs.folder import IMAGES, SUMMARY
from slotlab.registry import SlotlabError

PRINTED = 1e-6
"""Tolerance, relative to the largest value: rows may have been printed with fewer digits."""


def checked(
    members: Iterable[MeasuredRun], metrics: Sequence[str]
) -> tuple[list[MeasuredRun], list[LeftOut]]:
    """Return the runs whose means agree with their rows, and the others with the reasons."""
    whole, left_out = [], []
    for member in members:
        reason = contradiction(member.evaluation, metrics)
        if reason is None:
            whole.append(member)
        else:
            left_out.append(LeftOut(member.run.path, reason))
    return whole, left_out


def contradiction(evaluation: EvaluationRecord, metrics: Sequence[str]) -> str | None:
    """Say how a summary contradicts its rows; None if it does not, or if there are no rows."""
    path = evaluation.folder / IMAGES
    if not path.exists():
        return None
    try:
        rows = evaluation.rows()
        for name in metrics:
            if not rows or name not in rows[0]:
                continue
            value, (mean, scale) = evaluation.values.get(name), mean_of(rows, name)
            same = mean is value if mean is None or value is None else abs(mean - value) <= PRINTED * scale
            if not same:
                claimed, computed = ("undefined" if one is None else f"{one:.9g}" for one in (value, mean))
                what = f"the mean {name} is {claimed} according to {evaluation.folder / SUMMARY}"
                return f"{what}, but {computed} according to the rows of {path}; evaluate the run again"
    except SlotlabError as error:
        return str(error)
    except ValueError as error:
        return f"{path}: {error}; evaluate the run again"
    return None


def mean_of(rows: Sequence[dict[str, str]], metric: str) -> tuple[float | None, float]:
    """Return the (weighted) mean of a metric over rows, and its largest absolute value."""
    weight = f"{metric}_weight"
    values = [float(row[metric] or "nan") for row in rows]
    weights = [float(row[weight] or "nan") for row in rows] if weight in rows[0] else [1.0] * len(rows)
    pairs = [(v, w) for v, w in zip(values, weights, strict=True) if math.isfinite(v) and w > 0]
    if not pairs:
        return None, 0.0
    mean = math.fsum(v * w for v, w in pairs) / math.fsum(w for _, w in pairs)
    return mean, max(abs(value) for value, _ in pairs)
