"""What `summary.json` of an evaluation holds: what was measured and by what, and the results.

`docs/reference/evaluation.md` describes the file.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from slotlab.framework.composition.evaluate import CompositionResult
from slotlab.framework.contracts import MaskSource, Metric, PooledMetric
from slotlab.framework.contracts.dataset_settings import variant_of
from slotlab.framework.evaluation.breakdown import breakdowns
from slotlab.framework.evaluation.evaluate import baselines_of
from slotlab.framework.evaluation.published import comparable
from slotlab.framework.evaluation.result_folders import binding
from slotlab.framework.evaluation.rows import Evaluation
from slotlab.framework.evaluation.trained_run import Ready, Subject
from slotlab.framework.model.cues import cue_cautions
from slotlab.framework.runs.folder import AVAILABLE, MODEL, SUMMARY_FORMAT
from slotlab.framework.runs.measurement import measured_things
from slotlab.framework.spec.identity import canonical, definition, run_id
from slotlab.framework.spec.protocol import ProtocolConfig
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Ref


def facts(subject: Subject, ready: Ready, source: MaskSource) -> dict[str, Any]:
    """Return what is known before anything is measured: the data, the settings, the checkpoint."""
    spec, evaluation = ready.condition.spec, ready.condition.spec.evaluation
    return {
        "format": SUMMARY_FORMAT,
        "run": subject.run.path.resolve().name,
        "run_id": run_id_of(subject),
        "replaced_plugins": dict(subject.loaded.replaced),
        **conditions_of(spec),
        "data": dict(ready.loader.selection.facts),
        "images": ready.images,
        AVAILABLE: ready.loader.total,
        "max_images": binding(evaluation.max_images, ready.loader.total),
        "image_size": spec.data.settings.image_size,
        "mask_size": spec.data.settings.mask_size,
        "value_range": spec.data.range_name,
        "mask_source": source,
        "slots": spec.evaluated_slots,
        "sampling": ready.model.sampling,
        **({} if spec.data.clip is None else {"clip": clip_of(spec)}),
        **({} if ready.model.told is None else {"told": ready.model.told}),
        "checkpoint": evaluation.checkpoint,
        "step": subject.weights.step,
        "metrics": facts_of(evaluation.metrics),
        "baselines": [*evaluation.baselines, *baselines_of(ready.model)],
        "cautions": cautions_of(ready),
        "composition": None if evaluation.composition is None else canonical(evaluation.composition),
    }


def summarize_run(
    ready: Ready, heading: Mapping[str, Any], evaluation: Evaluation, composed: CompositionResult
) -> dict[str, Any]:
    """Return the whole summary; `heading` holds the facts, the evaluation's name and its changes."""
    spec = ready.condition.spec
    found = results(evaluation, ready.metrics, facts_of(spec.evaluation.metrics), spec.data.settings)
    return {
        **heading,
        **found,
        "set_metrics": dict(composed.set_metrics),
        "published": [reference.model_dump(mode="json") for reference in comparable(spec.data)],
        "left_out": {**found["left_out"], **composed.left_out},
    }


def results(
    evaluation: Evaluation,
    metrics: Mapping[str, Metric],
    facts: Mapping[str, Mapping[str, Any]],
    protocol: ProtocolConfig | None,
) -> dict[str, Any]:
    """Return the numbers of an evaluation, and what is needed to read them, as JSON-ready data."""
    return {
        "aggregation": "images" if protocol is None else protocol.evaluation.aggregation,
        "metrics": {name: {**facts[name], **reading(metric)} for name, metric in metrics.items()},
        "left_out": dict(evaluation.left_out),
        "methods": evaluation.summary(metrics),
        "breakdowns": breakdowns(
            evaluation.rows[MODEL], evaluation.objects, {name: one.bounds for name, one in metrics.items()}
        ),
        **({} if evaluation.codes is None else {"codes": evaluation.codes.facts}),
        **({"by_frame": evaluation.by_frame} if evaluation.by_frame else {}),
    }


def reading(metric: Metric) -> dict[str, Any]:
    """Return how to read a metric's values: direction, bounds (None if infinite), aggregation."""
    return {
        "higher_is_better": metric.higher_is_better,
        "bounds": [None if abs(bound) == float("inf") else bound for bound in metric.bounds],
        "aggregation": "objects" if isinstance(metric, PooledMetric) else "images",
    }


def facts_of(metrics: Iterable[Ref]) -> dict[str, dict[str, Any]]:
    """Return the definition of each metric, by name."""
    return {ref.name: definition(ref) for ref in metrics}


def conditions_of(spec: ExperimentSpec) -> dict[str, Any]:
    """Return what is evaluated: dataset, variant, split, protocol and filter."""
    return {
        "dataset": spec.data.dataset.name,
        "variant": variant_of(spec.data.dataset.config),
        "split": spec.evaluation.split,
        "protocol": spec.data.protocol_name,
        "filter": None if spec.data.filter is None else str(spec.data.filter),
    }


def clip_of(spec: ExperimentSpec) -> dict[str, Any]:
    """Return which parts of videos are measured: how many frames (None for all), and how far apart."""
    clip = spec.data.clip
    return {
        "frames": spec.evaluation.clip_frames,
        "stride": None if clip is None else clip.stride,
        "from": spec.evaluation.from_frame,
    }


def cautions_of(ready: Ready) -> list[str]:
    """Return what keeps the images from being the whole split, for readers of published numbers."""
    there = ready.loader.total
    spec = ready.condition.spec
    things = measured_things({} if spec.data.clip is None else {"clip": clip_of(spec)})
    part = f"measured on the first {ready.images} of {there} {things} (evaluation.max_images)"
    return [
        *ready.loader.selection.notes,
        *ready.condition.warnings_of_data,
        *cue_cautions(ready.model, spec, spec.evaluated_slots, ready.loader),
        *([part] if ready.images < there else []),
    ]


def run_id_of(subject: Subject) -> str:
    """Return the run's identity as trained; plugins that replace the run's own do not change it."""
    known = subject.run.read_provenance().get("run_id") if subject.loaded.replaced else None
    return known or run_id(subject.loaded.spec)
