"""Which runs count, and which evaluation of each: the same for all, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slotlab.framework.compare.choice import Choice
from slotlab.framework.compare.evaluations import EvaluationRecord
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.compare.refusals import Refusal, RefusedError, gather
from slotlab.framework.compare.results import LeftOut, Member

KEYS = {"dataset": "--dataset", "protocol": "--protocol", "split": "--split", "masks": "--masks"}
"""What an evaluation is chosen by, and the option for it."""

_PLURAL = {"dataset": "datasets", "protocol": "protocols", "split": "splits", "masks": "mask sources"}


@dataclass(frozen=True)
class Selected:
    """The runs that count, those that failed, and those that are left out."""

    members: tuple[Member, ...]
    failed: tuple[RunRecord, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def key_of(evaluation: EvaluationRecord) -> dict[str, str]:
    """Return what an evaluation is chosen by."""
    return {
        "dataset": evaluation.dataset,
        "protocol": evaluation.protocol,
        "split": evaluation.split,
        "masks": evaluation.mask_source,
    }


def facts_of(evaluation: EvaluationRecord) -> dict[str, str]:
    """Return what must be the same for all runs of a comparison, besides the key."""
    data: Mapping[str, Any] = evaluation.facts.get("data", {})
    skipped = len(data.get("skipped", ()))
    images = f"{evaluation.facts['images']} images"
    return {
        "filter": str(evaluation.facts.get("filter") or "none"),
        "plugins": str(evaluation.facts.get("replaced_plugins") or "the run's own"),
        "data": f"fingerprint {data.get('fingerprint')}",
        "images": f"{images} ({skipped} broken ones left out)" if skipped else images,
    }


def select(
    records: Sequence[RunRecord], choice: Choice, *, across: frozenset[str], allow_unfinished: bool
) -> Selected:
    """Choose runs and evaluations.

    Raises:
        RefusedError: if there is not one kind of evaluation that all have.
    """
    failed = [record for record in records if record.state == "failed"]
    left_out: list[LeftOut] = []
    candidates: list[tuple[RunRecord, list[EvaluationRecord]]] = []
    for record in records:
        if record.state == "failed":
            continue
        if record.state != "done" and not allow_unfinished:
            left_out.append(LeftOut(record.path, f"not finished: {_state(record)}"))
            continue
        found = [evaluation for evaluation in record.evaluations.values() if matches(evaluation, choice)]
        if found:
            candidates.append((record, found))
        else:
            left_out.append(LeftOut(record.path, _unmeasured(record, choice)))
    members, notes = _share(candidates, across)
    return Selected(tuple(members), tuple(failed), tuple(left_out), tuple(notes))


def _state(record: RunRecord) -> str:
    return f"{record.state} ({record.reason})" if record.reason else record.state


def matches(evaluation: EvaluationRecord, choice: Choice) -> bool:
    """Return whether an evaluation is what was asked for; a protocol may be named without its changes."""
    bare = evaluation.protocol.partition(" (")[0]
    return (
        choice.protocol in (None, evaluation.protocol, bare)
        and choice.split in (None, evaluation.split)
        and choice.mask_source in (None, evaluation.mask_source)
        and choice.dataset in (None, evaluation.dataset, evaluation.facts["dataset"])
    )


def _unmeasured(record: RunRecord, choice: Choice) -> str:
    if not record.evaluations:
        return "not evaluated; run 'slotlab evaluate' on it"
    asked = (choice.dataset, choice.protocol, choice.split, choice.mask_source)
    wanted = ", ".join(item for item in asked if item)
    return f"not evaluated under {wanted}; it has {', '.join(sorted(record.evaluations))}"


Candidates = Sequence[tuple[RunRecord, Sequence[EvaluationRecord]]]
Key = tuple[tuple[str, str], ...]


def _share(candidates: Candidates, across: frozenset[str]) -> tuple[list[Member], list[str]]:
    """Take the evaluations of each run that have the key which all runs share."""

    def key(evaluation: EvaluationRecord) -> Key:
        return tuple((name, value) for name, value in key_of(evaluation).items() if name not in across)

    if not candidates:
        return [], []
    keys = [{key(evaluation) for evaluation in found} for _, found in candidates]
    common = set.intersection(*keys)
    if not common:
        raise RefusedError(_mixed(candidates, across))
    if len(common) > 1:
        raise RefusedError([_several(candidates)])
    chosen = next(iter(common))
    members = []
    for record, found in candidates:
        fitting = [evaluation for evaluation in found if key(evaluation) == chosen]
        members += [Member(record, evaluation) for evaluation in fitting]  # several only across arms
    notes = []
    others = set.union(*keys) - common
    if others:
        asides = "; ".join(sorted(describe_key(other) for other in others))
        notes.append(
            f"compared where all runs were measured; measured for some only, and left aside: {asides}"
        )
    return members, notes


def describe_key(key: Key) -> str:
    """Write the key of an evaluation in words."""
    values = dict(key)
    masks = f"{values.pop('masks')} masks" if "masks" in values else ""
    return ", ".join(filter(None, (*values.values(), masks)))


def _mixed(candidates: Candidates, across: frozenset[str]) -> list[Refusal]:
    """Say in which facts runs have nothing in common."""
    refusals = []
    for name, option in KEYS.items():
        if name in across:
            continue
        held = [({key_of(item)[name] for item in found}, record.path) for record, found in candidates]
        if not set.intersection(*(values for values, _ in held)):
            pairs = [(" and ".join(sorted(values)), path) for values, path in held]
            allow = f"or allow it between arms with --across {name}"
            hint = f"evaluate all alike and choose with {option}, {allow}"
            refusals.append(Refusal(f"mixed {_PLURAL[name]} cannot be compared:", gather(pairs), hint))
    return refusals or [_no_common(candidates)]


def _no_common(candidates: Candidates) -> Refusal:
    pairs = [(" and ".join(sorted(item.name for item in found)), record.path) for record, found in candidates]
    hint = "evaluate all runs alike with 'slotlab evaluate'"
    return Refusal("the runs have no kind of evaluation in common:", gather(pairs), hint)


def _several(candidates: Candidates) -> Refusal:
    """Say between which evaluations one has to choose."""
    every = [(key_of(item), record.path) for record, found in candidates for item in found]
    groups = gather((describe_key(tuple(key.items())), path) for key, path in every)
    options = [option for name, option in KEYS.items() if len({key[name] for key, _ in every}) > 1]
    what = f"the runs were evaluated in {len(groups)} ways, and only numbers of one can be compared:"
    return Refusal(what, groups, f"choose with {' or '.join(options)}")
