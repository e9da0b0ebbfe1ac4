"""Paired t tests at the looks that a study declares: what was found at which look, and what it decides."""

from collections.abc import Sequence
from dataclasses import replace

from slotlab.framework.compare.alpha_spending import OBRIEN_FLEMING, levels, sequential_p
from slotlab.framework.compare.results import Arm, Interval, SequentialRule, SequentialTest
from slotlab.framework.compare.run_records import RunRecord
from slotlab.framework.compare.statistics import correct, difference

NAMES = {OBRIEN_FLEMING: "O'Brien-Fleming", "pocock": "Pocock"}
"""How the rules are called in text; alpha is spent as Lan and DeMets (1983) do for them."""


def with_looks(arms: Sequence[Arm], base: Arm, metric: str, rule: SequentialRule) -> list[Arm]:
    """Test every arm against the baseline at the looks of a rule, corrected for the number of arms.

    The corrected p of the paired difference becomes that of the looks, so that whatever decides by it obeys
    the rule.
    """
    found = [None if arm.name == base.name else look_test(arm, base, metric, rule) for arm in arms]
    ps = correct([None if one is None else one.p for one in found])
    return [
        arm if one is None else _with_test(arm, decided(replace(one, p_holm=p_holm), rule), metric)
        for arm, one, p_holm in zip(arms, found, ps, strict=True)
    ]


def _with_test(arm: Arm, one: SequentialTest, metric: str) -> Arm:
    paired = arm.differences[metric]
    if paired.p is not None:
        paired = replace(paired, p_holm=one.p_holm)
    return replace(arm, sequential=one, differences={**arm.differences, metric: paired})


def look_test(arm: Arm, base: Arm, metric: str, rule: SequentialRule) -> SequentialTest:
    """Test one arm at the looks that are complete: whose runs of both arms are measured or failed.

    What was found at a look follows from its seeds alone, so that nobody has to have looked then.
    """
    own, other = arm.statistics[metric].by_seed, base.statistics[metric].by_seed
    ended = (own.keys() | seeds_of(arm.failed)) & (other.keys() | seeds_of(base.failed))
    complete = [look for look in rule.looks if set(rule.seeds[:look]) <= ended]
    tests = []
    for look in complete:
        seeds = set(rule.seeds[:look])
        tests.append(difference({s: v for s, v in own.items() if s in seeds}, other))
    counts = tuple(one.count for one in tests)
    ps = tuple(one.p for one in tests)
    strict = levels(rule.rule, rule.looks, counts, rule.alpha) if counts else ()
    waiting = len(own.keys() & other.keys()) - (counts[-1] if counts else 0)
    if not tests:
        return SequentialTest(0, counts, ps, strict, waiting, p=1.0 if waiting else None)
    last = tests[-1]
    p = sequential_p(rule.rule, rule.looks, counts, ps) if any(one is not None for one in ps) else None
    mean, spread = last.mean, last.std
    interval = None
    if mean is not None and spread and strict[-1] > 0:
        half = repeated_quantile(strict[-1], last.count) * spread / last.count**0.5
        interval = Interval(mean - half, mean + half)
    return SequentialTest(len(complete), counts, ps, strict, waiting, mean, interval, p)


def repeated_quantile(level: float, count: int) -> float:
    """Return the quantile of t that ends a repeated interval (Jennison and Turnbull 1989)."""
    from scipy.stats import t

    return float(t.isf(level / 2, count - 1))


def seeds_of(records: Sequence[RunRecord]) -> set[int]:
    """Return the seeds of runs."""
    return {record.seed for record in records}


def decided(one: SequentialTest, rule: SequentialRule) -> SequentialTest:
    """Say what a test decides, with Holm's correction: a difference once found stays found."""
    if one.p_holm is not None and one.p_holm <= rule.alpha:
        return replace(one, decision="different")
    return replace(one, decision="not different" if one.look == len(rule.looks) else "go on")


def in_words(rule: SequentialRule) -> str:
    """Write a rule: its name, its looks and its level."""
    looks = ", ".join(map(str, rule.looks[:-1]))
    name = NAMES.get(rule.rule, rule.rule)
    return f"{name}, looks after {looks} and {rule.looks[-1]} seeds, alpha {rule.alpha:g}"
