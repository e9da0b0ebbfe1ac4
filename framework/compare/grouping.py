"""Runs that differ in nothing but the seed, brought together, and what must not be brought together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slotlab.framework.compare.facts import AS_TRAINED, FACTS, KEYS
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.compare.refusals import Refusal, gather
from slotlab.framework.compare.results import Member
from slotlab.framework.runs.measurement import BEST

VERSIONS = "versions"
ACROSS = (*KEYS, *FACTS, VERSIONS)
"""What arms may differ in if one says so; never the runs of one arm."""


@dataclass(frozen=True)
class Group:
    """Runs of the same settings."""

    settings: Mapping[str, Any]
    """All of them, and the facts that arms may differ in."""
    members: tuple[Member, ...]
    """By seed."""
    failed: tuple[RunRecord, ...]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """All runs, failed ones included."""
        return (*(member.run for member in self.members), *self.failed)


def group(
    members: Sequence[Member], failed: Sequence[RunRecord], across: frozenset[str], metrics: Sequence[str]
) -> list[Group]:
    """Group runs by everything but the seed.

    A failed run was not measured: it belongs to a group of the same settings, if there is one.
    """
    settings: dict[frozenset[Any], dict[str, Any]] = {}
    measured: dict[frozenset[Any], list[Member]] = {}
    lost: dict[frozenset[Any], list[RunRecord]] = {}
    homes: dict[frozenset[Any], frozenset[Any]] = {}
    for member in members:
        own = {**member.run.settings, **facts_across(member, across, metrics)}
        key = frozenset(own.items())
        settings.setdefault(key, own)
        homes.setdefault(frozenset(member.run.settings.items()), key)
        measured.setdefault(key, []).append(member)
    for record in failed:
        key = frozenset(record.settings.items())
        key = homes.get(key, key)
        settings.setdefault(key, dict(record.settings))
        lost.setdefault(key, []).append(record)
    return [
        Group(
            own,
            tuple(sorted(measured.get(key, ()), key=lambda member: (member.run.seed, member.run.path))),
            tuple(sorted(lost.get(key, ()), key=lambda record: (record.seed, record.path))),
        )
        for key, own in settings.items()
    ]


def facts_across(member: Member, across: frozenset[str], metrics: Sequence[str]) -> dict[str, str]:
    """Return the facts of a run, and of its values of some metrics, in which arms may differ."""
    found = {name: value for name, value in member.facts.items() if name in across}
    if VERSIONS in across:
        found |= {f"components.{name}": version for name, version in member.run.versions.items()}
        measured = member.evaluation.versions
        found |= {f"components.metric.{name}": measured[name] for name in metrics if name in measured}
    return found


def refusals(groups: Sequence[Group], across: frozenset[str], metrics: Sequence[str]) -> list[Refusal]:
    """Return everything for which runs must not be averaged or compared in some metrics."""
    members = [member for group in groups for member in group.members]
    found = [*_mixed_facts(members, across), *_mixed_slots(groups, across)]
    if VERSIONS not in across:
        found += _mixed_versions([record for group in groups for record in group.records])
        found += _mixed_metrics(members, metrics)
    for one in groups:
        found += _duplicates(one)
        found += _mixed_inside(one)
    return found


def _mixed_facts(members: Sequence[Member], across: frozenset[str]) -> Iterable[Refusal]:
    texts = {
        "filter": ("mixed filters of images", "evaluate all runs on the same images"),
        "data": ("the data changed between evaluations", "evaluate all runs on the same files"),
        "plugins": ("plugins that took the place of the runs' own", "evaluate all runs alike"),
        "images": ("mixed lists of images", "evaluate all runs on the same images (evaluation.max_images)"),
        "range": ("mixed value ranges of what models see", "evaluate all runs alike (data.value_range)"),
    }
    for name, (what, hint) in texts.items():
        if name in across:
            continue
        groups = gather((member.facts[name], member.run.path) for member in members)
        if len(groups) > 1:
            yield Refusal(f"{what}:", groups, f"{hint}, or allow it between arms with --across {name}")


def _mixed_slots(groups: Sequence[Group], across: frozenset[str]) -> Iterable[Refusal]:
    """Refuse arms with other numbers of slots at evaluation, unless each has as many as in training."""
    members = [member for one in groups for member in one.members]
    numbers = [{member.evaluation.facts.get("slots") for member in one.members} for one in groups]
    alike = len({member.facts["slots"] for member in members}) <= 1 or len(set.union(*numbers, set())) <= 1
    if "slots" in across or alike or any(len(held) > 1 for held in numbers):
        return  # within an arm it is told of by `_mixed_inside`
    pairs = []
    for member in members:
        number = member.evaluation.facts.get("slots")
        as_trained = f", {AS_TRAINED}" if member.facts["slots"] == AS_TRAINED else ""
        pairs.append((f"{number} slots{as_trained}", member.run.path))
    hint = "evaluate all arms alike (evaluation.slots), or allow it between arms with --across slots"
    yield Refusal("mixed numbers of slots at evaluation:", gather(pairs), hint)


def _mixed_versions(records: Sequence[RunRecord]) -> Iterable[Refusal]:
    components = sorted({name for record in records for name in record.versions})
    for name in components:
        held = ((record.versions[name], record.path) for record in records if name in record.versions)
        groups = gather(held)
        if len(groups) > 1:
            hint = "train them all with one version, or allow it between arms with --across versions"
            yield Refusal(f"mixed versions of {name.replace('.', ' ', 1)}:", groups, hint)


def _mixed_metrics(members: Sequence[Member], metrics: Sequence[str]) -> Iterable[Refusal]:
    for name in metrics:
        held = ((one.evaluation.versions.get(name), one.run.path) for one in members)
        groups = gather((version, path) for version, path in held if version is not None)
        if len(groups) > 1:
            hint = "evaluate them all alike, or allow it between arms with --across versions"
            yield Refusal(f"mixed definitions of metric {name}:", groups, hint)


def _duplicates(one: Group) -> Iterable[Refusal]:
    seeds = gather((f"seed {record.seed}", record.path) for record in one.records)
    twice = {seed: paths for seed, paths in seeds.items() if len(paths) > 1}
    if twice:
        yield Refusal("the same run twice (same settings, same seed):", twice, "leave one of them out")


def _mixed_inside(one: Group) -> Iterable[Refusal]:
    """Refuse seeds of one arm that were trained on other data or measured otherwise."""
    facts: tuple[tuple[str, Callable[[Member], str], str], ...] = (
        ("mixed training data in one arm:", _trained_on, "train all seeds on the same data"),
        (
            "mixed numbers of slots at evaluation in one arm:",
            lambda member: f"{member.evaluation.facts.get('slots')} slots",
            "evaluate all seeds with the same evaluation.slots",
        ),
        (
            "seeds of one arm were measured at different steps:",
            lambda member: (
                "" if member.facts["checkpoint"] == BEST else f"step {member.evaluation.facts.get('step')}"
            ),
            "evaluate the finished runs again with 'slotlab evaluate'",
        ),
    )
    for what, value, hint in facts:
        groups = gather((value(member), member.run.path) for member in one.members)
        if len(groups) > 1:
            yield Refusal(what, groups, hint)


def _trained_on(member: Member) -> str:
    data = member.run.provenance.get("data", {}).get("train", {})
    skipped = len(data.get("skipped", ()))
    without = f", {skipped} broken ones left out" if skipped else ""
    source = f"{data.get('dataset')} {data.get('split')}, fingerprint {data.get('fingerprint')}"
    return f"{source}, {data.get('images')} images{without}"
