"""A run's weights evaluated under conditions: rows, summaries and figures in the run's folder.

RUN/evaluation/NAME/summary.json, images.csv, objects.csv and samples/, NAME being
DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS and what `places.py` adds; what they hold is in docs/evaluation.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slotlab.framework.composition.composer import Composer
from slotlab.framework.composition.evaluate import (
    NOTHING,
    CompositionResult,
    Report,
    evaluate_composition,
    silent,
)
from slotlab.framework.contracts import VOID, MaskSource, Metric, Outcome, PooledMetric
from slotlab.framework.evaluation.breakdown import breakdowns
from slotlab.framework.evaluation.conditions import Condition, own_condition
from slotlab.framework.evaluation.evaluate import evaluate_masks
from slotlab.framework.evaluation.places import Place, Places, binding
from slotlab.framework.evaluation.published import comparable
from slotlab.framework.evaluation.rows import Evaluation, as_csv
from slotlab.framework.evaluation.trained_run import Ready, Subject
from slotlab.framework.figures.evaluation import Evaluated, draw_evaluation
from slotlab.framework.figures.png import to_png
from slotlab.framework.figures.samples import INDEX
from slotlab.framework.runs.folder import (
    IMAGES,
    MODEL,
    SAMPLES,
    SUMMARY,
    SUMMARY_FORMAT,
    UNFINISHED,
    RunFolder,
)
from slotlab.framework.runs.measurement import LAST
from slotlab.framework.spec.identity import canonical, definition, run_id
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.atomic import is_content, replaced_together, write_atomically
from slotlab.framework.system.json_files import to_json
from slotlab.framework.system.privacy import nameless_data
from slotlab.registry import Ref, SlotlabError

Summary = dict[str, Any]


def run_evaluation(
    run: RunFolder,
    loaded: LoadedSpec,
    *,
    device: torch.device,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Evaluate a run's weights as its spec says; see `run_evaluations`."""
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=device, report=report)
    return summary


def run_evaluations(
    run: RunFolder,
    loaded: LoadedSpec,
    wanted: Sequence[Condition],
    *,
    device: torch.device,
    figures: bool = True,
    masks: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
    composing: Report = silent,
    warn: Callable[[str], None] = lambda text: None,
) -> list[Summary]:
    """Evaluate a run's weights under conditions; write rows, summaries, samples and figures.

    Everything is opened before anything is measured. In several processes each measures its share of the
    images; the first one writes. `masks` says whether to write the masks too, as gray PNGs of labels into
    `masks/true` and `masks/predicted`, which `slotlab score` and other programs read.
    `composing` is told how far composed pictures are, if the spec declares some; `warn` what is odd about
    the data, in sentences.

    Returns:
        The summaries as written, one for each condition and source of masks, with `figures_left_out`. None of
        them replaces another: what was measured otherwise lies beside it.

    Raises:
        SlotlabError: if there are no weights, they do not fit, or data is not there.
    """
    subject = Subject.open(run, loaded, device)
    if subject.engine.is_first:
        run.clear_leavings()
    if loaded.replaced and subject.engine.is_first:
        run.note_replaced(loaded.replaced)
    ready = [subject.ready(condition) for condition in wanted]
    for text in dict.fromkeys(text for one in ready for text in one.loader.selection.notes):
        warn(text)
    totals = [one.images for one in ready]
    told = [{source: facts(subject, one, source) for source in one.condition.sources} for one in ready]
    places = Places.of(run, loaded)
    # Before anything is measured, and by the first process for all: masks are written on the way.
    taken = subject.engine.from_first(
        [
            places.take(one.condition, each, len(one.loader.dataset))
            for one, each in zip(ready, told, strict=True)
        ]
    )
    summaries: list[Summary] = []
    for number, (one, place) in enumerate(zip(ready, taken, strict=True)):

        def reached(done: int, total: int, before: int = sum(totals[:number])) -> None:
            # This process has a share of the images.
            report(before + min(done * subject.engine.processes, total), sum(totals))

        spec, condition, engine = one.condition.spec, one.condition, one.engine
        found = evaluate_masks(
            spec,
            one.model,
            one.loader,
            one.metrics,
            condition.sources,
            gather=engine.gather,
            report=reached,
            keep=partial(write_masks, run, place) if masks else nothing,
        )
        composed = compose(subject, one, composing) if engine.is_first else NOTHING
        for source, evaluation in found.items():
            heading = {
                **told[number][source],
                "evaluation": place.name(source),
                "changes": places.changes(spec, len(one.loader.dataset)),
            }
            summary = with_composition(summarize_run(one, heading, evaluation), composed)
            if engine.is_first:
                places.clear(place, source, summary, masks=masks)
                left_out = write(subject, one, place, source, evaluation, summary, figures=figures)
                summary = {**summary, "figures_left_out": left_out}
            summaries.append(summary)
    return summaries


def otherwise(place: Place, summary: Summary) -> str:
    """Say what of an evaluation its name does not tell, for titles; empty if there is nothing."""
    words = [f"{path} {'none' if value is None else value}" for path, value in summary["changes"].items()]
    words += [f"checkpoint {summary['checkpoint']} (step {summary['step']})"] * (
        summary["checkpoint"] != LAST
    )
    words += [f"evaluation {place.mark}"] * bool(place.mark)
    return ", ".join(words)


def nothing(source: MaskSource, ids: Sequence[str], outcome: Outcome) -> None:
    """Keep no masks."""


def write_masks(
    run: RunFolder, place: Place, source: MaskSource, ids: Sequence[str], outcome: Outcome
) -> None:
    """Write true and predicted labels, a gray PNG for each image.

    Raises:
        SlotlabError: for an image whose id is no name of a file inside the folder.
    """
    folder = run.evaluation(place.name(source)) / "masks"
    for kind, labels_BHW in (("true", outcome.true_BHW), ("predicted", outcome.predicted_BHW)):
        if labels_BHW is None:
            continue
        for name, labels_HW in zip(ids, labels_BHW, strict=True):
            write_atomically(
                inside(folder / kind, f"{name}.png"), to_png(gray_labels(labels_HW.cpu().numpy()))
            )


WRITTEN_VOID = 255
"""What void is in a mask that was written, as in the masks of others: `slotlab score --void 255`."""


def gray_labels(labels_HW: NDArray[np.int64]) -> NDArray[np.integer]:
    """Return labels as a gray picture, of 16 bits where 8 do not hold them.

    Void becomes 255; in a mask with void, labels from 255 on become greater by one.
    """
    if (labels_HW == VOID).any():
        labels_HW = np.where(labels_HW >= WRITTEN_VOID, labels_HW + 1, labels_HW)
        labels_HW = np.where(labels_HW == VOID, WRITTEN_VOID, labels_HW)
    return labels_HW.astype(np.uint8 if labels_HW.max() < 256 else np.uint16)


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        SlotlabError: if it would lie elsewhere.
    """
    path = folder / name
    if ".." in path.parts or not path.is_relative_to(folder) or "\0" in name:
        raise SlotlabError(
            f"masks cannot be saved: the image's id is {name.removesuffix('.png')!r}, no name of a file"
        )
    return path


def facts(subject: Subject, ready: Ready, source: MaskSource) -> Summary:
    """Return what a summary tells of an evaluation before it is made: what is measured, and by what."""
    spec, asked = ready.condition.spec, ready.condition.spec.evaluation
    return {
        "format": SUMMARY_FORMAT,
        "run": subject.run.path.resolve().name,
        "run_id": run_id_of(subject),
        "replaced_plugins": dict(subject.loaded.replaced),
        **conditions_of(spec),
        "data": dict(ready.loader.selection.facts),
        "images": ready.images,
        "max_images": binding(asked.max_images, len(ready.loader.dataset)),
        "image_size": spec.data.image_size,
        "value_range": spec.data.range_name,
        "mask_source": source,
        "slots": asked.slots or spec.model.slots,
        "checkpoint": asked.checkpoint,
        "step": subject.weights.step,
        "metrics": facts_of(asked.metrics),
        "baselines": list(asked.baselines),
        "cautions": cautions_of(ready),
        "composition": None if asked.composition is None else canonical(asked.composition),
    }


def cautions_of(ready: Ready) -> list[str]:
    """Say what keeps the pictures from being the whole split, for who reads published numbers beside."""
    there = len(ready.loader.dataset)
    part = f"measured on the first {ready.images} of {there} images (evaluation.max_images)"
    return [
        *ready.loader.selection.notes,
        *ready.condition.warnings_of_data,
        *([part] if ready.images < there else []),
    ]


def summarize_run(ready: Ready, heading: Summary, evaluation: Evaluation) -> Summary:
    """Return what summary.json holds."""
    spec = ready.condition.spec
    return {
        **heading,
        **results(evaluation, ready.metrics, facts_of(spec.evaluation.metrics), spec.data.settings),
        "set_metrics": {},
        "published": [reference.model_dump(mode="json") for reference in comparable(spec.data)],
    }


def run_id_of(subject: Subject) -> str:
    """Return the identity of the run; plugins that took the place of its own are no part of it."""
    known = subject.run.read_provenance().get("run_id") if subject.loaded.replaced else None
    return known or run_id(subject.loaded.spec)


def compose(subject: Subject, ready: Ready, report: Report) -> CompositionResult:
    """Make and measure the pictures that a condition's spec declares; one process does it for all."""
    composer = Composer(
        ready.condition.loaded, ready.engine, ready.model, subject.weights.step, run=subject.run
    )
    return evaluate_composition(composer, report)


def with_composition(summary: Summary, composed: CompositionResult) -> Summary:
    """Return a summary with set metrics, and with the reasons for those that are left out."""
    left_out = {**summary["left_out"], **composed.left_out}
    return {**summary, "left_out": left_out, "set_metrics": dict(composed.set_metrics)}


def conditions_of(spec: ExperimentSpec) -> dict[str, Any]:
    """Return what was evaluated: data, split, protocol and filter."""
    return {
        "dataset": spec.data.dataset.name,
        "variant": getattr(spec.data.dataset.config, "variant", None),
        "split": spec.evaluation.split,
        "protocol": spec.data.protocol_name,
        "filter": None if spec.data.filter is None else str(spec.data.filter),
    }


def facts_of(metrics: Iterable[Ref]) -> dict[str, dict[str, Any]]:
    """Return the definition of each metric, by name."""
    return {ref.name: definition(ref) for ref in metrics}


def results(
    evaluation: Evaluation,
    metrics: Mapping[str, Metric],
    facts: Mapping[str, Mapping[str, Any]],
    protocol: ProtocolConfig | None,
) -> dict[str, Any]:
    """Return the numbers of an evaluation, and what is needed to read them."""
    return {
        "aggregation": "images" if protocol is None else protocol.evaluation.aggregation,
        "metrics": {name: {**facts[name], **reading(metric)} for name, metric in metrics.items()},
        "left_out": dict(evaluation.left_out),
        "methods": evaluation.summary(metrics),
        "breakdowns": breakdowns(evaluation.rows[MODEL], evaluation.objects, metrics),
    }


def reading(metric: Metric) -> dict[str, Any]:
    """Return how to read a metric; a bound that is not finite is None."""
    return {
        "higher_is_better": metric.higher_is_better,
        "bounds": [None if abs(bound) == float("inf") else bound for bound in metric.bounds],
        "aggregation": "objects" if isinstance(metric, PooledMetric) else "images",
    }


def write(
    subject: Subject,
    ready: Ready,
    place: Place,
    source: MaskSource,
    evaluation: Evaluation,
    summary: Summary,
    *,
    figures: bool,
) -> dict[str, str]:
    """Write an evaluation's files; return the figures that were left out, and why.

    A summary that is there says that the files beside it are of the same call; it holds `unfinished` until
    its figures are drawn.
    """
    condition = ready.condition
    name = place.name(source)
    folder = subject.run.evaluation(name)
    shared = nameless_data(summary)
    objects = as_csv(evaluation.objects).encode() if evaluation.objects else None
    tables = {IMAGES: evaluation.to_csv().encode(), "objects.csv": objects}
    finished = to_json(shared)
    unfinished = to_json({**shared, UNFINISHED: "its figures are being drawn"})
    stale: dict[str, bytes | None] = {}
    if figures or not is_content(folder / SUMMARY, finished):  # samples are of the numbers beside them
        stale = {f"{SAMPLES}/{INDEX}": None}
    files = {**stale, **tables, SUMMARY: unfinished if figures else finished}
    with replaced_together(folder, files, last=SUMMARY):
        pass
    if not figures:
        return {}
    shown = Evaluated(
        name=name,
        composed_name=place.composed if source == condition.sources[0] else None,
        otherwise=otherwise(place, summary),
        loaded=condition.of(source),
        engine=ready.engine,
        model=ready.model,
        step=subject.weights.step,
        loader=ready.loader,
        rows=evaluation.rows[MODEL],
        metrics=ready.metrics,
    )
    left_out = draw_evaluation(shown, figures=subject.run.figures, samples=folder / SAMPLES)
    write_atomically(folder / SUMMARY, finished)
    return left_out
