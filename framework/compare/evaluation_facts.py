"""The conditions of an evaluation in words, by which evaluations are chosen and held comparable."""

from collections.abc import Iterable, Mapping
from typing import Any

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.runs.measurement import LAST, UNTOLD, is_generated, is_untold, measured_things
from slotlab.framework.spec.plain_settings import ADDED

KEYS = {
    "dataset": "--dataset",
    "protocol": "--protocol",
    "split": "--split",
    "masks": "--masks",
    "checkpoint": "--checkpoint",
}
"""Facts that identify an evaluation, and the command-line options that choose by them."""
FACTS = ("filter", "data", "plugins", "images", "clip", "told", "slots", "range", "sampling")
"""Facts in which evaluations with the same key may differ, and compared evaluations must not."""
PICTURES = ("dataset", "split", "protocol", "filter", "data")
"""Facts that must be the same for images with the same id to be the same images."""
UNTOLD_CUES = "nothing"
"""Stands for a model that is told of no object."""
SINGLE = "single pictures"
"""Stands for an evaluation of pictures, each by itself."""
AS_TRAINED = "as trained"
"""Stands for the number of slots, or the value range, that the run was trained with."""
SAMPLING = "sampling"
"""Is among the telling settings if models that draw pictures do it in different ways."""
UNTOLD_SAMPLING = "alike"
"""Stands for how pictures are drawn, where no two models draw them in different ways."""
OWN_PLUGINS = "own"
"""Stands for the plugins of an evaluation that replaced none of the run's own."""
_DATASET = "data.dataset."
Pair = tuple[RunRecord, EvaluationRecord]


def key_of(evaluation: EvaluationRecord) -> dict[str, str]:
    """Return the facts that identify an evaluation, by the names in `KEYS`."""
    return {
        "dataset": evaluation.dataset,
        "protocol": evaluation.protocol,
        "split": evaluation.split,
        "masks": evaluation.mask_source,
        "checkpoint": evaluation.checkpoint,
    }


def facts_of(record: RunRecord, evaluation: EvaluationRecord, listed: Iterable[str] = ()) -> dict[str, str]:
    """Return the facts that must be the same for all runs of a comparison, besides the key.

    Args:
        record: the run.
        evaluation: one of its evaluations.
        listed: paths of settings that describe the dataset, and `SAMPLING` (see `telling_settings`).
    """
    data: Mapping[str, Any] = evaluation.facts.get("data", {})
    skipped = len(data.get("skipped", ()))
    images = f"{evaluation.facts['images']} {measured_things(evaluation.facts)}"
    listed = tuple(listed)
    settings = dataset_settings(record, evaluation)
    words = [f"{path} {settings[path]}" for path in listed if path in settings]
    return {
        "filter": str(evaluation.facts.get("filter") or "none"),
        "data": ", ".join([f"fingerprint {data.get('fingerprint')}", *words]),
        "plugins": _plugins(evaluation.facts.get("replaced_plugins")),
        "images": f"{images} ({skipped} broken ones left out)" if skipped else images,
        "clip": _clip(evaluation.facts.get("clip")),
        "told": str(evaluation.facts.get("told") or UNTOLD_CUES),
        "slots": _slots(record, evaluation),
        "range": _range(record, evaluation),
        "sampling": _sampling(evaluation) if SAMPLING in listed else UNTOLD_SAMPLING,
    }


def dataset_settings(record: RunRecord, evaluation: EvaluationRecord) -> dict[str, Any]:
    """Return the settings of the evaluated dataset, by path; none for generated data.

    They are those of the run with the evaluation's changes. The fingerprint of generated data covers them.
    """
    if is_generated(evaluation.facts):
        return {}
    changes = {path: _hashable(value) for path, value in evaluation.changes.items()}
    every = {**ADDED, **record.settings, **changes}
    wanted = (path for path in every if path.startswith(_DATASET) or path == "data.seed")
    return {path: every[path] for path in wanted if path.removeprefix(_DATASET) not in ("name", "variant")}


def telling_settings(pairs: Iterable[Pair]) -> tuple[str, ...]:
    """Return the paths of dataset settings in which evaluations of the same dataset differ.

    `SAMPLING` is among them if models draw pictures in different ways; one that draws none is like any.
    """
    found: dict[tuple[str, str], set[Any]] = {}
    for record, evaluation in pairs:
        if ways := _words(evaluation.facts.get("sampling")):
            found.setdefault(("", SAMPLING), set()).add(ways)
        for path, value in dataset_settings(record, evaluation).items():
            found.setdefault((evaluation.dataset, path), set()).add(value)
    return tuple(sorted({path for (_, path), values in found.items() if len(values) > 1}))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _plugins(replaced: Any) -> str:
    """Name the plugins that replaced the run's own, with hashes of their contents."""
    if isinstance(replaced, Mapping):
        replaced = ", ".join(map(str, replaced.values()))
    return str(replaced or OWN_PLUGINS)


def _sampling(evaluation: EvaluationRecord) -> str:
    return _words(evaluation.facts.get("sampling")) or "no drawing"


def _words(settings: Any) -> str:
    """Return settings in words: `solver ddim, steps 50`."""
    if not isinstance(settings, Mapping):
        return ""
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in settings.items())


def _clip(clip: Any) -> str:
    """Say which parts of videos were measured: `whole videos`, `clips of 6 frames, 2 apart`."""
    if not isinstance(clip, Mapping):
        return SINGLE
    frames, stride = clip.get("frames"), clip.get("stride")
    parts = "whole videos" if frames is None else f"clips of {frames} frames"
    apart = "" if stride in (None, 1) else f", {stride} apart"
    first = clip.get("from")
    return f"{parts}{apart}, from frame {first}" if first else f"{parts}{apart}"


def _slots(record: RunRecord, evaluation: EvaluationRecord) -> str:
    number, trained = evaluation.facts.get("slots"), record.settings.get("model.slots")
    return AS_TRAINED if number is None or number == trained else f"{number} slots"


def _range(record: RunRecord, evaluation: EvaluationRecord) -> str:
    seen = evaluation.facts.get("value_range")
    settings = record.settings
    trained = settings.get("data.value_range") or settings.get("data.protocol.value_range")
    return AS_TRAINED if seen is None or trained is None or seen == trained else str(seen)


def shown_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts without those that have their usual value, such as the last checkpoint."""
    usual = {
        "clip": SINGLE,
        "told": UNTOLD_CUES,
        "slots": AS_TRAINED,
        "range": AS_TRAINED,
        "checkpoint": LAST,
        "plugins": OWN_PLUGINS,
        "sampling": UNTOLD_SAMPLING,
    }
    return {name: value for name, value in facts.items() if usual.get(name) != value}


def fits(facts: Mapping[str, str], name: str, wanted: str) -> bool:
    """Return whether a fact has the wanted value: its text, or the beginning of it up to a separator."""
    value = facts[name].removeprefix("fingerprint ")
    return wanted in (facts[name], value) or value.startswith((f"{wanted} ", f"{wanted},"))


def tells_pictures(evaluation: EvaluationRecord, *, certainly: bool = False) -> bool:
    """Return whether the fingerprint identifies the images that were evaluated.

    With `certainly`, only if it does so even when files may have changed.
    """
    data: Mapping[str, Any] = evaluation.facts.get("data", {})
    fingerprint = data.get("fingerprint")
    known = fingerprint is not None and not is_untold(evaluation.facts)
    return known and not (certainly and str(fingerprint).startswith(UNTOLD))
