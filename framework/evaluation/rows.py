"""Rows of an evaluation, one per image, and their statistics: means over images, never over batches."""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from operator import itemgetter
from typing import Any

import torch

from slotlab.framework.arithmetic.contingency import contingency
from slotlab.framework.arithmetic.overlap import objects_there
from slotlab.framework.arithmetic.t_interval import defined, weighted_mean
from slotlab.framework.contracts import Metric, Outcome, missing
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.metric_promises import Measured, measure
from slotlab.framework.contracts.trained_model import NO_IMAGE
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.evaluation.breakdown import ResultRow, object_rows
from slotlab.framework.evaluation.code_usage import CodeUsage
from slotlab.framework.runs.folder import MODEL

FrameValues = Mapping[str, Sequence[float]]
"""Of one clip, a value for each frame, by metric."""
WORDS = {
    "true_BHW": "the data has no masks",
    "predicted_BHW": "the model has no masks from the chosen source",
    "masks_BKHW": "the model has no masks from the chosen source",
    "reconstructions_BCHW": NO_IMAGE,
}
"""Why a metric is left out, by the missing field of `Outcome`."""


@dataclass(frozen=True)
class Evaluation:
    """The rows of each method (the model, then the baselines), over the same images."""

    rows: Mapping[str, Sequence[ResultRow]]
    left_out: Mapping[str, str]
    """Metrics without a value for the model, and why."""
    objects: Sequence[ResultRow] = ()
    """One row per visible true object, with the IoU at which the model found it."""
    codes: CodeUsage | None = None
    """How the model's codes are used, for a codec and a model that trains one."""
    by_frame: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)
    """Of clips, for each method and metric of images, the mean over clips at each frame; None without one."""

    def summary(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Return, for each method and metric, statistics over the images.

        The mean of a metric that is pooled over objects is the mean over objects.
        """
        return {
            method: {name: summarize(*column(rows, name)) for name in metrics if name in rows[0]}
            for method, rows in self.rows.items()
        }

    def to_csv(self) -> str:
        """Return CSV text, one line per method and image."""
        return as_csv([{"method": method, **row} for method, rows in self.rows.items() for row in rows])


def as_csv(rows: Sequence[ResultRow]) -> str:
    """Return rows as CSV text; the columns are those of any row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def column(rows: Sequence[ResultRow], metric: str) -> tuple[list[float], list[float] | None]:
    """Return a metric's values, and their weights if the metric is pooled over objects."""
    weight = weight_column(metric)
    weights = [row[weight] for row in rows] if weight in rows[0] else None
    return [row[metric] for row in rows], weights


def weight_column(metric: str) -> str:
    """Return the name of the column of weights of a metric that is pooled over objects."""
    return f"{metric}_weight"


def summarize(
    values: Sequence[float], weights: Sequence[float] | None = None
) -> dict[str, float | int | None]:
    """Return mean, standard deviation (n-1), median, range and counts.

    Values that are not finite or have weight 0 are left out and counted as undefined. `weights` apply to
    the mean; the other statistics are over images. The order of the images changes nothing.
    """
    pairs = defined(values, weights)
    finite = [value for value, _ in pairs]
    if not finite:
        return {
            "mean": None,
            "std": None,
            "median": None,
            "min": None,
            "max": None,
            "count": 0,
            "undefined": len(values),
        }
    return {
        "mean": weighted_mean(pairs),
        "std": statistics.stdev(finite) if len(finite) > 1 else None,
        "median": statistics.median(finite),
        "min": min(finite),
        "max": max(finite),
        "count": len(finite),
        "undefined": len(values) - len(finite),
    }


@dataclass
class Ledger:
    """Collects rows as they are measured, in any order and by several processes."""

    metrics: Mapping[str, Metric]
    rows: dict[str, list[tuple[int, tuple[ResultRow, FrameValues]]]] = field(default_factory=dict)
    """By method, for each position the row, and of a clip the values of its frames."""
    detailed: bool = True
    """Whether single objects are measured, for `Evaluation.objects`."""
    objects: list[tuple[int, list[ResultRow]]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    seen: Ids = field(default_factory=lambda: Ids("the evaluated data"))

    def add(
        self,
        method: str,
        positions: Sequence[int],
        ids: Sequence[str],
        outcome: Outcome,
        words: Mapping[str, str] = WORDS,
    ) -> None:
        """Measure the images of an outcome, which have these positions in the split.

        `words` say why a metric is left out, by the missing field of `Outcome`.

        Raises:
            SlotlabError: if a metric fails, or two images have one id.
        """
        self.seen.add(zip(positions, ids, strict=True))
        measured = measure_all(outcome, self.metrics)
        rows = zip(as_rows(outcome, ids, measured), frames_of(measured, len(ids)), strict=True)
        self.rows.setdefault(method, []).extend(zip(positions, rows, strict=True))
        if method == MODEL:
            self.left_out |= reasons(outcome, self.metrics, words)
            if self.detailed:
                self.objects += zip(positions, object_rows(outcome.joined, ids), strict=True)

    def close(self, gather: Callable[[list[Any]], list[Any]] = list) -> Evaluation:
        """Return the rows of all processes, every image once, in the order of positions.

        Raises:
            SlotlabError: if two images have one id.
        """
        placed = {method: gather(found) for method, found in self.rows.items()}
        for found in placed.values():
            self.seen.add((position, row["id"]) for position, (row, _) in found)
        ordered = {method: in_order(found) for method, found in placed.items()}
        rows = {method: [row for row, _ in found] for method, found in ordered.items()}
        clips = {method: [frames for _, frames in found if frames] for method, found in ordered.items()}
        by_frame = {method: mean_by_frame(found) for method, found in clips.items() if found}
        objects = [row for image in in_order(gather(self.objects)) for row in image]
        return Evaluation(rows, self.left_out, objects, by_frame=by_frame)


def in_order(placed: Iterable[tuple[int, Any]]) -> list[Any]:
    """Return the values in the order of their positions."""
    return [value for _, value in sorted(placed, key=itemgetter(0))]


def reasons(
    outcome: Outcome, metrics: Mapping[str, Metric], words: Mapping[str, str] = WORDS
) -> dict[str, str]:
    """Return the metrics that have no value for an outcome, and everything that each lacks."""
    lacking = {name: missing(outcome, metric.needs) for name, metric in metrics.items()}
    return {
        name: "; ".join(dict.fromkeys(words.get(field, field) for field in fields))
        for name, fields in lacking.items()
        if fields
    }


def measure_all(outcome: Outcome, metrics: Mapping[str, Metric]) -> dict[str, Measured]:
    """Return the values of each metric that applies, by name.

    Raises:
        SlotlabError: if a metric raises, or breaks its promise (`metric_promises.measure`).
    """
    found: dict[str, Measured] = {}
    for name, metric in metrics.items():
        if not missing(outcome, metric.needs):
            with called(f"metric '{name}'"):
                found[name] = measure(name, metric, outcome)
    return found


def rows_of(outcome: Outcome, ids: Sequence[str], metrics: Mapping[str, Metric]) -> list[ResultRow]:
    """Return one row per image, or clip: its id, its number of objects and each metric that applies.

    Raises:
        SlotlabError: if a metric raises, or breaks its promise (`metric_promises.measure`).
    """
    return as_rows(outcome, ids, measure_all(outcome, metrics))


def as_rows(outcome: Outcome, ids: Sequence[str], measured: Mapping[str, Measured]) -> list[ResultRow]:
    """Return the same of metrics that were measured."""
    columns: dict[str, Sequence[Any]] = {"id": ids}
    if outcome.true_BHW is not None:
        columns["objects"] = count_objects(outcome.joined)
    for name, one in measured.items():
        columns[name] = one.values
        if one.weights is not None:
            columns[weight_column(name)] = one.weights
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def frames_of(measured: Mapping[str, Measured], clips: int) -> list[FrameValues]:
    """Return, for each clip, the values of its frames by metric; empty for images."""
    known = {name: one.by_frame for name, one in measured.items() if one.by_frame is not None}
    return [{name: clips_of[clip] for name, clips_of in known.items()} for clip in range(clips)]


def mean_by_frame(clips: Sequence[FrameValues]) -> dict[str, list[float | None]]:
    """Return each metric's mean at each frame over the clips that have it there."""
    found: dict[str, list[float | None]] = {}
    for name in clips[0]:
        columns = zip_longest(*(clip[name] for clip in clips), fillvalue=math.nan)
        there = [[value for value in column if math.isfinite(value)] for column in columns]
        found[name] = [math.fsum(values) / len(values) if values else None for values in there]
    return found


def count_objects(outcome: Outcome) -> list[int]:
    """Count the distinct labels other than the background's 0 in each image's true mask."""
    assert outcome.true_BHW is not None
    if outcome.predicted_BHW is None:
        counts_BTP = contingency(outcome.true_BHW, torch.zeros_like(outcome.true_BHW))
    else:
        counts_BTP = outcome.counts_BTP  # the metrics need it anyway
    return [int(count) for count in objects_there(counts_BTP).tolist()]


def ranked(rows: Sequence[ResultRow], metric: str, *, higher_is_better: bool) -> list[int]:
    """Return the positions of the rows from best to worst; undefined values are left out."""
    known = [i for i, row in enumerate(rows) if not math.isnan(row[metric])]
    return sorted(known, key=lambda i: rows[i][metric], reverse=higher_is_better)
