"""The numbers of each arm: statistics over its seeds, and differences to the baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace

from slotlab.framework.compare.binding import binding_of, is_bound, with_binding_tests
from slotlab.framework.compare.costs import cost_of
from slotlab.framework.compare.grouping import Group
from slotlab.framework.compare.per_image import image_differences, unpaired
from slotlab.framework.compare.results import Arm, ComparedMetric, Difference, MeasuredRun
from slotlab.framework.compare.statistics import correct, describe, difference


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

    statistics = {metric.name: describe(values_by_seed(one.members, metric.name)) for metric in metrics}
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
        binding=binding_of(statistics, primary, failed_below),
    )


def values_by_seed(members: Sequence[MeasuredRun], metric: str) -> dict[int, float]:
    """Return the value of a metric by seed, for the runs that have a finite one."""
    values = {member.run.seed: member.evaluation.values.get(metric) for member in members}
    return {seed: value for seed, value in values.items() if value is not None and math.isfinite(value)}


def with_differences(
    arms: Sequence[Arm], base: Arm, metrics: Sequence[ComparedMetric], *, per_image: bool
) -> list[Arm]:
    """Compare every arm with the baseline, and correct the tests of each metric for their number."""
    found: dict[str, dict[str, Difference]] = {arm.name: {} for arm in arms}
    others = [arm for arm in arms if arm is not base]
    for metric in metrics:
        baseline = base.statistics[metric.name].by_seed
        plain = [difference(arm.statistics[metric.name].by_seed, baseline) for arm in others]
        corrected = correct([one.p for one in plain])
        for arm, one, p_holm in zip(others, plain, corrected, strict=True):
            found[arm.name][metric.name] = replace(one, p_holm=p_holm)
    names = [metric.name for metric in metrics]
    compared = [
        replace(
            arm,
            differences=found[arm.name],
            image_differences=image_differences(arm.members, base.members, names)
            if per_image and arm is not base and unpaired(arm.members, base.members) is None
            else {},
        )
        for arm in arms
    ]
    return with_binding_tests(compared, base.name)
