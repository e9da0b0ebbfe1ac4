"""Evaluation: a model and a dataset to one row an image, and a summary of the rows.

Means are taken over images, never over batches, and each image has its own random
stream, so the batch size changes nothing.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch

from slotlab.framework.baselines import BASELINES
from slotlab.framework.contracts import Batch, Metric, Outcome, PooledMetric, missing
from slotlab.framework.data import Loader
from slotlab.framework.model import SlotModel, masks_at
from slotlab.framework.scoring.contingency import contingency
from slotlab.framework.scoring.overlap import objects_there
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.streams import streams

MODEL = "model"
"""The method that stands for the trained model, beside the names of baselines."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """Rows of each method (the model, then the baselines) over the same images."""

    rows: Mapping[str, Sequence[Row]]
    left_out: Mapping[str, str]
    """Metrics without a value for the model, and why."""

    def summary(self, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """Return, for each method and metric, statistics over the images.

        The mean of a metric that is pooled over objects is the mean over objects.
        """
        return {
            method: {name: summarize(*column(rows, name)) for name in metrics if name in rows[0]}
            for method, rows in self.rows.items()
        }

    def to_csv(self) -> str:
        """Return one line for each method and image."""
        every = [{"method": method, **row} for method, rows in self.rows.items() for row in rows]
        columns = list(dict.fromkeys(key for row in every for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)
        return text.getvalue()


def column(rows: Sequence[Row], metric: str) -> tuple[list[float], list[float] | None]:
    """Return a metric's values, and their weights if it is pooled over objects."""
    weight = weight_column(metric)
    weights = [row[weight] for row in rows] if weight in rows[0] else None
    return [row[metric] for row in rows], weights


def weight_column(metric: str) -> str:
    """Name the column that holds the weights of a metric pooled over objects."""
    return f"{metric}_weight"


def summarize(
    values: Sequence[float], weights: Sequence[float] | None = None
) -> dict[str, float | int | None]:
    """Return mean, deviation (n-1), median, range and counts.

    Values that are not finite or weigh nothing are left out and counted as undefined. `weights`
    weigh the mean; the other statistics are over images. Sums are exact before they are rounded
    (`math.fsum`), so that the order of the images changes nothing.
    """
    counted = [1.0] * len(values) if weights is None else weights
    every = zip(values, counted, strict=True)
    pairs = [(value, weight) for value, weight in every if math.isfinite(value) and weight > 0]
    defined = [value for value, _ in pairs]
    if not defined:
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
        "mean": math.fsum(w * v for v, w in pairs) / math.fsum(w for _, w in pairs),
        "std": statistics.stdev(defined) if len(defined) > 1 else None,
        "median": statistics.median(defined),
        "min": min(defined),
        "max": max(defined),
        "count": len(defined),
        "undefined": len(values) - len(defined),
    }


def evaluate(
    spec: ExperimentSpec,
    model: SlotModel,
    loader: Loader,
    metrics: Mapping[str, Metric],
    *,
    baselines: Sequence[str] | None = None,
    gather: Callable[[list[Any]], list[Any]] = list,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure the model and the spec's baselines on the same images.

    Args:
        spec: what to measure, and on how many images.
        model: on the loader's device.
        loader: the evaluation split, in the dataset's own order.
        metrics: by name.
        baselines: measured beside the model; None for the spec's.
        gather: brings the lists of several processes together, where each has its share.
        report: called with (images done, images in all).
    """
    compared = spec.evaluation.baselines if baselines is None else baselines
    rows: dict[str, list[tuple[int, Row]]] = {name: [] for name in (MODEL, *compared)}
    left_out: dict[str, str] = {}
    total = loader.count(spec.evaluation.max_images)
    done = 0
    for positions, batch in loader.share(range(total)):
        outcome = model_outcome(spec, model, batch, positions=positions)
        left_out |= reasons(outcome, metrics)
        rows[MODEL] += zip(positions, rows_of(outcome, batch, metrics), strict=True)
        for name in compared:
            found = rows_of(baseline_outcome(name, spec, batch), batch, metrics)
            rows[name] += zip(positions, found, strict=True)
        done += len(positions)
        report(done, total)
    # Every image has one row, in the order of the split, whoever measured it.
    ordered = {name: sorted(gather(found), key=itemgetter(0)) for name, found in rows.items()}
    return Evaluation({name: [row for _, row in found] for name, found in ordered.items()}, left_out)


@torch.no_grad()
def model_outcome(
    spec: ExperimentSpec, model: SlotModel, batch: Batch, *, positions: Iterable[int]
) -> Outcome:
    """Run the model in evaluation mode; image `positions[i]` of the split draws from its own stream."""
    model.eval()
    noise = streams(spec.seed, positions, batch.images_BCHW.device)
    output = model(batch.images_BCHW, num_slots=spec.evaluation.slots, generator=noise)
    size = (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3])
    masks_BKHW = masks_at(output, spec.evaluation.mask_source, size)
    return Outcome(
        images_BCHW=batch.images_BCHW,
        true_BHW=batch.masks_BHW,
        predicted_BHW=None if masks_BKHW is None else masks_BKHW.argmax(dim=1),
        reconstructions_BCHW=model.objective.to_image(output.decoded.prediction_BCHW),
        masks_BKHW=masks_BKHW,
        attributes=batch.attributes,
    )


def baseline_outcome(name: str, spec: ExperimentSpec, batch: Batch) -> Outcome:
    """Segment the batch by a baseline, with as many segments as the model has slots."""
    segments = spec.evaluation.slots or spec.model.slots
    predicted_BHW = BASELINES[name](batch.images_BCHW, segments)
    return Outcome(
        images_BCHW=batch.images_BCHW,
        true_BHW=batch.masks_BHW,
        predicted_BHW=predicted_BHW,
        attributes=batch.attributes,
    )


def reasons(outcome: Outcome, metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Say which metrics have no value for an outcome, and what they lack."""
    words = {
        "true_BHW": "the data has no masks",
        "predicted_BHW": "the model has no masks from the chosen source",
        "masks_BKHW": "the model has no masks from the chosen source",
        "reconstructions_BCHW": "the prediction is no image",
    }
    lacking = {name: missing(outcome, metric.needs) for name, metric in metrics.items()}
    return {name: words.get(fields[0], fields[0]) for name, fields in lacking.items() if fields}


def rows_of(outcome: Outcome, batch: Batch, metrics: Mapping[str, Metric]) -> list[Row]:
    """Return one row an image: its id, its number of objects and each metric that applies."""
    columns: dict[str, Sequence[Any]] = {"id": batch.ids}
    if outcome.true_BHW is not None:
        columns["objects"] = count_objects(outcome)
    for name, metric in metrics.items():
        if not missing(outcome, metric.needs):
            columns[name] = metric(outcome).tolist()
            if isinstance(metric, PooledMetric):
                columns[weight_column(name)] = metric.weights(outcome).tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def count_objects(outcome: Outcome) -> list[int]:
    """Count the distinct labels other than the background's 0 in each image's truth."""
    assert outcome.true_BHW is not None
    if outcome.predicted_BHW is None:
        counts_BTP = contingency(outcome.true_BHW, torch.zeros_like(outcome.true_BHW))
    else:
        counts_BTP = outcome.counts_BTP  # the metrics need it anyway
    return [int(count) for count in objects_there(counts_BTP).tolist()]


def ranked(rows: Sequence[Row], metric: str, *, higher_is_better: bool) -> list[int]:
    """Return the positions of the rows from best to worst; undefined values are left out."""
    defined = [i for i, row in enumerate(rows) if not math.isnan(row[metric])]
    return sorted(defined, key=lambda i: rows[i][metric], reverse=higher_is_better)
