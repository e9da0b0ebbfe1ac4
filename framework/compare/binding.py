"""How often runs bind: exact intervals and tests of counts, as such an outcome is no normal number."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy import stats

from slotlab.framework.arithmetic.t_interval import ANY, CONFIDENCE
from slotlab.framework.compare.results import Arm, Binding, ComparedMetric, Comparison, Interval, Statistics
from slotlab.framework.compare.statistics import correct, describe


def is_bound(value: float, primary: ComparedMetric, failed_below: float) -> bool:
    """Return whether a run with this value of the primary metric bound; at the threshold it did."""
    return not (value < failed_below if primary.higher_is_better else value > failed_below)


def binding_of(
    statistics: Mapping[str, Statistics],
    metrics: Sequence[ComparedMetric],
    primary: ComparedMetric,
    failed_below: float | None,
) -> Binding | None:
    """Count the runs of an arm that bound, and describe every metric over those alone.

    Args:
        statistics: of the arm, by metric.
        metrics: all metrics that are compared, with the bounds of their values.
        primary: the metric that tells which runs bound; runs without a value of it do not count.
        failed_below: the threshold; None gives None.
    """
    if failed_below is None:
        return None
    values = statistics[primary.name].by_seed
    bound = {seed for seed, value in values.items() if is_bound(value, primary, failed_below)}
    bounds = {metric.name: metric.bounds for metric in metrics}
    given = {
        name: describe({s: v for s, v in one.by_seed.items() if s in bound}, bounds.get(name, ANY))
        for name, one in statistics.items()
    }
    return Binding(len(bound), len(values), rate_interval(len(bound), len(values)), given)


def rate_interval(bound: int, runs: int) -> Interval | None:
    """Return the exact 95 % interval of a rate (Clopper and Pearson 1934); None without a run.

    It holds the true rate at least 95 times in 100, whatever the rate and the number of runs.
    """
    if runs == 0:
        return None
    found = stats.binomtest(bound, runs).proportion_ci(CONFIDENCE, method="exact")
    return Interval(float(found.low), float(found.high))


def fisher(arm: Binding, baseline: Binding) -> float | None:
    """Return the two-sided p of Fisher's exact test of two rates (Fisher 1935); None if one has no run.

    The runs are not paired in it.
    """
    if not arm.runs or not baseline.runs:
        return None
    table = [[one.bound, one.runs - one.bound] for one in (arm, baseline)]
    return min(1.0, float(stats.fisher_exact(table).pvalue))


def with_binding_tests(arms: Sequence[Arm], baseline: str) -> list[Arm]:
    """Test the binding rate of every arm against the baseline's, corrected for the number of arms."""
    base = next(arm.binding for arm in arms if arm.name == baseline)
    ps = [
        None if arm.name == baseline or arm.binding is None or base is None else fisher(arm.binding, base)
        for arm in arms
    ]
    return [
        arm if arm.binding is None else replace(arm, binding=replace(arm.binding, p=p, p_holm=p_holm))
        for arm, p, p_holm in zip(arms, ps, correct(ps), strict=True)
    ]


def threshold_origin(comparison: Comparison) -> str:
    """Say whether the threshold for binding was declared beforehand."""
    declared = comparison.declared
    if declared is None:
        return "an option of this comparison"
    if declared.failed_below == comparison.failed_below:
        return "declared by the study"
    beforehand = "none" if declared.failed_below is None else f"{declared.failed_below:g}"
    return f"an option of this comparison; the study declares {beforehand}"
