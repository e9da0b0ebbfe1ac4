"""Which runs count, and which evaluation of each is compared: the same kind for all runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from slotlab.framework.compare.evaluation_facts import (
    AS_TRAINED,
    FACTS,
    KEYS,
    facts_of,
    fits,
    key_of,
    shown_facts,
    telling_settings,
)
from slotlab.framework.compare.refusal import Refusal, RefusedError, gather
from slotlab.framework.compare.request import ComparisonRequest
from slotlab.framework.compare.results import LeftOut, MeasuredRun
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.runs.measurement import REVISION, redefines

_PLURAL = {
    "dataset": "datasets",
    "protocol": "protocols",
    "split": "splits",
    "masks": "mask sources",
    "checkpoint": "checkpoints",
}
_ALIKE = {
    "filter": "filter",
    "data": "images",
    "plugins": "plugins",
    "images": "number of images",
    "clip": "parts of videos",
    "told": "knowledge of objects",
    "slots": "number of slots",
    "range": "value range",
    "sampling": "way of drawing pictures",
}
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Selected:
    """The runs that count with their evaluations, those that failed, and those that are left out."""

    members: tuple[MeasuredRun, ...]
    failed: tuple[RunRecord, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A run and those of its evaluations that match the request."""

    record: RunRecord
    found: tuple[MeasuredRun, ...]


def select(
    records: Sequence[RunRecord],
    request: ComparisonRequest,
    *,
    across: frozenset[str],
    allow_unfinished: bool,
) -> Selected:
    """Choose the runs that count, and one evaluation of each.

    Raises:
        RefusedError: unless there is exactly one kind of evaluation that all runs have.
    """
    failed = [record for record in records if record.state == "failed"]
    left_out: list[LeftOut] = []
    candidates: list[Candidate] = []
    counted = [record for record in records if record.state != "failed"]
    settings = telling_settings((record, one) for record in counted for one in record.evaluations.values())
    for record in counted:
        if record.state != "done" and not allow_unfinished:
            left_out.append(LeftOut(record.path, f"not finished: {_state(record)}"))
            continue
        every = (
            MeasuredRun(record, one, key_of(one) | facts_of(record, one, settings))
            for one in record.evaluations.values()
        )
        found = tuple(member for member in every if matches(member, request))
        if found:
            candidates.append(Candidate(record, found))
        else:
            left_out.append(LeftOut(record.path, _unmeasured(record, request)))
    members, notes = _share(candidates, request, across)
    return Selected(tuple(members), tuple(failed), tuple(left_out), tuple(notes))


def _state(record: RunRecord) -> str:
    return f"{record.state} ({record.reason})" if record.reason else record.state


def matches(member: MeasuredRun, request: ComparisonRequest) -> bool:
    """Return whether an evaluation matches a request; a protocol matches without its changes, too."""
    evaluation, facts = member.evaluation, member.facts
    bare = evaluation.protocol.partition(" (")[0]
    return (
        request.protocol in (None, evaluation.protocol, bare)
        and request.split in (None, evaluation.split)
        and request.mask_source in (None, evaluation.mask_source)
        and request.dataset in (None, evaluation.dataset, evaluation.facts["dataset"])
        and request.checkpoint in (None, evaluation.checkpoint)
        and all(fits(facts, name, value) for name, value in request.facts)
    )


def _unmeasured(record: RunRecord, request: ComparisonRequest) -> str:
    if not record.evaluations:
        done = "probed" if record.measured_by == "probe" else "evaluated"
        return f"not {done}; run 'slotlab {record.measured_by}' on it"
    requested = (request.dataset, request.protocol, request.split, request.mask_source, request.checkpoint)
    facts = (f"{name} {value}" for name, value in request.facts)
    wanted = ", ".join(item for item in (*requested, *facts) if item)
    return f"not evaluated under {wanted}; its evaluations are {', '.join(sorted(record.evaluations))}"


def _share(
    candidates: Sequence[Candidate], request: ComparisonRequest, across: frozenset[str]
) -> tuple[list[MeasuredRun], list[str]]:
    """Take, of each run, the evaluation with the key that all runs share, and with the same facts."""

    def key(member: MeasuredRun) -> Key:
        return tuple((name, member.facts[name]) for name in KEYS if name not in across)

    if not candidates:
        return [], []
    keys = [{key(member) for member in one.found} for one in candidates]
    common = set.intersection(*keys)
    if not common:
        raise RefusedError(_mixed(candidates, across))
    if len(common) > 1:
        raise RefusedError([_several(candidates)])
    chosen = next(iter(common))
    alike = [[member for member in one.found if key(member) == chosen] for one in candidates]
    fitting = [
        Candidate(one.record, _once(found, request)) for one, found in zip(candidates, alike, strict=True)
    ]
    members, asides = _same_facts(fitting, request, across)
    others = [describe_key(other) for other in set.union(*keys) - common]
    notes = []
    if others:
        notes.append(
            "only evaluations that every run has are compared; some runs were also evaluated on: "
            f"{'; '.join(sorted(others))}"
        )
    if asides:
        text = "runs have several evaluations of this kind, of which one is compared"
        notes.append(f"{text}; not compared: {'; '.join(asides)}")
    older = _older(members, alike)
    if older:
        text = "metrics were measured again after their definition had changed, and the newest one counts"
        notes.append(f"{text}; not compared: {'; '.join(older)}")
    return members, notes


def _once(members: Sequence[MeasuredRun], request: ComparisonRequest) -> tuple[MeasuredRun, ...]:
    """Return one evaluation per set of facts: with the requested metrics, by their newest definition."""
    wanted = {*request.metrics, *filter(None, [request.primary])}

    def rank(member: MeasuredRun) -> tuple[bool, bool, int, str]:
        lacking = not wanted <= member.evaluation.values.keys()
        outdated = any(_replaces(other, member) for other in members)
        return lacking, outdated, len(member.evaluation.name), member.evaluation.name

    found: dict[Key, MeasuredRun] = {}
    for member in sorted(members, key=rank):
        found.setdefault(tuple(sorted(member.facts.items())), member)
    return tuple(sorted(found.values(), key=lambda member: member.evaluation.name))


def _replaces(new: MeasuredRun, old: MeasuredRun) -> bool:
    """Return whether an evaluation defines a metric of another one of the same run and facts anew."""
    facts = new.evaluation.facts, old.evaluation.facts
    newer = facts[0].get(REVISION, 0) > facts[1].get(REVISION, 0)
    return newer and new.run.path == old.run.path and new.facts == old.facts and redefines(*facts)


def _older(members: Sequence[MeasuredRun], alike: Sequence[Sequence[MeasuredRun]]) -> list[str]:
    """Name the evaluations that are not compared since one that is defines a metric of theirs anew."""
    return sorted(
        {
            other.evaluation.name
            for member in members
            for found in alike
            for other in found
            if _replaces(member, other)
        }
    )


def _same_facts(
    candidates: Sequence[Candidate], request: ComparisonRequest, across: frozenset[str]
) -> tuple[list[MeasuredRun], list[str]]:
    """Where runs have several evaluations, take those with the same facts; name those not taken.

    Where each run has one, these are taken as they are: `comparability` checks in what they differ.
    """
    free = [name for name in FACTS if name not in across]
    if all(len(one.found) == 1 for one in candidates):
        return [one.found[0] for one in candidates], []
    kinds = [{kind for member in one.found for kind in _kinds(member, free)} for one in candidates]
    ways: list[list[MeasuredRun]] = []
    for kind in sorted(set.intersection(*kinds)):
        way = [member for one in candidates for member in one.found if kind in _kinds(member, free)]
        ways += [way] if way not in ways else []
    if len(ways) > 1 and request.own:
        ways = [way for way in ways if not any(one.evaluation.changes for one in way)] or ways
    if len(ways) != 1:
        raise RefusedError([_several(candidates) if ways else _unlike(candidates, free)])
    [members] = ways
    asides = {one.evaluation.name for each in candidates for one in each.found if one not in members}
    return members, sorted(asides)


def _kinds(member: MeasuredRun, names: Sequence[str]) -> list[Key]:
    """Return an evaluation's facts; `as trained` for the number of slots also stands for that number."""
    facts = member.facts
    plain = tuple((name, facts[name]) for name in names)
    number = member.evaluation.facts.get("slots")
    if facts["slots"] != AS_TRAINED or number is None or "slots" not in names:
        return [plain]
    return [plain, tuple((name, f"{number} slots" if name == "slots" else facts[name]) for name in names)]


def describe_key(key: Key) -> str:
    """Write the facts of an evaluation in words."""
    values = shown_facts(dict(key))
    masks = f"{values.pop('masks')} masks" if "masks" in values else ""
    checkpoint = f"{values.pop('checkpoint')} checkpoint" if "checkpoint" in values else ""
    words = {"filter": "filter {}", "range": "range {}"}
    rest = (words.get(name, "{}").format(value) for name, value in values.items())
    return ", ".join(filter(None, (*rest, masks, checkpoint)))


def _mixed(candidates: Sequence[Candidate], across: frozenset[str]) -> list[Refusal]:
    """Return a refusal for each fact in which the runs have nothing in common."""
    refusals = []
    for name, option in KEYS.items():
        if name in across:
            continue
        held = [({member.facts[name] for member in one.found}, one.record.path) for one in candidates]
        if not set.intersection(*(values for values, _ in held)):
            pairs = [(" and ".join(sorted(values)), path) for values, path in held]
            allow = f"or allow it between arms with --across {name}"
            hint = f"evaluate all alike and choose with {option}, {allow}"
            refusals.append(Refusal(f"mixed {_PLURAL[name]} cannot be compared:", gather(pairs), hint))
    return refusals or [_no_common(candidates)]


def _unlike(candidates: Sequence[Candidate], names: Sequence[str]) -> Refusal:
    """Return a refusal that names the facts in which no evaluation of one run is like one of another."""
    apart = {}
    for name in names:
        values = [{member.facts[name] for member in one.found} for one in candidates]
        if not set.intersection(*values):
            apart[name] = values
    if not apart:
        return _no_common(candidates)
    pairs = []
    for number, one in enumerate(candidates):
        texts = (" or ".join(sorted(values[number])) for values in apart.values())
        pairs.append((", ".join(texts), one.record.path))
    what = " and ".join(_ALIKE[name] for name in apart)
    hint = "evaluate all runs alike with 'slotlab evaluate'"
    return Refusal(f"the runs have no evaluations with the same {what}:", gather(pairs), hint)


def _no_common(candidates: Sequence[Candidate]) -> Refusal:
    pairs = [
        (" and ".join(sorted(item.evaluation.name for item in one.found)), one.record.path)
        for one in candidates
    ]
    hint = "evaluate all runs alike with 'slotlab evaluate'"
    return Refusal("the runs have no kind of evaluation in common:", gather(pairs), hint)


def _several(candidates: Sequence[Candidate]) -> Refusal:
    """Return a refusal that lists the evaluations to choose from, and the options that choose."""
    every = [member for one in candidates for member in one.found]
    unlike = [name for name in (*KEYS, *FACTS) if len({member.facts[name] for member in every}) > 1]
    listed = [*KEYS, *(name for name in FACTS if name in unlike)]
    groups = gather(
        (describe_key(tuple((name, member.facts[name]) for name in listed)), member.run.path)
        for member in every
    )
    options = [option for name, option in KEYS.items() if name in unlike]
    options += [f"--evaluation {name}=..." for name in FACTS if name in unlike]
    what = f"the runs were evaluated in {len(groups)} ways, and only numbers of one can be compared:"
    return Refusal(what, groups, f"choose with {' or '.join(options)}")
