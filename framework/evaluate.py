"""Evaluation: a model and a dataset to one row an image, and a summary of the rows.

Means are taken over images, never over batches, and each image has its own random
stream, so the batch size changes nothing.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import torch

from slotlab.framework.baselines import BASELINES
from slotlab.framework.breakdown import Row, object_rows
from slotlab.framework.contracts import Batch, MaskSource, Metric, Outcome, PooledMetric, missing
from slotlab.framework.data import Loader
from slotlab.framework.model import SlotModel, masks_at
from slotlab.framework.scoring.contingency import contingency
from slotlab.framework.scoring.overlap import objects_there
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.streams import streams
from slotlab.registry import SlotlabError

MODEL = "model"
"""The method that stands for the trained model, beside the names of baselines."""
WORDS = {
    "true_BHW": "the data has no masks",
    "predicted_BHW": "the model has no masks from the chosen source",
    "masks_BKHW": "the model has no masks from the chosen source",
    "reconstructions_BCHW": "the prediction is no image",
}
"""Why a metric is left out, by what it lacks."""


@dataclass(frozen=True)
class Evaluation:
    """Rows of each method (the model, then the baselines) over the same images."""

    rows: Mapping[str, Sequence[Row]]
    left_out: Mapping[str, str]
    """Metrics without a value for the model, and why."""
    objects: Sequence[Row] = ()
    """One row for each true object that is seen, and how well the model found it."""

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
        return as_csv([{"method": method, **row} for method, rows in self.rows.items() for row in rows])


def as_csv(rows: Sequence[Row]) -> str:
    """Return rows as CSV text; columns are all that any row has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
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


@dataclass
class Ledger:
    """Rows as they are measured, in any order and by several processes, brought together at the end."""

    metrics: Mapping[str, Metric]
    rows: dict[str, list[tuple[int, Row]]] = field(default_factory=dict)
    detailed: bool = True
    """Whether objects are told apart, for `Evaluation.objects`."""
    words: Mapping[str, str] = field(default_factory=lambda: WORDS)
    """Why a metric is left out, by what it lacks."""
    objects: list[tuple[int, list[Row]]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, method: str, positions: Sequence[int], ids: Sequence[str], outcome: Outcome) -> None:
        """Measure an outcome; `positions` are those of its images among all."""
        rows = rows_of(outcome, ids, self.metrics)
        self.rows.setdefault(method, []).extend(zip(positions, rows, strict=True))
        if method == MODEL:
            self.left_out |= reasons(outcome, self.metrics, self.words)
            if self.detailed:
                self.objects += zip(positions, object_rows(outcome, ids), strict=True)

    def close(self, gather: Callable[[list[Any]], list[Any]] = list) -> Evaluation:
        """Return every image once, in the order of positions, whoever measured it."""
        rows = {method: in_order(gather(found)) for method, found in self.rows.items()}
        objects = [row for image in in_order(gather(self.objects)) for row in image]
        return Evaluation(rows, self.left_out, objects)


def in_order(placed: Iterable[tuple[int, Any]]) -> list[Any]:
    """Return values by their positions."""
    return [value for _, value in sorted(placed, key=itemgetter(0))]


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
    """Measure the masks that the spec names, as `evaluate_masks` but for single objects."""
    source = spec.evaluation.mask_source
    found = evaluate_masks(
        spec,
        model,
        loader,
        metrics,
        (source,),
        baselines=baselines,
        detailed=False,
        gather=gather,
        report=report,
    )
    return found[source]


def evaluate_masks(
    spec: ExperimentSpec,
    model: SlotModel,
    loader: Loader,
    metrics: Mapping[str, Metric],
    sources: Sequence[MaskSource],
    *,
    baselines: Sequence[str] | None = None,
    detailed: bool = True,
    gather: Callable[[list[Any]], list[Any]] = list,
    report: Callable[[int, int], None] = lambda done, total: None,
    keep: Callable[[MaskSource, Sequence[str], Outcome], None] = lambda source, ids, outcome: None,
) -> dict[MaskSource, Evaluation]:
    """Measure the masks of a model from each source, and baselines, on the same images in one pass.

    Args:
        spec: what to measure, and on how many images.
        model: on the loader's device.
        loader: the evaluation split, in the dataset's own order.
        metrics: by name.
        sources: of masks.
        baselines: measured beside the model; None for the spec's.
        detailed: whether to give `Evaluation.objects`.
        gather: brings the lists of several processes together, where each has its share.
        report: called with (images done, images in all).
        keep: given the images' ids and what the model made of them, each time and in each process.
    """
    compared = spec.evaluation.baselines if baselines is None else baselines
    # Every process has the same methods in the same order, also one without a share of few images.
    ledgers = {source: Ledger(metrics, {MODEL: []}, detailed) for source in sources}
    trivial = Ledger(metrics, {name: [] for name in compared})
    total, done = loader.count(spec.evaluation.max_images), 0
    for positions, batch in loader.share(range(total)):
        outcomes = model_outcomes(spec, model, batch, sources, positions=positions)
        for source, outcome in outcomes.items():
            ledgers[source].add(MODEL, positions, batch.ids, outcome)
            keep(source, batch.ids, outcome)
        for name in compared:
            trivial.add(name, positions, batch.ids, baseline_outcome(name, spec, batch))
        done += len(positions)
        report(done, total)
    beside = trivial.close(gather).rows
    found = {source: ledger.close(gather) for source, ledger in ledgers.items()}
    return {source: replace(one, rows={**one.rows, **beside}) for source, one in found.items()}


def model_outcome(
    spec: ExperimentSpec, model: SlotModel, batch: Batch, *, positions: Iterable[int]
) -> Outcome:
    """Run the model, as `model_outcomes`, for the masks that the spec names."""
    source = spec.evaluation.mask_source
    return model_outcomes(spec, model, batch, (source,), positions=positions)[source]


@torch.no_grad()
def model_outcomes(
    spec: ExperimentSpec,
    model: SlotModel,
    batch: Batch,
    sources: Sequence[MaskSource],
    *,
    positions: Iterable[int],
) -> dict[MaskSource, Outcome]:
    """Run the model in evaluation mode; image `positions[i]` of the split draws from its own stream."""
    model.eval()
    noise = streams(spec.seed, positions, batch.images_BCHW.device)
    output = model(batch.images_BCHW, num_slots=spec.evaluation.slots, generator=noise)
    size = (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3])
    reconstructions_BCHW = model.objective.to_image(output.decoded.prediction_BCHW)
    outcomes: dict[MaskSource, Outcome] = {}
    for source in sources:
        masks_BKHW = masks_at(output, source, size)
        outcomes[source] = Outcome(
            images_BCHW=batch.images_BCHW,
            true_BHW=batch.masks_BHW,
            predicted_BHW=None if masks_BKHW is None else masks_BKHW.argmax(dim=1),
            reconstructions_BCHW=reconstructions_BCHW,
            masks_BKHW=masks_BKHW,
            attributes=batch.attributes,
        )
    return outcomes


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


def reasons(
    outcome: Outcome, metrics: Mapping[str, Metric], words: Mapping[str, str] = WORDS
) -> dict[str, str]:
    """Say which metrics have no value for an outcome, and what they lack."""
    lacking = {name: missing(outcome, metric.needs) for name, metric in metrics.items()}
    return {name: words.get(fields[0], fields[0]) for name, fields in lacking.items() if fields}


def rows_of(outcome: Outcome, ids: Sequence[str], metrics: Mapping[str, Metric]) -> list[Row]:
    """Return one row an image: its id, its number of objects and each metric that applies."""
    columns: dict[str, Sequence[Any]] = {"id": ids}
    if outcome.true_BHW is not None:
        columns["objects"] = count_objects(outcome)
    for name, metric in metrics.items():
        if not missing(outcome, metric.needs):
            columns[name] = numbers(name, metric(outcome), len(ids))
            if isinstance(metric, PooledMetric):
                columns[weight_column(name)] = numbers(name, metric.weights(outcome), len(ids))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def numbers(name: str, found: Any, images: int) -> list[float]:
    """Return what a metric gave, one number an image.

    Raises:
        SlotlabError: if it gave something else.
    """
    what = f"a {type(found).__name__}"
    if isinstance(found, torch.Tensor):
        if found.shape == (images,):
            values: list[float] = found.tolist()
            return values
        what = f"one of shape {tuple(found.shape)}"
    raise SlotlabError(
        f"metric '{name}': it must give a float64 tensor of shape ({images},), and gave {what}"
    )


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
