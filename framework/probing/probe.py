"""A probe: every head with every matching, on a model's slots and on floors, each fitted and tested alike."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from slotlab.framework.arithmetic.matching import match
from slotlab.framework.evaluation.breakdown import ResultRow
from slotlab.framework.evaluation.rows import weight_column
from slotlab.framework.probing.attributes import Attribute, Move, Targets, choose_attributes, targets_of
from slotlab.framework.probing.heads import Fitted, build_head, fit
from slotlab.framework.probing.images import ProbedImages
from slotlab.framework.probing.property_task import PropertyTask, measure
from slotlab.framework.probing.set_prediction import (
    THRESHOLDS,
    average_precision,
    detect,
    places_of,
    set_head,
    set_task,
)
from slotlab.framework.probing.settings import HeadKind, Matching, ProbeSettings
from slotlab.framework.randomness.seeds import mix
from slotlab.framework.runs.folder import MODEL
from slotlab.registry import SlotlabError

SHUFFLED, COLORS = "shuffled_slots", "mean_color"
"""The floors: slots of another image in place of an image's own; the mean color under each slot's mask."""
SET = "set_prediction"
_NO_MASKS = "the data has no masks of the objects, or the model none from the chosen source"
_VERSION = 1
"""Of the definition of all that is measured."""


@dataclass(frozen=True)
class Parts:
    """The images of a probe: those that heads are fitted on, those that stop it, and those of the test."""

    fit: ProbedImages
    validation: ProbedImages
    test: ProbedImages

    def __iter__(self) -> Iterator[ProbedImages]:
        return iter((self.fit, self.validation, self.test))

    def each(self, change: Callable[[ProbedImages], ProbedImages]) -> "Parts":
        """Return all parts changed."""
        return Parts(*map(change, self))


@dataclass
class ProbeResult:
    """What was measured."""

    attributes: Sequence[Attribute]
    attributes_left_out: Mapping[str, str]
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By metric, how to read it, and the attribute, head and matching that it is of."""
    rows: dict[str, list[ResultRow]] = field(default_factory=dict)
    """By method, one row for each image of the test."""
    precisions: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """By method, the average precision at each distance."""
    fits: list[dict[str, Any]] = field(default_factory=list)
    """Of each head: its method, how long it was fitted, and its loss."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Matchings, floors and more that could not be, and why."""


@dataclass(frozen=True)
class Probe:
    """The images of a probe with their targets."""

    parts: Parts
    settings: ProbeSettings
    attributes: Sequence[Attribute]
    targets: tuple[Targets, ...]
    partners: tuple[Tensor, ...] | None
    """By masks, for each part; None without masks."""


def run_probe(
    parts: Parts,
    settings: ProbeSettings,
    move: Move | str,
    report: Callable[[str], None] = lambda what: None,
) -> ProbeResult:
    """Fit and test all heads.

    Args:
        parts: the images.
        settings: of the probe.
        move: brings a place in a picture's file to the model's image; or the reason why none is known.
        report: called with a few words before each fit.

    Raises:
        SlotlabError: if images of the test were fitted on, and for what the data does not have.
    """
    refuse_shared(parts)
    fitted_on = [*parts.fit.objects, *parts.validation.objects]
    attributes, attributes_left_out = choose_attributes(fitted_on, settings, move)
    targets = tuple(targets_of(part.objects, part.there_NT, attributes, move) for part in parts)
    paired = (
        tuple(by_masks(part) for part in parts) if all(p.overlap_NTK is not None for p in parts) else None
    )
    probe = Probe(parts, settings, attributes, targets, paired)
    result = ProbeResult(attributes, attributes_left_out)
    result.left_out |= {f"matching {name}": why for name, why in missing(probe).items()}
    methods = dict(methods_of(probe, result))
    for method, chosen in methods.items():
        result.rows[method] = first_columns(parts.test)
        for matching in matchings(probe):
            for kind in settings.heads:
                report(f"{method}, {kind}, by {matching}")
                one_head(probe, chosen, result, method, matching, kind)
    if settings.set_prediction:
        predict_sets(probe, methods, result, report)
    return result


def refuse_shared(parts: Parts) -> None:
    """Refuse a test on images that heads were fitted on.

    Raises:
        SlotlabError: with the number of such images.
    """
    shared = {*parts.fit.ids, *parts.validation.ids} & set(parts.test.ids)
    if shared:
        text = f"heads would be fitted on {len(shared)} of the {len(parts.test)} images of the test"
        raise SlotlabError(f"{text} ({min(shared)}); choose other splits with --split or --fit-split")


def by_masks(part: ProbedImages) -> Tensor:
    """Return the slot of each object by the overlap of masks, int64 (N, T)."""
    assert part.overlap_NTK is not None
    return match(part.overlap_NTK, part.there_NT, part.kept_NK)


def missing(probe: Probe) -> dict[str, str]:
    """Return the matchings that cannot be.

    Raises:
        SlotlabError: if one of them was asked for.
    """
    if probe.partners is not None:
        return {}
    if "mask" in (probe.settings.matchings or ()):
        raise SlotlabError(f"objects and slots cannot be matched by masks: {_NO_MASKS}; match them by loss")
    return {"mask": _NO_MASKS} if probe.settings.matchings is None else {}


def matchings(probe: Probe) -> Sequence[Matching]:
    """Return the matchings of a probe."""
    every: tuple[Matching, ...] = ("mask", "loss") if probe.partners is not None else ("loss",)
    return every if probe.settings.matchings is None else probe.settings.matchings


def methods_of(probe: Probe, result: ProbeResult) -> Iterator[tuple[str, Parts]]:
    """Yield the model's slots and the floors; note a floor that cannot be."""
    parts = probe.parts
    yield MODEL, parts
    if not probe.settings.floors:
        return
    yield SHUFFLED, parts.each(lambda part: part.shuffled(mix(probe.settings.seed, 2)))
    if all(part.colors_NK3 is not None for part in parts):
        yield COLORS, parts.each(lambda part: part.of_colors())
    else:
        result.left_out[COLORS] = "the model has no masks from the chosen source"


def first_columns(test: ProbedImages) -> list[ResultRow]:
    """Return rows with the id and the number of objects of each image."""
    return [{"id": name, "objects": len(one)} for name, one in zip(test.ids, test.objects, strict=True)]


def metric_name(attribute: str, head: str, matching: str) -> str:
    """Return the name of a metric, such as `shape_linear_mask`."""
    return f"{attribute}_{head}_{matching}"


def one_head(
    probe: Probe, chosen: Parts, result: ProbeResult, method: str, matching: Matching, kind: HeadKind
) -> None:
    """Fit and test one head; note its results."""
    pairs = probe.partners if matching == "mask" and probe.partners is not None else (None,) * 3
    tasks = [
        PropertyTask(part.slots_NKD, part.kept_NK, target, probe.attributes, pair)
        for part, target, pair in zip(chosen, probe.targets, pairs, strict=True)
    ]
    head = build_head(kind, tasks[0].slots_NKD.shape[2], tasks[0].outputs, probe.settings)
    fitted = fit(head, tasks[0], tasks[1], probe.settings, min_delta=probe.settings.min_delta)
    result.fits.append({"method": method, "head": kind, "matching": matching, **facts_of(fitted)})
    for name, (values_N, weights_N) in measure(tasks[2], fitted.head).items():
        metric = metric_name(name, kind, matching)
        attribute = next(one for one in probe.attributes if one.name == name)
        result.metrics.setdefault(metric, reading(attribute, kind, matching, probe.settings))
        for row, value, weight in zip(
            result.rows[method], values_N.tolist(), weights_N.tolist(), strict=True
        ):
            row |= {metric: value, weight_column(metric): weight}


def facts_of(fitted: Fitted) -> dict[str, Any]:
    """Return what results say of a fit."""
    return {"steps": fitted.steps, "best_step": fitted.best_step, "validation_loss": fitted.loss}


def reading(one: Attribute, kind: HeadKind, matching: Matching, settings: ProbeSettings) -> dict[str, Any]:
    """Return how to read a metric, and what it is of."""
    return {
        "version": _VERSION,
        "settings": changed(settings),
        "higher_is_better": True,
        "bounds": [0.0, 1.0] if one.kind == "categorical" else [None, 1.0],
        "aggregation": "objects",
        "attribute": one.name,
        "measure": "accuracy" if one.kind == "categorical" else "r2",
        "head": kind,
        "matching": matching,
    }


def changed(settings: ProbeSettings) -> dict[str, Any]:
    """Return the settings that are not the defaults and bear on every number, as JSON data."""
    free = {"heads", "matchings", "floors", "set_prediction", "images"}
    found = settings.model_dump(mode="json", exclude_defaults=True)
    return {name: value for name, value in found.items() if name not in free}


def predict_sets(
    probe: Probe, methods: Mapping[str, Parts], result: ProbeResult, report: Callable[[str], None]
) -> None:
    """Fit and test a set prediction on the slots of each method; note its results, or why it cannot be."""
    places = [places_of(part.objects) for part in probe.parts]
    properties = [one for one in probe.attributes if one.kind == "categorical"]
    if any(place is None for place in places) or not properties:
        lacking = (
            "categorical attributes" if not properties else "places in the scene (3d_coords, or x, y, z)"
        )
        result.left_out[SET] = f"the data has no {lacking} of all objects"
        return
    for method, chosen in methods.items():
        report(f"{method}, {SET}")
        tasks = [
            set_task(part.slots_NKD, part.kept_NK, place, target, properties)
            for part, place, target in zip(chosen, places, probe.targets, strict=True)
            if place is not None
        ]
        head = set_head(tasks[0].slots_NKD.shape[2], tasks[0].outputs, mix(probe.settings.seed, 3))
        fitted = fit(head, tasks[0], tasks[1], probe.settings, min_delta=0.0)
        result.fits.append({"method": method, "head": SET, "matching": "loss", **facts_of(fitted)})
        assert places[2] is not None
        found = detect(tasks[2], fitted.head, places[2], probe.targets[2], properties)
        result.precisions[method] = {f"ap_{at:g}": average_precision(found, at) for at in THRESHOLDS}
