"""Which arms a figure shows that has no room for all."""

from slotlab.framework.compare.best_arms import best_arm
from slotlab.framework.compare.results import Arm, Comparison

MOST = 12
"""Arms per figure: more could not be distinguished."""


def shortlist(comparison: Comparison, most: int = MOST) -> list[Arm]:
    """Return some arms in their order: the baseline, the best of each metric, the next by the primary one."""
    sign = -1 if comparison.primary.higher_is_better else 1
    ahead = {arm.name for metric in comparison.metrics if (arm := best_arm(comparison, metric))}
    first = best_arm(comparison, comparison.primary)

    def rank(arm: Arm) -> tuple[bool, bool, bool, float]:
        mean = arm.statistics[comparison.primary.name].mean
        place = float("inf") if mean is None else sign * mean
        return arm.name != comparison.baseline, arm is not first, arm.name not in ahead, place

    kept = {arm.name for arm in sorted(comparison.arms, key=rank)[:most]}
    return [arm for arm in comparison.arms if arm.name in kept]
