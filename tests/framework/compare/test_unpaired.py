"""Arms compared without pairing their seeds, what pairing gains, and what Holm's correction costs."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slotlab.framework.compare.comparison import ComparisonRequest, compare_paths
from slotlab.framework.compare.csv_json import as_csv, as_json
from slotlab.framework.compare.results import UnpairedDifference
from slotlab.framework.compare.statistics import correct, correlation, detectable, difference, noncentrality
from slotlab.framework.compare.tables import tables
from slotlab.framework.compare.welch import welch

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda value: round(value, 3)), min_size=2, max_size=9)
UNPAIRED = ComparisonRequest(unpaired=True)


@given(VALUES, VALUES)
def test_welchs_test_is_scipys(arm: list[float], base: list[float]) -> None:
    found = welch(arm, base)
    assert found.mean == pytest.approx(np.mean(arm) - np.mean(base), abs=1e-9)
    if min(np.std(arm), np.std(base)) < 1e-6:  # scipy warns of constants
        return
    expected = stats.ttest_ind(arm, base, equal_var=False)
    assert (found.t, found.df, found.p) == pytest.approx(
        (expected.statistic, expected.df, expected.pvalue), rel=1e-6, abs=1e-12
    )
    low, high = expected.confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


def test_what_has_no_test_has_none() -> None:
    assert welch([], [0.5, 0.6]) == UnpairedDifference((0, 2), None)
    assert welch([0.75], [0.5, 0.5, 0.5]) == UnpairedDifference((1, 3), 0.25)
    assert welch([0.75, 0.75], [0.5, 0.5]) == UnpairedDifference((2, 2), 0.25)
    two = welch([0.7, 0.8, 0.9], [0.5, 0.6])
    assert two.p is not None
    assert two.detectable_difference is None, "no resolution from two seeds"


def test_one_arm_may_be_constant() -> None:
    found = welch([0.5, 0.5, 0.5], [0.1, 0.2, 0.3])
    assert found.df == pytest.approx(2)
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2, 0.3], 0.5).pvalue)


def test_the_detectable_difference_of_equal_spreads_is_that_of_the_table_in_the_docs() -> None:
    values = [-1.0, 0.0, 1.0]  # of standard deviation 1
    found = welch([value + 5 for value in values], values)
    assert found.df == pytest.approx(4)
    assert (
        found.detectable_difference
        == pytest.approx(detectable(3, paired=False))
        == pytest.approx(3.07, abs=0.005)
    )


@pytest.mark.parametrize(("count", "tests"), [(3, 2), (5, 4), (10, 7)])
def test_with_holm_80_of_100_studies_find_it_at_the_strictest_level(count: int, tests: int) -> None:
    rows = np.random.default_rng(0).standard_normal((20_000, count)) + detectable(count, tests=tests)
    power = np.mean(stats.ttest_1samp(rows, 0, axis=1).pvalue < 0.05 / tests)
    assert power == pytest.approx(0.8, abs=0.01)
    assert noncentrality(count - 1, tests) == detectable(count, tests=tests) * count**0.5
    assert detectable(count, tests=1) == detectable(count) < detectable(count, tests=tests)


def test_the_correlation_of_pairs_is_scipys() -> None:
    arm, base = {0: 0.5, 1: 0.62, 2: 0.55, 3: 0.7}, {0: 0.4, 1: 0.5, 2: 0.47, 3: 0.52}
    expected = stats.pearsonr(list(arm.values()), list(base.values())).statistic
    assert difference(arm, base).correlation == pytest.approx(expected)
    assert correlation([1.0, 2.0], [1.0, 5.0]) is None, "two pairs always lie on a line"
    assert correlation([1.0, 2.0, 3.0], [0.3, 0.1 + 0.2, 0.3]) is None
    shifted = difference({seed: value + 0.5 for seed, value in base.items()}, base)
    assert (shifted.p, shifted.correlation) == (None, pytest.approx(1.0))


def test_unpaired_stands_beside_paired_if_it_is_asked_for(study: Path) -> None:
    found = compare_paths([study], UNPAIRED)
    titles = [table.title for table in tables(found, details=[found.primary])]
    paired = titles.index(f"ari ↑: difference to '{found.baseline}', paired by seed")
    assert titles[paired + 1] == f"ari ↑: difference to '{found.baseline}', not paired"
    others = [arm for arm in found.arms if arm.name != found.baseline]
    ps = [arm.unpaired["ari"].p for arm in others]
    assert [arm.unpaired["ari"].p_holm for arm in others] == correct(ps)
    for arm in others:
        one, pair = arm.unpaired["ari"], arm.differences["ari"]
        assert one == found.arm(arm.name).unpaired["ari"]
        assert one.counts == (3, 3)
        assert one.mean == pytest.approx(pair.mean)
        assert pair.detectable_holm == detectable(3, tests=3)
        assert pair.detectable_difference_holm == pytest.approx(detectable(3, tests=3) * (pair.std or 0))
        assert one.df is not None
        assert one.detectable_difference_holm == pytest.approx(
            (one.detectable_difference or 0) * noncentrality(one.df, 3) / noncentrality(one.df)
        )
    plain = compare_paths([study])
    assert all(not arm.unpaired for arm in plain.arms)
    assert not any("not paired" in table.title for table in tables(plain))


def test_csv_and_json_hold_both(study: Path) -> None:
    found = compare_paths([study], UNPAIRED)
    row = next(
        row for row in csv.DictReader(io.StringIO(as_csv(found))) if row["p"] and row["metric"] == "ari"
    )
    arm = found.arm(row["arm"])
    told = next(one for one in as_json(found)["arms"] if one["name"] == arm.name)
    one, pair = arm.unpaired["ari"], arm.differences["ari"]
    names = ("t", "df", "p", "p_holm", "detectable_difference", "detectable_difference_holm")
    for name in names:
        assert float(row[f"unpaired_{name}"]) == getattr(one, name) == told["unpaired"]["ari"][name]
    for name in ("correlation", "detectable_holm", "detectable_difference_holm"):
        assert float(row[name]) == getattr(pair, name) == told["differences"]["ari"][name]
    assert one.interval is not None
    assert told["unpaired"]["ari"]["interval"] == [one.interval.low, one.interval.high]
    assert told["unpaired"]["ari"]["seeds"] == [3, 3]
    plain = next(csv.DictReader(io.StringIO(as_csv(compare_paths([study])))))
    assert plain["unpaired_p"] == plain["unpaired_difference"] == ""
