"""Evaluation: a model, or a baseline, and a dataset to one row an image (`ledger.py`).

Each image has its own random stream, so the batch size changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from slotlab.framework.baselines import BASELINES
from slotlab.framework.contracts import Batch, MaskSource, Metric, Outcome
from slotlab.framework.data import Loader
from slotlab.framework.ledger import Evaluation, Ledger
from slotlab.framework.model import SlotModel, masks_at
from slotlab.framework.run import MODEL
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.streams import streams


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
