"""How many more seeds the arms of a comparison need for what one wants to find."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slotlab.framework.compare.alpha_spending import inflation
from slotlab.framework.compare.results import Arm, Binding, Comparison, Interval, SequentialRule
from slotlab.framework.compare.sample_size import (
    MOST_RUNS,
    MOST_SEEDS,
    runs_for_rates,
    seeds_for_difference,
    seeds_for_width,
    spread_interval,
)
from slotlab.framework.compare.sequential import in_words
from slotlab.framework.compare.statistics import ALPHA, POWER
from slotlab.framework.system.privacy import nameless_data
from slotlab.registry.errors import SlotlabError

RATES = 9
"""How many rates of the baseline's interval are tried."""


@dataclass(frozen=True)
class Wanted:
    """What a study is to reach; None for what is not asked for."""

    difference: float | None = None
    """A difference of the primary metric, to be found in 80 of 100 studies."""
    width: float | None = None
    """How wide the 95 % interval of the difference may be, from end to end."""
    rate_difference: float | None = None
    """A difference of the rates at which runs bind, to be found in 80 of 100 studies."""


@dataclass(frozen=True)
class Need:
    """What one arm and the baseline need for one goal. None where it is not known, or far too many."""

    arm: str
    design: str
    """`paired`, `unpaired` or `binding`."""
    goal: str
    """The field of `Wanted`."""
    observed: float | None
    """The standard deviation of the differences, of the seeds of an arm, or the baseline's rate."""
    observed_interval: Interval | None
    seeds: int
    """The pairs, or the seeds of each arm, that there are."""
    needed: int | None
    needed_range: tuple[int | None, int | None] | None
    """The least and greatest number over the interval of what was observed."""
    needed_holm: int | None
    """The same as `needed` at the strictest level of Holm's method; of a width the same number."""

    @property
    def more(self) -> int | None:
        """How many seeds are missing."""
        return None if self.needed is None else max(0, self.needed - self.seeds)

    @property
    def more_holm(self) -> int | None:
        """How many seeds are missing with Holm's correction."""
        return None if self.needed_holm is None else max(0, self.needed_holm - self.seeds)


def plan_seeds(comparison: Comparison, wanted: Wanted) -> list[Need]:
    """Return what each arm needs, in the primary metric.

    Raises:
        SlotlabError: without a baseline or a goal, for a goal that is no number above 0, and for rates
            without a threshold for binding.
    """
    goals = {name: value for name, value in asdict(wanted).items() if value is not None}
    if not goals:
        raise SlotlabError("say what is wanted: --difference X, --width X or --rate-difference X")
    for name, value in goals.items():
        if not (math.isfinite(value) and value > 0 and (name != "rate_difference" or value <= 1)):
            most = " and at most 1" if name == "rate_difference" else ""
            raise SlotlabError(f"--{name.replace('_', '-')} {value:g}: write a number above 0{most}")
    if comparison.baseline is None:
        raise SlotlabError("there is no baseline arm to compare with; choose one with --baseline ARM")
    if wanted.rate_difference is not None and comparison.failed_below is None:
        raise SlotlabError("--rate-difference needs a threshold for binding: --failed-below X")
    base = comparison.arm(comparison.baseline)
    others = [arm for arm in comparison.arms if arm is not base]
    return [need for arm in others for need in _needs(comparison, wanted, arm, base, tests=len(others))]


def _needs(comparison: Comparison, wanted: Wanted, arm: Arm, base: Arm, *, tests: int) -> Iterator[Need]:
    metric = comparison.primary.name
    pairs, own, other = arm.differences[metric], arm.statistics[metric], base.statistics[metric]
    freedom = own.count + other.count - 2
    pooled = None
    if own.std is not None and other.std is not None:
        squares = own.std**2 * (own.count - 1) + other.std**2 * (other.count - 1)
        pooled = math.sqrt(squares / freedom)
    paired = (arm.name, "paired", pairs.std, pairs.count - 1, pairs.count)
    unpaired = (arm.name, "unpaired", pooled, freedom, min(own.count, other.count))
    for design in (paired, unpaired):
        if wanted.difference is not None:
            rule = comparison.sequential
            yield _need_of_spread("difference", wanted.difference, *design, tests=tests, rule=rule)
        if wanted.width is not None:
            yield _need_of_spread("width", wanted.width, *design, tests=tests)
    if wanted.rate_difference is not None and arm.binding is not None and base.binding is not None:
        yield _need_of_rates(wanted.rate_difference, arm.name, arm.binding, base.binding, tests=tests)


def _need_of_spread(
    goal: str,
    wanted: float,
    arm: str,
    design: str,
    spread: float | None,
    df: int,
    seeds: int,
    *,
    tests: int,
    rule: SequentialRule | None = None,
) -> Need:
    """Return the need for a difference or a width; nothing is said from a spread of one degree of freedom."""
    if not spread or df < 2:
        return Need(arm, design, goal, spread, None, seeds, None, None, None)
    paired = design == "paired"

    def count(spread: float, tests: int = 1) -> int | None:
        if goal == "width":
            return seeds_for_width(wanted, spread, paired=paired)
        found = seeds_for_difference(wanted, spread, paired=paired, tests=tests)
        return found if rule is None or found is None or not paired else with_looks(found, rule, tests)

    known = spread_interval(spread, df)
    reach = (count(known.low), count(known.high))
    return Need(arm, design, goal, spread, known, seeds, count(spread), reach, count(spread, tests))


def with_looks(seeds: int, rule: SequentialRule, tests: int = 1) -> int:
    """Return the most seeds that a study with looks needs, where one without needs `seeds`."""
    return math.ceil(seeds * inflation(rule.rule, rule.looks, rule.alpha / tests) - 1e-9)


def _need_of_rates(wanted: float, arm: str, own: Binding, base: Binding, *, tests: int) -> Need:
    """Return the need for a difference of rates, upward from the baseline's where there is room."""
    seeds = min(own.runs, base.runs)
    if base.rate is None or base.interval is None:
        return Need(arm, "binding", "rate_difference", None, None, seeds, None, None, None)
    tried = np.linspace(base.interval.low, base.interval.high, RATES).tolist()
    counts = [_runs(rate, wanted) for rate in tried if max(rate, 1 - rate) >= wanted]
    known = [count for count in counts if count is not None]
    reach = (min(known), max(known) if len(known) == len(counts) else None) if known else None
    needed, with_holm = _runs(base.rate, wanted), _runs(base.rate, wanted, tests)
    return Need(arm, "binding", "rate_difference", base.rate, base.interval, seeds, needed, reach, with_holm)


def _runs(rate: float, wanted: float, tests: int = 1) -> int | None:
    other = rate + wanted if rate + wanted <= 1 + 1e-9 else rate - wanted
    return None if other < -1e-9 else runs_for_rates(rate, min(1.0, max(0.0, other)), tests=tests)


def notes_on(comparison: Comparison) -> list[str]:
    """Say what the numbers rest on, and where they do not hold."""
    how = (
        "needed: for the observed spread or rate, in brackets for its 95 % interval, in parentheses with "
        f"Holm's correction for all arms; -: not known from so few seeds, or more than {MOST_SEEDS} seeds "
        f"({MOST_RUNS} runs for a difference of rates)"
    )
    found = [how]
    if (rule := comparison.sequential) is not None:
        factor = inflation(rule.rule, rule.looks, rule.alpha)
        found.append(
            f"paired differences are tested by {in_words(rule)}: the numbers are the most seeds, "
            f"{factor:.3f} times those of one look, with looks after the same shares; a difference that is "
            "found earlier ends the study"
        )
    if mixed := [arm.name for arm in comparison.arms if arm.is_mixed]:
        found.append(
            "some runs bound and others did not, so a spread says little; plan by --rate-difference: "
            + ", ".join(mixed)
        )
    return found


def as_json(comparison: Comparison, wanted: Wanted, needs: list[Need]) -> dict[str, Any]:
    """Return everything as JSON-ready data; None where there is no value."""
    found: dict[str, Any] = nameless_data(
        {
            "format": 1,
            "title": comparison.title,
            "metric": comparison.primary.name,
            "baseline": comparison.baseline,
            "failed_below": comparison.failed_below,
            "wanted": asdict(wanted),
            "sequential": None if comparison.sequential is None else asdict(comparison.sequential),
            "level": ALPHA,
            "power": POWER,
            "needs": [_need_json(need) for need in needs],
            "notes": notes_on(comparison),
        }
    )
    return found


def _need_json(need: Need) -> dict[str, Any]:
    known, reach = need.observed_interval, need.needed_range
    return {
        **asdict(need),
        "observed_interval": None if known is None else [known.low, known.high],
        "needed_range": None if reach is None else list(reach),
        "more": need.more,
        "more_holm": need.more_holm,
    }
