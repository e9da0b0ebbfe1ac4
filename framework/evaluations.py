"""A run's weights evaluated under conditions: rows, summaries and figures in the run's folder.

RUN/evaluation/NAME/summary.json, images.csv, objects.csv and samples/, NAME being
DATASET[-VARIANT]-SPLIT-PROTOCOL-MASKS; what they hold is in docs/evaluation.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from slotlab.framework.atomic import write_atomically, write_json
from slotlab.framework.breakdown import breakdowns
from slotlab.framework.composition.composer import Composer
from slotlab.framework.composition.measuring import (
    NOTHING,
    CompositionResult,
    Report,
    evaluate_composition,
    silent,
)
from slotlab.framework.conditions import Condition, own_condition
from slotlab.framework.contracts import MaskSource, Metric, Outcome, PooledMetric
from slotlab.framework.evaluate import evaluate_masks
from slotlab.framework.figures.evaluation import Evaluated, draw_evaluation
from slotlab.framework.figures.png import to_png
from slotlab.framework.ledger import Evaluation, as_csv
from slotlab.framework.privacy import nameless_data
from slotlab.framework.protocol import ProtocolConfig
from slotlab.framework.published import comparable
from slotlab.framework.run import MODEL, SUMMARY_FORMAT, RunFolder
from slotlab.framework.spec.identity import definition, run_id
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.subject import Ready, Subject
from slotlab.registry import Ref

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
) -> list[Summary]:
    """Evaluate a run's weights under conditions; write rows, summaries, samples and figures.

    Everything is opened before anything is measured. In several processes each measures its share of the
    images; the first one writes. `masks` says whether to write the masks too, as gray PNGs of labels into
    `masks/true` and `masks/predicted`, which `slotlab score` and other programs read.
    `composing` is told how far composed pictures are, if the spec declares some.

    Returns:
        The summaries as written, one for each condition and source of masks, with `figures_left_out`.

    Raises:
        SlotlabError: if there are no weights, they do not fit, or data is not there.
    """
    subject = Subject.open(run, loaded, device)
    if loaded.replaced and subject.engine.is_first:
        run.note_replaced(loaded.replaced)
    ready = [subject.ready(condition) for condition in wanted]
    totals = [one.loader.count(one.condition.spec.evaluation.max_images) for one in ready]
    summaries: list[Summary] = []
    for place, one in enumerate(ready):

        def reached(done: int, total: int, before: int = sum(totals[:place])) -> None:
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
            keep=partial(write_masks, run, condition) if masks else nothing,
        )
        composed = compose(subject, one, composing) if engine.is_first else NOTHING
        for source, evaluation in found.items():
            summary = with_composition(summarize_run(subject, one, source, evaluation), composed)
            if engine.is_first:
                left_out = write(subject, one, source, evaluation, summary, figures=figures)
                summary = {**summary, "figures_left_out": left_out}
            summaries.append(summary)
    return summaries


def nothing(source: MaskSource, ids: Sequence[str], outcome: Outcome) -> None:
    """Keep no masks."""


def write_masks(
    run: RunFolder, condition: Condition, source: MaskSource, ids: Sequence[str], outcome: Outcome
) -> None:
    """Write true and predicted labels, a gray PNG for each image."""
    folder = run.evaluation(condition.name(source)) / "masks"
    for kind, labels_BHW in (("true", outcome.true_BHW), ("predicted", outcome.predicted_BHW)):
        if labels_BHW is None:
            continue
        for name, labels_HW in zip(ids, labels_BHW, strict=True):
            values_HW = labels_HW.cpu().numpy()
            picture_HW = values_HW.astype(np.uint8 if values_HW.max() < 256 else np.uint16)
            write_atomically(folder / kind / f"{name}.png", to_png(picture_HW))


def summarize_run(subject: Subject, ready: Ready, source: MaskSource, evaluation: Evaluation) -> Summary:
    """Return what summary.json holds."""
    spec = ready.condition.spec
    return {
        "format": SUMMARY_FORMAT,
        "run": subject.run.path.resolve().name,
        "run_id": run_id_of(subject),
        "replaced_plugins": dict(subject.loaded.replaced),
        **conditions_of(spec),
        "data": dict(ready.loader.selection.facts),
        "images": len(evaluation.rows[MODEL]),
        "image_size": spec.data.image_size,
        "value_range": spec.data.range_name,
        "mask_source": source,
        "slots": spec.evaluation.slots or spec.model.slots,
        "step": subject.weights.step,
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
    source: MaskSource,
    evaluation: Evaluation,
    summary: Summary,
    *,
    figures: bool,
) -> dict[str, str]:
    """Write an evaluation's files; return the figures that were left out, and why."""
    condition = ready.condition
    name = condition.name(source)
    folder = subject.run.evaluation(name)
    write_atomically(folder / "images.csv", evaluation.to_csv().encode())
    if evaluation.objects:
        write_atomically(folder / "objects.csv", as_csv(evaluation.objects).encode())
    write_json(folder / "summary.json", nameless_data(summary))
    if not figures:
        return {}
    shown = Evaluated(
        name=name,
        composed_name=condition.base if source == condition.sources[0] else None,
        loaded=condition.of(source),
        engine=ready.engine,
        model=ready.model,
        step=subject.weights.step,
        loader=ready.loader,
        rows=evaluation.rows[MODEL],
        metrics=ready.metrics,
    )
    return draw_evaluation(shown, figures=subject.run.figures, samples=folder / "samples")
