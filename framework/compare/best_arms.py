"""Which arm is best in a metric, and whether the tests against the baseline bear that out."""

from slotlab.framework.compare.results import Arm, ComparedMetric, Comparison

LEVEL = 0.05
"""Corrected p values below this level count as a difference."""


def best_arm(comparison: Comparison, metric: ComparedMetric) -> Arm | None:
    """Return the arm with the best mean, the first of several; None unless two arms have one."""
    known = [
        (arm.statistics[metric.name].mean, arm)
        for arm in comparison.arms
        if metric.name in arm.statistics and arm.statistics[metric.name].mean is not None
    ]
    if len(known) < 2:
        return None
    choose = max if metric.higher_is_better else min
    return choose(known, key=lambda pair: pair[0] or 0.0)[1]


def proven_best(comparison: Comparison, metric: ComparedMetric) -> Arm | None:
    """Return the best arm if the corrected test finds it different from the baseline; else None.

    If the baseline itself is best, all other arms must differ from it.
    """
    best = best_arm(comparison, metric)
    if best is None or comparison.baseline is None:
        return None
    others = [arm for arm in comparison.arms if arm.name != comparison.baseline]
    tested = others if best.name == comparison.baseline else [best]
    return best if all(differs(comparison, metric, arm) for arm in tested) else None


def differs(comparison: Comparison, metric: ComparedMetric, arm: Arm) -> bool:
    """Return whether the corrected test finds a difference of an arm to the baseline in a metric.

    Where only some runs of either bound, no t test fits the primary metric, and Fisher's exact test of the
    rates decides; where looks were declared, their sequential test does.
    """
    assert comparison.baseline is not None
    mixed = arm.is_mixed or comparison.arm(comparison.baseline).is_mixed
    if mixed and metric == comparison.primary:
        p = None if arm.binding is None else arm.binding.p_holm
    elif metric == comparison.primary and arm.sequential is not None:
        p = arm.sequential.p_holm
    else:
        p = arm.differences[metric.name].p_holm if metric.name in arm.differences else None
    return p is not None and p < LEVEL
