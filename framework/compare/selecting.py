"""Which runs count, and which evaluation of each: the same for all, or none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slotlab.framework.compare.choice import Choice
from slotlab.framework.compare.facts import (
    AS_TRAINED,
    FACTS,
    KEYS,
    facts_of,
    fits,
    key_of,
    shown_facts,
    telling_settings,
)
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.compare.refusals import Refusal, RefusedError, gather
from slotlab.framework.compare.results import LeftOut, Member

_PLURAL = {
    "dataset": "datasets",
    "protocol": "protocols",
    "split": "splits",
    "masks": "mask sources",
    "checkpoint": "checkpoints",
}
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Selected:
    """The runs that count, those that failed, and those that are left out."""

    members: tuple[Member, ...]
    failed: tuple[RunRecord, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """A run and those of its evaluations that fit what was asked for."""

    record: RunRecord
    found: tuple[Member, ...]


def select(
    records: Sequence[RunRecord], choice: Choice, *, across: frozenset[str], allow_unfinished: bool
) -> Selected:
    """Choose runs and evaluations.

    Raises:
        RefusedError: if there is not one kind of evaluation that all have.
    """
    failed = [record for record in records if record.state == "failed"]
    left_out: list[LeftOut] = []
    candidates: list[Candidate] = []
    counted = [record for record in records if record.state != "failed"]
    told = telling_settings((record, one) for record in counted for one in record.evaluations.values())
    for record in counted:
        if record.state != "done" and not allow_unfinished:
            left_out.append(LeftOut(record.path, f"not finished: {_state(record)}"))
            continue
        every = (
            Member(record, one, key_of(one) | facts_of(record, one, told))
            for one in record.evaluations.values()
        )
        found = tuple(member for member in every if matches(member, choice))
        if found:
            candidates.append(Candidate(record, found))
        else:
            left_out.append(LeftOut(record.path, _unmeasured(record, choice)))
    members, notes = _share(candidates, choice, across)
    return Selected(tuple(members), tuple(failed), tuple(left_out), tuple(notes))


def _state(record: RunRecord) -> str:
    return f"{record.state} ({record.reason})" if record.reason else record.state


def matches(member: Member, choice: Choice) -> bool:
    """Return whether an evaluation is what was asked for; a protocol may be named without its changes."""
    evaluation, facts = member.evaluation, member.facts
    bare = evaluation.protocol.partition(" (")[0]
    return (
        choice.protocol in (None, evaluation.protocol, bare)
        and choice.split in (None, evaluation.split)
        and choice.mask_source in (None, evaluation.mask_source)
        and choice.dataset in (None, evaluation.dataset, evaluation.facts["dataset"])
        and choice.checkpoint in (None, evaluation.checkpoint)
        and all(fits(facts, name, value) for name, value in choice.facts)
    )


def _unmeasured(record: RunRecord, choice: Choice) -> str:
    if not record.evaluations:
        return "not evaluated; run 'slotlab evaluate' on it"
    asked = (choice.dataset, choice.protocol, choice.split, choice.mask_source, choice.checkpoint)
    facts = (f"{name} {value}" for name, value in choice.facts)
    wanted = ", ".join(item for item in (*asked, *facts) if item)
    return f"not evaluated under {wanted}; it has {', '.join(sorted(record.evaluations))}"


def _share(
    candidates: Sequence[Candidate], choice: Choice, across: frozenset[str]
) -> tuple[list[Member], list[str]]:
    """Take the evaluations of each run that have the key which all runs share, then the same facts."""

    def key(member: Member) -> Key:
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
    fitting = [
        Candidate(one.record, _once([member for member in one.found if key(member) == chosen], choice))
        for one in candidates
    ]
    members, asides = _same_facts(fitting, choice, across)
    others = [describe_key(other) for other in set.union(*keys) - common]
    notes = []
    if others:
        notes.append(
            "compared where all runs were measured; measured for some only, and left aside: "
            f"{'; '.join(sorted(others))}"
        )
    if asides:
        notes.append(f"of several evaluations one is compared; left aside: {'; '.join(asides)}")
    return members, notes


def _once(members: Iterable[Member], choice: Choice) -> tuple[Member, ...]:
    """Return one evaluation for each set of facts: they may differ in the metrics that were computed."""
    wanted = {*choice.metrics, *filter(None, [choice.primary])}

    def rank(member: Member) -> tuple[bool, int, str]:
        lacking = not wanted <= member.evaluation.values.keys()
        return lacking, len(member.evaluation.name), member.evaluation.name

    found: dict[Key, Member] = {}
    for member in sorted(members, key=rank):
        found.setdefault(tuple(sorted(member.facts.items())), member)
    return tuple(sorted(found.values(), key=lambda member: member.evaluation.name))


def _same_facts(
    candidates: Sequence[Candidate], choice: Choice, across: frozenset[str]
) -> tuple[list[Member], list[str]]:
    """Take the evaluations that measured the same, where a run has several; name those left aside.

    Where each run has one they are taken as they are: whoever groups them says in what they differ.
    """
    free = [name for name in FACTS if name not in across]
    if all(len(one.found) == 1 for one in candidates):
        return [one.found[0] for one in candidates], []
    kinds = [{kind for member in one.found for kind in _kinds(member, free)} for one in candidates]
    ways: list[list[Member]] = []
    for kind in sorted(set.intersection(*kinds)):
        way = [member for one in candidates for member in one.found if kind in _kinds(member, free)]
        ways += [way] if way not in ways else []
    if len(ways) > 1 and choice.own:
        ways = [way for way in ways if not any(one.evaluation.changes for one in way)] or ways
    if len(ways) != 1:
        raise RefusedError([_several(candidates) if ways else _no_common(candidates)])
    [members] = ways
    asides = {one.evaluation.name for each in candidates for one in each.found if one not in members}
    return members, sorted(asides)


def _kinds(member: Member, names: Sequence[str]) -> list[Key]:
    """Return the facts of an evaluation; the trained number of slots is that number, too."""
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
    """Say in which facts runs have nothing in common."""
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


def _no_common(candidates: Sequence[Candidate]) -> Refusal:
    pairs = [
        (" and ".join(sorted(item.evaluation.name for item in one.found)), one.record.path)
        for one in candidates
    ]
    hint = "evaluate all runs alike with 'slotlab evaluate'"
    return Refusal("the runs have no kind of evaluation in common:", gather(pairs), hint)


def _several(candidates: Sequence[Candidate]) -> Refusal:
    """Say between which evaluations one has to choose."""
    every = [member for one in candidates for member in one.found]
    unlike = [name for name in (*KEYS, *FACTS) if len({member.facts[name] for member in every}) > 1]
    told = [*KEYS, *(name for name in FACTS if name in unlike)]
    groups = gather(
        (describe_key(tuple((name, member.facts[name]) for name in told)), member.run.path)
        for member in every
    )
    options = [option for name, option in KEYS.items() if name in unlike]
    options += [f"--evaluation {name}=..." for name in FACTS if name in unlike]
    what = f"the runs were evaluated in {len(groups)} ways, and only numbers of one can be compared:"
    return Refusal(what, groups, f"choose with {' or '.join(options)}")
