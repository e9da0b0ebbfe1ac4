"""Whether runs bind as an outcome of its own: exact intervals, exact tests, and metrics given that they did."""

import csv
import io
from math import comb
from pathlib import Path

import pytest
from scipy import stats

from slotlab.framework.compare.binding import fisher, rate_interval
from slotlab.framework.compare.comparison import Comparison, ComparisonRequest, compare, compare_paths
from slotlab.framework.compare.csv_json import as_csv, as_json
from slotlab.framework.compare.results import Binding, Interval
from slotlab.framework.compare.statistics import correct, describe
from slotlab.framework.compare.tables import tables

from .conftest import Record

BOUND, UNBOUND = (0.61, 0.64, 0.66), (0.02, 0.05)


def counted(bound: int, runs: int) -> Binding:
    return Binding(bound, runs, rate_interval(bound, runs), {})


@pytest.fixture
def three_arms(record: Record) -> Comparison:
    """All runs of 7 slots bound, three of five with 9, none with 11."""
    values = {7: (*BOUND, 0.63, 0.65), 9: (*BOUND, *UNBOUND), 11: (*UNBOUND, 0.01, 0.03, 0.04)}
    runs = [
        record(f"{slots}-{seed}", seed, value, settings={"model.slots": slots})
        for slots, given in values.items()
        for seed, value in enumerate(given)
    ]
    return compare(runs, ComparisonRequest(baseline="slots=7", failed_below=0.3))


@pytest.mark.parametrize(("bound", "runs"), [(0, 1), (1, 1), (0, 3), (2, 3), (3, 3), (3, 5), (10, 10)])
def test_intervals_of_rates_are_those_of_clopper_and_pearson(bound: int, runs: int) -> None:
    low = stats.beta.ppf(0.025, bound, runs - bound + 1) if bound else 0.0
    high = stats.beta.ppf(0.975, bound + 1, runs - bound) if bound < runs else 1.0
    found = rate_interval(bound, runs)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert rate_interval(0, 0) is None


def test_no_run_of_three_is_worth_a_bound_by_hand() -> None:
    # A rate r gives three misses with (1 - r)^3, which is 0.025 at the upper end.
    found = rate_interval(0, 3)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 3)))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_fishers_least_p_by_hand(count: int) -> None:
    assert fisher(counted(count, count), counted(0, count)) == pytest.approx(2 / comb(2 * count, count))


def test_fishers_test_of_equal_or_missing_arms() -> None:
    assert fisher(counted(3, 3), counted(5, 5)) == 1.0
    assert fisher(counted(0, 3), counted(0, 3)) == 1.0
    assert fisher(counted(0, 0), counted(1, 3)) is None
    # Of 10 runs 7 bound: the ways to draw 5 of them in which 2 or 5 bound, each as likely as comb says.
    by_hand = (comb(7, 2) * comb(3, 3) + comb(7, 5)) / comb(10, 5)
    assert fisher(counted(5, 5), counted(2, 5)) == pytest.approx(by_hand)


def test_every_arm_has_its_rate_its_test_and_its_metric_given_that_it_bound(three_arms: Comparison) -> None:
    found = [arm.binding for arm in three_arms.arms]
    assert all(found)
    base, mixed, none = (one for one in found if one is not None)
    assert [(one.bound, one.runs, one.rate, one.mixed) for one in (base, mixed, none)] == [
        (5, 5, 1.0, False),
        (3, 5, 0.6, True),
        (0, 5, 0.0, False),
    ]
    ps = [stats.fisher_exact([[3, 2], [5, 0]]).pvalue, stats.fisher_exact([[0, 5], [5, 0]]).pvalue]
    assert (base.p, base.p_holm) == (None, None)
    assert [mixed.p, none.p] == pytest.approx(ps)
    assert [mixed.p_holm, none.p_holm] == correct([mixed.p, none.p])
    assert mixed.given_bound["ari"] == describe(dict(enumerate(BOUND)))
    assert none.given_bound["ari"].mean is None


def test_an_arm_that_is_mixed_has_its_rate_as_headline_and_no_mean_of_all(three_arms: Comparison) -> None:
    overview, rates = tables(three_arms)[:2]
    assert overview.columns == ("arm", "bound", "seeds", "failed", "ari ↑")
    assert [row[1] for row in overview.rows] == ["5 of 5", "3 of 5", "0 of 5"]
    assert overview.rows[1][4] == "if bound 0.637 ± 0.025"
    assert overview.rows[0][4] == "0.638 ± 0.019"
    assert rates.title == "runs that bound: ari at least 0.3 (an option of this comparison)"
    assert rates.rows[1] == (
        "slots=9", "3 of 5", "0.60", "[0.15, 0.95]", "0.44", "0.44", "0.637 [0.574, 0.699]",
    )  # fmt: skip
    assert rates.rows[2][-1] == "-"
    (note,) = [note for note in three_arms.notes if "do not fit" in note]
    assert note.endswith("given that a run bound: slots=9")


def test_without_a_threshold_nothing_is_said_of_binding(record: Record) -> None:
    found = compare([record("a", 0, 0.6), record("b", 1, 0.01)])
    assert found.arms[0].binding is None
    assert as_json(found)["arms"][0]["binding"] is None
    assert tables(found)[0].columns == ("arm", "seeds", "failed", "ari ↑")
    assert found.notes == ("intervals end at the bounds of ari (0 to 1), beyond which no mean lies: small",)
    (row,) = csv.DictReader(io.StringIO(as_csv(found)))
    assert [row[name] for name in ("unbound", "bound", "binding_rate", "mean_if_bound")] == [""] * 4


@pytest.mark.parametrize(("value", "rate"), [(0.6, 1.0), (0.01, 0.0), (None, None)])
def test_one_run_has_a_rate_unless_it_has_no_value(record: Record, value: float | None, rate: float) -> None:
    found = compare([record("a", 0, values={"ari": value})], ComparisonRequest(failed_below=0.3)).arms[0]
    assert found.binding is not None
    assert (found.binding.rate, found.binding.mixed, found.binding.p) == (rate, False, None)
    assert (found.binding.interval is None) == (rate is None)


def test_of_an_error_the_small_ones_bound(record: Record) -> None:
    runs = [record("a", 0, values={"mse": 0.5}), record("b", 1, values={"mse": 0.1})]
    found = compare(runs, ComparisonRequest(failed_below=0.3))
    assert found.arms[0].binding is not None
    assert found.arms[0].binding.given_bound["mse"].by_seed == {1: 0.1}
    assert tables(found)[1].title.startswith("runs that bound: mse at most 0.3")


def test_csv_and_json_hold_the_rates_in_full(three_arms: Comparison) -> None:
    row = list(csv.DictReader(io.StringIO(as_csv(three_arms))))[1]
    told, one = as_json(three_arms)["arms"][1]["binding"], three_arms.arms[1].binding
    assert one is not None
    assert isinstance(one.interval, Interval)
    given = one.given_bound["ari"]
    assert given.interval is not None
    assert [float(row[name]) for name in ("bound", "binding_rate", "binding_low", "binding_high")] == [
        3, 0.6, one.interval.low, one.interval.high,
    ]  # fmt: skip
    assert [float(row[name]) for name in ("binding_p", "binding_p_holm")] == [one.p, one.p_holm]
    assert [float(row[name]) for name in ("mean_if_bound", "low_if_bound", "high_if_bound")] == [
        given.mean, given.interval.low, given.interval.high,
    ]  # fmt: skip
    assert {name: told[name] for name in ("bound", "runs", "rate", "p", "p_holm")} == {
        name: getattr(one, name) for name in ("bound", "runs", "rate", "p", "p_holm")
    }
    assert told["interval"] == [one.interval.low, one.interval.high]
    assert told["given_bound"]["ari"]["by_seed"] == {"0": 0.61, "1": 0.64, "2": 0.66}


def test_the_origin_of_the_threshold_and_another_primary_metric_are_said(study: Path) -> None:
    declared = compare_paths([study])
    told = {
        "primary": "ari",
        "failed_below": 0.3,
        "sequential": None,
        "equivalent_within": None,
        "search": None,
        "halving": None,
        "history": [],
    }
    assert as_json(declared)["declared"] == told
    assert any(note.endswith("(threshold: declared by the study)") for note in declared.notes)
    assert not any("the primary metric is" in note for note in declared.notes)
    other = compare_paths([study], ComparisonRequest(primary="fg_ari", failed_below=0.5))
    assert (
        "the primary metric is fg_ari, not ari as the study declares: its p is not corrected for this choice"
    ) in other.notes
    assert any(
        note.endswith("(threshold: an option of this comparison; the study declares 0.3)")
        for note in other.notes
    )
