"""The numbers of each arm: statistics over its seeds, and differences to the baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace

from slotlab.framework.compare.binding import binding_of, is_bound, with_binding_tests
from slotlab.framework.compare.costs import cost_of
from slotlab.framework.compare.grouping import Group
from slotlab.framework.compare.per_image import image_differences, unpaired
from slotlab.framework.compare.results import (
    Arm,
    ComparedMetric,
    Difference,
    MeasuredRun,
    Statistics,
    UnpairedDifference,
)
from slotlab.framework.compare.statistics import (
    correct,
    describe,
    detectable,
    difference,
    noncentrality,
)
from slotlab.framework.compare.welch import welch


def make_arm(
    name: str,
    one: Group,
    paths: Sequence[str],
    metrics: Sequence[ComparedMetric],
    primary: ComparedMetric,
    failed_below: float | None,
) -> Arm:
    """Compute the statistics of one arm."""

    def did_not_bind(member: MeasuredRun) -> bool:
        value = member.evaluation.values.get(primary.name)
        return failed_below is not None and value is not None and not is_bound(value, primary, failed_below)

    statistics = {
        metric.name: describe(values_by_seed(one.members, metric.name), metric.bounds) for metric in metrics
    }
    return Arm(
        name=name,
        settings={path: one.settings[path] for path in paths if path in one.settings},
        members=one.members,
        failed=one.failed,
        not_bound=tuple(member for member in one.members if did_not_bind(member)),
        statistics=statistics,
        differences={},
        image_differences={},
        cost=cost_of([member.run for member in one.members]),
        binding=binding_of(statistics, metrics, primary, failed_below),
        with_failed=with_failed(one, metrics),
    )


def with_failed(one: Group, metrics: Sequence[ComparedMetric]) -> dict[str, Statistics]:
    """Return the statistics of a group in which failed runs have the worst value, for metrics that have one.

    A seed with a finished run counts by that one.
    """
    found = {}
    for metric in metrics if one.failed else ():
        if metric.worst is not None:
            lost = {run.seed: metric.worst for run in one.failed}
            found[metric.name] = describe({**lost, **values_by_seed(one.members, metric.name)}, metric.bounds)
    return found


def values_by_seed(members: Sequence[MeasuredRun], metric: str) -> dict[int, float]:
    """Return the value of a metric by seed, for the runs that have a finite one."""
    values = {member.run.seed: member.evaluation.values.get(metric) for member in members}
    return {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}


def with_differences(
    arms: Sequence[Arm],
    base: Arm,
    metrics: Sequence[ComparedMetric],
    *,
    per_image: bool = False,
    welch_too: bool = False,
) -> list[Arm]:
    """Compare every arm with the baseline, and correct the tests of each metric for their number."""
    names = [metric.name for metric in metrics]
    others = [arm for arm in arms if arm is not base]
    paired = {name: paired_differences(others, base, name) for name in names}
    welched = {name: unpaired_differences(others, base, name) for name in names if welch_too}
    found = {base.name: base}
    for i, arm in enumerate(others):
        over_images = per_image and unpaired(arm.members, base.members) is None
        found[arm.name] = replace(
            arm,
            differences={name: every[i] for name, every in paired.items()},
            unpaired={name: every[i] for name, every in welched.items()},
            image_differences=image_differences(arm.members, base.members, names) if over_images else {},
        )
    return with_binding_tests([found[arm.name] for arm in arms], base.name)


def paired_differences(arms: Sequence[Arm], base: Arm, metric: str) -> list[Difference]:
    """Return the difference of each arm to the baseline, with what depends on the number of tests."""
    baseline = base.statistics[metric].by_seed
    plain = [difference(arm.statistics[metric].by_seed, baseline) for arm in arms]
    tests = sum(one.p is not None for one in plain)
    return [
        replace(
            one,
            p_holm=p_holm,
            detectable_holm=None if p_holm is None else detectable(one.count, tests=tests),
        )
        for one, p_holm in zip(plain, correct([one.p for one in plain]), strict=True)
    ]


def unpaired_differences(arms: Sequence[Arm], base: Arm, metric: str) -> list[UnpairedDifference]:
    """Return the same over all seeds of each arm and of the baseline, not paired."""
    baseline = list(base.statistics[metric].by_seed.values())
    plain = [welch(list(arm.statistics[metric].by_seed.values()), baseline) for arm in arms]
    tests = sum(one.p is not None for one in plain)

    def stricter(one: UnpairedDifference) -> float | None:
        if one.detectable_difference is None or one.df is None:
            return None
        return one.detectable_difference * noncentrality(one.df, tests) / noncentrality(one.df)

    return [
        replace(one, p_holm=p_holm, detectable_difference_holm=stricter(one))
        for one, p_holm in zip(plain, correct([one.p for one in plain]), strict=True)
    ]
