"""Successive halving: which arms go on from a rung, by what looks at their trainings measured there.

Nothing is stored: where a study stands follows from its run folders and the rule, so that a study that was
killed decides as it would have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from slotlab.framework.study.ablation import HalvingSpec
from slotlab.framework.study.plan import StudyRun
from slotlab.framework.study.run_status import Glance, glance, reached


@dataclass(frozen=True)
class Standing:
    """Where a study stands on its way up."""

    rung: int | None
    """The step until which the arms that are left are trained next; None for their end."""
    stopped: Mapping[str, int] = field(default_factory=dict)
    """The step at which each arm was stopped, by its name."""


def kept(
    values: Mapping[str, float | None], keep: float, baseline: str, *, higher_is_better: bool
) -> tuple[str, ...]:
    """Return the arms that go on, in their order.

    Args:
        values: of each arm that came so far, in the order of the plan, which decides between equal ones;
            None for an arm of which a run failed or was not measured, which is worse than any.
        keep: the share that goes on, rounded up.
        baseline: an arm that always goes on, so that others can be compared with it.
        higher_is_better: whether more of the metric is better.
    """
    sign = 1.0 if higher_is_better else -1.0
    known = {name: sign * value for name, value in values.items() if value is not None}
    best = sorted(known, key=lambda name: -known[name])[: ceil(keep * len(values))]
    return tuple(name for name in values if name in best or name == baseline)


def stands(
    rule: HalvingSpec,
    metric: str,
    runs: Sequence[StudyRun],
    baseline: str,
    *,
    higher_is_better: bool,
    failed: frozenset[str] = frozenset(),
) -> Standing:
    """Return where a study stands, from its run folders.

    Args:
        rule: the rungs, and the share that goes on.
        metric: by what arms are compared.
        runs: of all arms and seeds.
        baseline: the name of the arm that always goes on.
        higher_is_better: whether more of the metric is better.
        failed: the identities of runs that failed for good; others that failed are tried again.
    """
    looks = {run.run_id: glance(run.folder, run.wanted) for run in runs}
    by_arm: dict[str, list[StudyRun]] = {}
    for run in runs:
        by_arm.setdefault(run.arm.name, []).append(run)
    stopped: dict[str, int] = {}
    for rung in rule.rungs:
        alive = {name: own for name, own in by_arm.items() if name not in stopped}
        ended = [
            run.run_id in failed or reached(looks[run.run_id], rung) for own in alive.values() for run in own
        ]
        if not all(ended):
            return Standing(rung, stopped)
        values = {
            name: mean([value_at(looks[run.run_id], rung, metric) for run in own])
            for name, own in alive.items()
        }
        go_on = kept(values, rule.keep, baseline, higher_is_better=higher_is_better)
        stopped |= {name: rung for name in alive if name not in go_on}
    return Standing(None, stopped)


def value_at(now: Glance, step: int, metric: str) -> float | None:
    """Return what a look at a training measured at a step; None if it measured nothing."""
    return next((line.get(metric) for line in now.watched if line["step"] == step), None)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of values; None if one is missing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
