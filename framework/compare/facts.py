"""What evaluations measured, in words: the facts by which they are chosen, and must not differ."""

from collections.abc import Iterable, Mapping
from typing import Any

from slotlab.framework.compare.evaluation_record import EvaluationRecord
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.runs.measurement import LAST, UNTOLD, is_generated, is_untold
from slotlab.framework.spec.plain import ADDED

KEYS = {
    "dataset": "--dataset",
    "protocol": "--protocol",
    "split": "--split",
    "masks": "--masks",
    "checkpoint": "--checkpoint",
}
"""What an evaluation is chosen by first, and the option for it."""
FACTS = ("filter", "data", "plugins", "images", "slots", "range")
"""What evaluations of one key may differ in, and numbers that are compared may not."""
PICTURES = ("dataset", "split", "protocol", "filter", "data")
"""The facts that must be the same for images of one name to be the same."""
AS_TRAINED = "as trained"
"""Stands for the number of slots, or the value range, with which a run was trained."""
OWN_PLUGINS = "own"
"""Stands for the plugins of an evaluation that replaced none."""
_DATASET = "data.dataset."
Pair = tuple[RunRecord, EvaluationRecord]


def key_of(evaluation: EvaluationRecord) -> dict[str, str]:
    """Return what an evaluation is chosen by first."""
    return {
        "dataset": evaluation.dataset,
        "protocol": evaluation.protocol,
        "split": evaluation.split,
        "masks": evaluation.mask_source,
        "checkpoint": evaluation.checkpoint,
    }


def facts_of(record: RunRecord, evaluation: EvaluationRecord, told: Iterable[str] = ()) -> dict[str, str]:
    """Return what must be the same for all runs of a comparison, besides the key.

    `told` are the settings of the dataset that belong to its description (see `telling_settings`).
    """
    data: Mapping[str, Any] = evaluation.facts.get("data", {})
    skipped = len(data.get("skipped", ()))
    images = f"{evaluation.facts['images']} images"
    settings = dataset_settings(record, evaluation)
    words = [f"{path} {settings[path]}" for path in told if path in settings]
    return {
        "filter": str(evaluation.facts.get("filter") or "none"),
        "data": ", ".join([f"fingerprint {data.get('fingerprint')}", *words]),
        "plugins": _plugins(evaluation.facts.get("replaced_plugins")),
        "images": f"{images} ({skipped} broken ones left out)" if skipped else images,
        "slots": _slots(record, evaluation),
        "range": _range(record, evaluation),
    }


def dataset_settings(record: RunRecord, evaluation: EvaluationRecord) -> dict[str, Any]:
    """Return the settings of the dataset that was measured, by path; none of generated data.

    They are the run's own with the evaluation's changes. The fingerprint of generated pictures holds them.
    """
    if is_generated(evaluation.facts):
        return {}
    changes = {path: _hashable(value) for path, value in evaluation.changes.items()}
    every = {**ADDED, **record.settings, **changes}
    wanted = (path for path in every if path.startswith(_DATASET) or path == "data.seed")
    return {path: every[path] for path in wanted if path.removeprefix(_DATASET) not in ("name", "variant")}


def telling_settings(pairs: Iterable[Pair]) -> tuple[str, ...]:
    """Return the settings of datasets in which evaluations of the same dataset differ."""
    found: dict[tuple[str, str], set[Any]] = {}
    for record, evaluation in pairs:
        for path, value in dataset_settings(record, evaluation).items():
            found.setdefault((evaluation.dataset, path), set()).add(value)
    return tuple(sorted({path for (_, path), values in found.items() if len(values) > 1}))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _plugins(replaced: Any) -> str:
    """Name the plugins that were used in place of the run's own, with their contents."""
    if isinstance(replaced, Mapping):
        replaced = ", ".join(map(str, replaced.values()))
    return str(replaced or OWN_PLUGINS)


def _slots(record: RunRecord, evaluation: EvaluationRecord) -> str:
    number, trained = evaluation.facts.get("slots"), record.settings.get("model.slots")
    return AS_TRAINED if number is None or number == trained else f"{number} slots"


def _range(record: RunRecord, evaluation: EvaluationRecord) -> str:
    seen = evaluation.facts.get("value_range")
    settings = record.settings
    trained = settings.get("data.value_range") or settings.get("data.protocol.value_range")
    return AS_TRAINED if seen is None or trained is None or seen == trained else str(seen)


def shown_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the facts that say something: not that all is as trained, nor that the last weights are."""
    usual = {"slots": AS_TRAINED, "range": AS_TRAINED, "checkpoint": LAST, "plugins": OWN_PLUGINS}
    return {name: value for name, value in facts.items() if usual.get(name) != value}


def fits(facts: Mapping[str, str], name: str, wanted: str) -> bool:
    """Return whether a fact is what was asked for: its words, or the first of them."""
    value = facts[name].removeprefix("fingerprint ")
    return wanted in (facts[name], value) or value.startswith((f"{wanted} ", f"{wanted},"))


def tells_pictures(evaluation: EvaluationRecord, *, certainly: bool = False) -> bool:
    """Return whether the fingerprint tells which pictures were measured, `certainly` if files changed."""
    data: Mapping[str, Any] = evaluation.facts.get("data", {})
    fingerprint = data.get("fingerprint")
    known = fingerprint is not None and not is_untold(evaluation.facts)
    return known and not (certainly and str(fingerprint).startswith(UNTOLD))
