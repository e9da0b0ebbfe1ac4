"""Groups of runs that differ in nothing but the seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slotlab.framework.compare.evaluation_facts import FACTS, KEYS
from slotlab.framework.compare.results import MeasuredRun
from slotlab.framework.compare.run_records import RunRecord

VERSIONS = "versions"
ACROSS = (*KEYS, *FACTS, VERSIONS)
"""Facts in which arms may differ if this is allowed; the runs of one arm never may."""


@dataclass(frozen=True)
class Group:
    """Runs with the same settings."""

    settings: Mapping[str, Any]
    """All settings by path, and the facts in which arms may differ."""
    members: tuple[MeasuredRun, ...]
    """The runs that count, by rising seed."""
    failed: tuple[RunRecord, ...]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """All runs, including those that failed."""
        return (*(member.run for member in self.members), *self.failed)


def group(
    members: Sequence[MeasuredRun],
    failed: Sequence[RunRecord],
    across: frozenset[str],
    metrics: Sequence[str],
) -> list[Group]:
    """Group runs by everything but the seed.

    A failed run has no evaluation. It joins the group with the same settings, if there is one.
    """
    settings: dict[frozenset[Any], dict[str, Any]] = {}
    measured: dict[frozenset[Any], list[MeasuredRun]] = {}
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


def facts_across(member: MeasuredRun, across: frozenset[str], metrics: Sequence[str]) -> dict[str, str]:
    """Return the facts of a run, and the versions of these metrics, in which arms may differ."""
    found = {name: value for name, value in member.facts.items() if name in across}
    if VERSIONS in across:
        found |= {f"components.{name}": version for name, version in member.run.versions.items()}
        measured = member.evaluation.versions
        found |= {f"components.metric.{name}": measured[name] for name in metrics if name in measured}
    return found
