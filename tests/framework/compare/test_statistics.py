"""Statistics over seeds: what is claimed of them is checked by simulation, and against scipy."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slotlab.framework.arithmetic.t_interval import Bounds
from slotlab.framework.compare.results import Interval
from slotlab.framework.compare.statistics import (
    correct,
    describe,
    detectable,
    difference,
    hedges_correction,
    least_p,
    t_interval,
)

DRAWS = 20_000
NUMBERS = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
SEEDS = st.dictionaries(st.integers(0, 99), NUMBERS, min_size=2, max_size=12)


def draws(count: int, mean: float = 0.0, *, seed: int = 0) -> list[list[float]]:
    normal = np.random.default_rng(seed).standard_normal((DRAWS, count)) + mean
    rows: list[list[float]] = normal.tolist()
    return rows


@pytest.mark.parametrize("count", [3, 5, 10])
def test_intervals_cover_the_true_mean_as_often_as_they_say(count: int) -> None:
    found = [t_interval(row) for row in draws(count, 3.0)]
    covered = sum(one.low <= 3.0 <= one.high for one in found if one is not None)
    assert abs(covered / DRAWS - 0.95) < 0.01


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_paired_test_finds_what_is_not_there_in_five_of_a_hundred_studies(count: int) -> None:
    # Both arms share a part of each seed's chance, as runs with the same initial weights do.
    rows = zip(draws(count), draws(count, seed=1), draws(count, seed=2), strict=True)
    false = 0
    for shared, own, other in rows:
        arm = {i: a + b for i, (a, b) in enumerate(zip(shared, own, strict=True))}
        base = {i: a + b for i, (a, b) in enumerate(zip(shared, other, strict=True))}
        p = difference(arm, base).p
        assert p is not None
        false += p < 0.05
    assert abs(false / DRAWS - 0.05) < 0.01


@given(SEEDS)
def test_the_statistics_of_an_arm_are_numpys_and_scipys(by_seed: dict[int, float]) -> None:
    values = [by_seed[seed] for seed in sorted(by_seed)]
    found = describe(by_seed)
    assert list(found.by_seed) == sorted(by_seed)
    assert found.count == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.std == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert found.median == np.median(values)
    cut = len(values) // 4
    assert found.iqm == pytest.approx(np.mean(sorted(values)[cut : len(values) - cut]), abs=1e-9)
    if found.std:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-6)


@given(SEEDS, SEEDS)
def test_a_paired_difference_is_scipys_over_the_shared_seeds(
    arm: dict[int, float], base: dict[int, float]
) -> None:
    shared = sorted(arm.keys() & base.keys())
    found = difference(arm, base)
    assert list(found.by_seed) == shared
    assert difference(base, arm).mean == (None if found.mean is None else -found.mean)
    if len(shared) < 2 or found.std is None or found.std < 1e-9:
        assert len(shared) > 1 or (found.p, found.t, found.interval, found.effect) == (None,) * 4
        return
    a, b = [arm[seed] for seed in shared], [base[seed] for seed in shared]
    assert (found.detectable, found.least_p) == (detectable(len(shared)), least_p(len(shared)))
    expected = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.t == pytest.approx(expected.statistic, rel=1e-6)
    low, high = expected.confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


BOUNDS: list[Bounds] = [(0.0, 1.0), (-0.5, 1.0), (0.0, None), (None, 1.0), (-math.inf, math.inf)]


@given(st.dictionaries(st.integers(0, 99), st.floats(0, 1), max_size=8))
def test_an_interval_of_a_mean_is_the_one_without_bounds_as_far_as_values_go(
    by_seed: dict[int, float],
) -> None:
    plain = describe(by_seed)
    for low, high in BOUNDS:
        found = describe(by_seed, (low, high))
        assert replace(found, interval=plain.interval) == plain, "only the interval changes"
        if found.interval is None or plain.interval is None or plain.mean is None:
            assert found.interval is plain.interval
            continue
        ends = (-math.inf if low is None else low, math.inf if high is None else high)
        least, greatest = min(plain.mean, ends[0]), max(plain.mean, ends[1])
        assert found.interval == Interval(max(plain.interval.low, least), min(plain.interval.high, greatest))


def test_intervals_within_bounds_hold_the_truth_as_often() -> None:
    """Of values in [0, 1] whose mean is near the end, every interval that held the mean still does."""
    rows = np.random.default_rng(0).beta(8, 0.8, size=(2000, 3))
    truth, counts = 8 / 8.8, [0, 0]
    for row in rows:
        for i, bounds in enumerate(((None, None), (0.0, 1.0))):
            one = describe(dict(enumerate(row.tolist())), bounds).interval
            assert one is not None
            counts[i] += one.low <= truth <= one.high
            assert i == 0 or 0 <= one.low <= one.high <= 1
    assert counts[0] == counts[1] > 1000


def test_one_seed_has_no_interval_and_no_test() -> None:
    one = describe({7: 0.5})
    assert (one.mean, one.median, one.iqm, one.std, one.interval) == (0.5, 0.5, 0.5, None, None)
    pair = difference({7: 0.5}, {7: 0.25, 8: 0.1})
    assert (pair.mean, pair.std, pair.p, pair.effect, pair.detectable) == (0.25, None, None, None, None)
    assert pair.note == "the seeds differ; not paired: 8; one pair, so there is no interval and no test"
    assert difference({1: 0.5}, {2: 0.5}).note == "no seed in common, so there is no paired difference"
    assert describe({}).mean is None


def test_pairs_that_all_differ_by_the_same_have_no_test() -> None:
    with warnings.catch_warnings(action="error"):
        found = difference({0: 1.5, 1: 2.5, 2: 3.5}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert (found.mean, found.std, found.t, found.p, found.effect) == (0.5, 0.0, None, None, None)
    assert found.note == "all pairs differ by the same amount, so there is no test"


@pytest.mark.parametrize(
    ("count", "unpaired", "paired"),
    [(3, 3.07, 3.26), (4, 2.38, 2.13), (5, 2.02, 1.68), (8, 1.51, 1.16), (10, 1.32, 1.00)],
)
def test_the_effect_that_can_be_found_is_found_in_80_of_100_studies(
    count: int, unpaired: float, paired: float
) -> None:
    assert detectable(count, paired=False) == pytest.approx(unpaired, abs=0.005)
    assert detectable(count) == pytest.approx(paired, abs=0.005)
    rows = np.array(draws(count))
    power = np.mean(stats.ttest_1samp(rows + detectable(count), 0, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.01)
    others = np.array(draws(count, seed=1))
    found = stats.ttest_ind(rows + detectable(count, paired=False), others, axis=1).pvalue < 0.05
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_effect_size_is_right_on_average(count: int) -> None:
    effects = [
        difference(dict(enumerate(row)), dict.fromkeys(range(count), 0.0)).effect for row in draws(count, 1.0)
    ]
    # With three pairs the effect's variance is infinite: its mean says less.
    assert np.mean([one for one in effects if one is not None]) == pytest.approx(
        1.0, abs=0.06 if count == 3 else 0.02
    )
    assert 0 < hedges_correction(count - 1) < hedges_correction(count) < 1


def test_two_pairs_have_no_effect_size() -> None:
    assert difference({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}).effect is None


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_no_rank_test_gives_a_smaller_p(count: int) -> None:
    values = np.arange(1.0, count + 1)
    assert stats.wilcoxon(values, method="exact").pvalue == pytest.approx(least_p(count))
    apart = stats.mannwhitneyu(values, values + 100, method="exact").pvalue
    assert apart == pytest.approx(least_p(count, paired=False))
    signs = stats.permutation_test(
        (values, values - 100), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=math.inf
    )
    assert signs.pvalue == pytest.approx(least_p(count))


def test_holm_by_hand() -> None:
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 is raised to the one before it.
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([None, 0.04]) == [None, 0.04]
    assert correct([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.randoms())
def test_holm_does_not_depend_on_the_order_and_lies_between_p_and_bonferroni(
    ps: list[float], random: object
) -> None:
    order = list(range(len(ps)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = correct(ps)
    assert correct([ps[i] for i in order]) == [found[i] for i in order]
    for p, corrected in zip(ps, found, strict=True):
        assert corrected is not None
        assert p <= corrected <= min(1.0, p * len(ps))


@pytest.mark.parametrize("offset", [0.1, 1 / 3, 1e-3, 0.0])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("seeds", [2, 3, 5, 9])
def test_a_constant_difference_has_no_test_whatever_rounding_makes_of_it(
    offset: float, size: float, seeds: int
) -> None:
    base = {seed: size * math.sin(seed + 1) for seed in range(seeds)}
    arm = {seed: value + size * offset for seed, value in base.items()}
    found = difference(arm, base)
    assert (found.std, found.t, found.p, found.effect, found.detectable_difference) == (0.0, *(None,) * 4)
    assert found.interval == Interval(found.mean, found.mean)  # type: ignore[arg-type]
    assert found.note == "all pairs differ by the same amount, so there is no test"


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_arms_that_are_equal_but_for_rounding_have_no_test(size: float) -> None:
    """What is left of a subtraction is small beside what was subtracted, and large beside itself."""
    base = dict.fromkeys(range(4), size * 0.3)
    arm = {0: size * 0.3, 1: size * (0.1 + 0.2), 2: size * 0.3, 3: size * (0.4 - 0.1)}
    assert len({arm[seed] - base[seed] for seed in base}) > 1, "rounding left something"
    found = difference(arm, base)
    assert (found.std, found.p, found.effect) == (0.0, None, None)
    assert found.mean is not None
    assert found.interval == Interval(found.mean, found.mean), "as wide as the standard deviation says"


def test_a_small_difference_that_scatters_is_still_tested() -> None:
    found = difference({0: 0.5 + 1e-9, 1: 0.6 + 2e-9, 2: 0.7 + 3e-9}, {0: 0.5, 1: 0.6, 2: 0.7})
    assert found.p is not None
    assert found.std == pytest.approx(1e-9, rel=1e-3)


def test_two_pairs_do_not_seem_sharper_than_three() -> None:
    """The spread of two pairs is one number, and often far too small."""
    two = difference({0: 0.5001, 1: 0.6}, {0: 0.4, 1: 0.5})
    three = difference({0: 0.5001, 1: 0.6, 2: 0.72}, {0: 0.4, 1: 0.5, 2: 0.6})
    assert (two.std, two.p) != (None, None)
    assert two.detectable_difference is None
    assert three.detectable_difference is not None


def test_an_arm_without_a_value_is_not_one_without_a_shared_seed() -> None:
    assert difference({}, {0: 1.0}).note == "no run of the arm has a value, so there is no paired difference"
    assert (
        difference({0: 1.0}, {}).note
        == "no run of the baseline has a value, so there is no paired difference"
    )
    assert difference({1: 1.0}, {0: 1.0}).note == "no seed in common, so there is no paired difference"


@pytest.mark.parametrize("scatter", [0.1, 1e-17])
def test_values_below_zero_scatter_as_much_as_those_above(scatter: float) -> None:
    """A metric such as the adjusted Rand index may be negative; rounding is no spread on either side."""
    above = {0: 0.3, 1: 0.1 + 0.2, 2: 0.3 + scatter}
    found, mirrored = describe(above), describe({seed: -value for seed, value in above.items()})
    assert (found.std == 0.0) is (scatter < 1e-12)
    assert mirrored.std == found.std
    assert found.interval is not None
    assert mirrored.interval == Interval(-found.interval.high, -found.interval.low)
