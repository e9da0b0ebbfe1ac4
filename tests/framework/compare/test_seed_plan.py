"""How many seeds a study needs: by the published tables of power, by hand, and as a plan of arms."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.compare.comparison import Comparison, ComparisonRequest, compare
from slotlab.framework.compare.sample_size import (
    MOST_SEEDS,
    fisher_power,
    fisher_table,
    runs_for_rates,
    seeds_for_difference,
    seeds_for_width,
    spread_interval,
)
from slotlab.framework.compare.seed_plan import Need, Wanted, as_json, notes_on, plan_seeds
from slotlab.framework.compare.statistics import detectable
from slotlab.registry import SlotlabError

from .conftest import Record

BASE, WIDE = (0.50, 0.52, 0.47, 0.55), (0.56, 0.57, 0.55, 0.60)


def compared(record: Record, arms: dict[int, tuple[float, ...]], **choice: float) -> Comparison:
    runs = [
        record(f"{slots}-{seed}", seed, value, settings={"model.slots": slots})
        for slots, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return compare(runs, ComparisonRequest(baseline="slots=7", **choice))


@pytest.mark.parametrize(("effect", "unpaired"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_seeds_are_those_of_cohens_table(effect: float, unpaired: int) -> None:
    """Cohen (1992), "A power primer", table 2, with the exact numbers: 393, 64, 26 by his approximation."""
    assert seeds_for_difference(effect, 1.0, paired=False) == unpaired


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("tests", [1, 4])
def test_seeds_are_the_least_that_find_the_difference(paired: bool, tests: int) -> None:
    for wanted in (0.01, 0.03, 0.1):
        found = seeds_for_difference(wanted, 0.04, paired=paired, tests=tests)
        assert found is not None
        assert detectable(found, paired=paired, tests=tests) * 0.04 <= wanted
        assert found == 2 or detectable(found - 1, paired=paired, tests=tests) * 0.04 > wanted
    assert seeds_for_difference(10.0, 0.01, paired=paired) == 2
    assert seeds_for_difference(1e-6, 1.0, paired=paired) is None


def test_a_width_by_hand() -> None:
    # The width of 5 pairs is 2 x 2.776 x s / sqrt(5); of 5 and 5 seeds 2 x 2.306 x s x sqrt(2 / 5).
    assert seeds_for_width(2 * 2.777 / math.sqrt(5), 1.0, paired=True) == 5
    assert seeds_for_width(2 * 2.776 / math.sqrt(5), 1.0, paired=True) == 6
    assert seeds_for_width(2 * 2.307 * math.sqrt(2 / 5), 1.0, paired=False) == 5
    assert seeds_for_width(2 * 2.306 * math.sqrt(2 / 5), 1.0, paired=False) == 6
    reached = 2 * stats.t.ppf(0.975, MOST_SEEDS - 1) / math.sqrt(MOST_SEEDS)
    assert seeds_for_width(reached * 1.0001, 1.0, paired=True) == MOST_SEEDS
    assert seeds_for_width(reached * 0.9999, 1.0, paired=True) is None


@pytest.mark.parametrize("df", [2, 4, 9])
def test_the_interval_of_a_spread_holds_it_95_times_in_100(df: int) -> None:
    found = spread_interval(1.0, df)
    assert (found.low, found.high) == pytest.approx(
        (math.sqrt(df / stats.chi2.isf(0.025, df)), math.sqrt(df / stats.chi2.isf(0.975, df)))
    )
    spreads = np.random.default_rng(0).standard_normal((20_000, df + 1)).std(axis=1, ddof=1)
    assert np.mean((spreads * found.low <= 1) & (spreads * found.high >= 1)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 8])
def test_all_tables_of_fishers_test_are_scipys(runs: int) -> None:
    expected = [
        [stats.fisher_exact([[a, runs - a], [b, runs - b]]).pvalue for b in range(runs + 1)]
        for a in range(runs + 1)
    ]
    assert fisher_table(runs) == pytest.approx(np.array(expected))


def test_runs_for_rates_by_hand_and_by_simulation() -> None:
    # All of one arm and none of the other: p is 2 / C(2n, n), which is 0.1 for 3 runs and 0.029 for 4.
    assert runs_for_rates(0.0, 1.0) == 4
    assert runs_for_rates(0.0, 1.0, tests=4) == 5  # 0.0079 < 0.0125
    assert fisher_power(3, 0.0, 1.0) == 0.0
    assert runs_for_rates(0.5, 0.55) is None
    found = runs_for_rates(0.9, 0.4)
    assert found is not None
    random = np.random.default_rng(0)
    ps = fisher_table(found)[random.binomial(found, 0.9, 20_000), random.binomial(found, 0.4, 20_000)]
    assert np.mean(ps < 0.05) == pytest.approx(fisher_power(found, 0.9, 0.4), abs=0.01)
    assert fisher_power(found - 1, 0.9, 0.4) < 0.8 <= fisher_power(found, 0.9, 0.4)


def test_a_plan_has_each_arm_design_and_goal(record: Record) -> None:
    found = compared(record, {7: BASE, 9: WIDE, 11: WIDE}, failed_below=0.3)
    needs = plan_seeds(found, Wanted(0.05, 0.06, 0.5))
    assert [(one.arm, one.design, one.goal) for one in needs[:5]] == [
        ("slots=9", "paired", "difference"),
        ("slots=9", "paired", "width"),
        ("slots=9", "unpaired", "difference"),
        ("slots=9", "unpaired", "width"),
        ("slots=9", "binding", "rate_difference"),
    ]
    assert len(needs) == 10
    spread = np.std(np.subtract(WIDE, BASE), ddof=1)
    pooled = math.sqrt((np.var(BASE, ddof=1) + np.var(WIDE, ddof=1)) / 2)
    paired, _, unpaired, wide, binding = needs[:5]
    assert (paired.observed, unpaired.observed) == pytest.approx((spread, pooled))
    assert paired.observed_interval == spread_interval(paired.observed or 0, 3)
    assert unpaired.observed_interval == spread_interval(unpaired.observed or 0, 6)
    assert paired.needed == seeds_for_difference(0.05, spread, paired=True)
    assert unpaired.needed_holm == seeds_for_difference(0.05, pooled, paired=False, tests=2)
    assert wide.needed == wide.needed_holm == seeds_for_width(0.06, pooled, paired=False)
    assert paired.observed_interval is not None
    assert paired.needed_range == tuple(
        seeds_for_difference(0.05, end, paired=True)
        for end in (paired.observed_interval.low, paired.observed_interval.high)
    )
    # Every run of the baseline bound, so the other rate can only be lower.
    assert (binding.observed, binding.needed) == (1.0, runs_for_rates(1.0, 0.5))
    assert binding.needed_range is not None
    assert binding.more == (binding.needed or 0) - 4
    assert [one.seeds for one in needs] == [4] * 10


def test_what_is_there_already_is_not_asked_for_again() -> None:
    need = Need("a", "paired", "difference", 0.1, None, 9, 5, (3, 20), 12)
    assert (need.more, need.more_holm) == (0, 3)
    assert replace(need, needed=None, needed_holm=None).more is None


@pytest.mark.parametrize(
    "arms", [{7: BASE[:2], 9: WIDE[:2]}, {7: (0.5,) * 4, 9: (0.6,) * 4}, {7: BASE, 9: (0.5,)}]
)
def test_two_pairs_one_run_and_equal_runs_say_nothing_of_pairs(
    record: Record, arms: dict[int, tuple[float, ...]]
) -> None:
    (paired, _) = plan_seeds(compared(record, arms), Wanted(difference=0.05))
    assert (paired.observed_interval, paired.needed, paired.needed_range, paired.needed_holm) == (None,) * 4


def test_mixed_arms_are_to_be_planned_by_their_rates(record: Record) -> None:
    found = compared(record, {7: BASE, 9: (*WIDE[:2], 0.01, 0.02)}, failed_below=0.3)
    assert notes_on(found)[1].endswith("plan by --rate-difference: slots=9")
    assert len(notes_on(compared(record, {7: BASE, 9: WIDE}))) == 1


@pytest.mark.parametrize(
    ("wanted", "choice", "message"),
    [
        (Wanted(), {}, "say what is wanted: --difference X, --width X or --rate-difference X"),
        (Wanted(difference=0.0), {}, "--difference 0: write a number above 0"),
        (Wanted(rate_difference=1.5), {}, "--rate-difference 1.5: write a number above 0 and at most 1"),
        (Wanted(rate_difference=0.5), {}, "--rate-difference needs a threshold for binding: --failed-below X"),
        (Wanted(width=0.1), {"baseline": None}, "there is no baseline arm to compare with; choose one with --baseline ARM"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_said(
    record: Record, wanted: Wanted, choice: dict[str, None], message: str
) -> None:
    found = replace(compared(record, {7: BASE, 9: WIDE}), **choice)
    with pytest.raises(SlotlabError) as error:
        plan_seeds(found, wanted)
    assert str(error.value) == message


def test_json_holds_the_plan_in_full(record: Record) -> None:
    found = compared(record, {7: BASE, 9: WIDE}, failed_below=0.3)
    wanted = Wanted(difference=0.05)
    (need, _) = needs = plan_seeds(found, wanted)
    told = as_json(found, wanted, needs)
    assert told["wanted"] == {"difference": 0.05, "width": None, "rate_difference": None}
    assert (told["metric"], told["baseline"], told["level"], told["power"]) == ("ari", "slots=7", 0.05, 0.8)
    assert need.observed_interval is not None
    assert need.needed_range is not None
    assert told["needs"][0] == {
        "arm": "slots=9",
        "design": "paired",
        "goal": "difference",
        "observed": need.observed,
        "observed_interval": [need.observed_interval.low, need.observed_interval.high],
        "seeds": 4,
        "needed": need.needed,
        "needed_range": list(need.needed_range),
        "needed_holm": need.needed_holm,
        "more": need.more,
        "more_holm": need.more_holm,
    }
