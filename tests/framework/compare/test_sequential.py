"""Looks at growing studies: published bounds, the type I error that is held, and what the disk remembers."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.compare.alpha_spending import (
    bounds,
    inflation,
    levels,
    null_ps,
    sequential_p,
    spent,
)
from slotlab.framework.compare.comparison import Comparison, ComparisonRequest, compare
from slotlab.framework.compare.csv_json import as_json
from slotlab.framework.compare.results import Declared, SequentialRule
from slotlab.framework.compare.seed_plan import Wanted, notes_on, plan_seeds
from slotlab.framework.compare.statistics import correct
from slotlab.framework.compare.tables import tables
from slotlab.framework.compare.undeclared_changes import changes
from slotlab.framework.study.folder import PlannedLooks, PlannedSearch, StudyFolder
from slotlab.framework.study.history import PastPlan, read_history
from slotlab.registry import SlotlabError

from .conftest import Record

RULES = ["obrien_fleming", "pocock"]
FIVE = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("obrien_fleming", (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        ("pocock", (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_bounds_of_five_looks_are_the_published_ones(rule: str, expected: tuple[float, ...]) -> None:
    """Those that programs for these spending functions print (such as that of Reboussin and others 2000)."""
    assert bounds(rule, FIVE, FIVE) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("rule", RULES)
def test_all_of_alpha_is_spent_at_the_end_and_ever_more_before(rule: str) -> None:
    for alpha in (0.01, 0.05, 0.2):
        shares = [spent(rule, one, alpha) for one in (0.1, 0.4, 0.7, 1.0)]
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(alpha)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("looks", [(3, 5, 8), (3, 4, 5), (2, 6, 10, 15)])
def test_looks_hold_the_type_i_error_and_naive_looks_do_not(rule: str, looks: tuple[int, ...]) -> None:
    values = np.random.default_rng(7).standard_normal((20_000, looks[-1]))
    ps = np.array([stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue for n in looks])
    rejected = (ps < np.array(levels(rule, looks, looks))[:, None]).any(axis=0)
    assert rejected.mean() == pytest.approx(0.05, abs=0.005)
    assert (ps < 0.05).any(axis=0).mean() > 0.09


def test_a_look_that_lost_pairs_still_holds_it_and_one_without_new_pairs_spends_nothing() -> None:
    looks, counts = (3, 5, 8), (2, 4, 7)
    values = np.random.default_rng(8).standard_normal((20_000, 7))
    ps = np.array([stats.ttest_1samp(values[:, :n], 0, axis=1).pvalue for n in counts])
    rejected = (ps < np.array(levels("pocock", looks, counts))[:, None]).any(axis=0)
    assert rejected.mean() == pytest.approx(0.05, abs=0.005)
    first, none, last = levels("pocock", looks, (3, 3, 6))
    assert none == 0.0
    assert first == levels("pocock", looks, (3,))[0]
    assert last > levels("pocock", looks, (3, 5, 8))[2], "what was not spent is spent later"
    assert bounds("pocock", looks, (3, 3, 6))[1] is None


def test_simulated_p_values_are_those_of_t_tests() -> None:
    for column in null_ps((3, 5, 8)):
        assert np.mean(column < 0.05) == pytest.approx(0.05, abs=0.003)
        assert np.mean(column < 0.5) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("rule", RULES)
def test_the_sequential_p_is_below_alpha_exactly_if_a_look_rejects(rule: str) -> None:
    looks, random = (3, 5, 8), np.random.default_rng(3)
    strict = {alpha: levels(rule, looks, looks, alpha) for alpha in (0.01, 0.05, 0.2)}
    for _ in range(5):
        ps = list(np.exp(-random.exponential(2.5, 3)))
        found = sequential_p(rule, looks, looks, ps)
        for alpha, level in strict.items():
            rejects = any(p < one for p, one in zip(ps, level, strict=True))
            if abs(math.log(found / alpha)) > 0.02:
                assert (found < alpha) == rejects
    assert sequential_p(rule, looks, (3,), [0.9]) == 1.0
    assert sequential_p(rule, looks, (2, 4), [None, None]) == 1.0


def test_the_most_seeds_are_those_of_the_tables() -> None:
    """A study of five looks without spending functions needs 1.028 (O'Brien-Fleming) and 1.229 (Pocock) times
    as many (Jennison and Turnbull 2000, tables 2.2 and 2.4); those of Lan and DeMets are close to them."""
    assert inflation("obrien_fleming", FIVE) == pytest.approx(1.028, abs=0.006)
    assert inflation("pocock", FIVE) == pytest.approx(1.229, abs=0.02)
    limits, drift = bounds("pocock", FIVE, FIVE), math.sqrt(inflation("pocock", FIVE)) * (1.95996 + 0.84162)
    steps = np.random.default_rng(0).standard_normal((40_000, 5)) + drift / math.sqrt(5)
    scores = steps.cumsum(axis=1) / np.sqrt(np.arange(1, 6))
    assert (np.abs(scores) > np.array(limits, dtype=float)).any(axis=1).mean() == pytest.approx(0.8, abs=0.01)


BASE = (0.50, 0.52, 0.47, 0.55, 0.51, 0.49)
CLEAR, SAME = (0.70, 0.73, 0.66, 0.75, 0.72, 0.69), (0.51, 0.50, 0.49, 0.54, 0.50, 0.50)


def looked(
    record: Record, seeds: int, *, failed: tuple[int, ...] = (), primary: str | None = None
) -> Comparison:
    runs = [
        record(f"{slots}-{seed}", seed, value, settings={"model.slots": slots})
        if not (slots == 9 and seed in failed)
        else record(f"{slots}-{seed}", seed, state="failed", evaluations=0, settings={"model.slots": slots})
        for slots, values in {7: BASE, 9: CLEAR, 11: SAME}.items()
        for seed, value in enumerate(values[:seeds])
    ]
    rule = SequentialRule("pocock", (2, 4, 6), 0.05, (0, 1, 2, 3, 4, 5))
    declared = Declared(primary or "ari", None, rule)
    return compare(runs, ComparisonRequest(baseline="slots=7", declared=declared))


def test_arms_are_decided_at_the_looks_that_are_complete(record: Record) -> None:
    for seeds, look, waiting in ((1, 0, 1), (2, 1, 0), (3, 1, 1), (4, 2, 0), (5, 2, 1), (6, 3, 0)):
        found = looked(record, seeds)
        for arm in found.arms[1:]:
            assert arm.sequential is not None
            assert (arm.sequential.look, arm.sequential.waiting) == (look, waiting)
    clear, same = (arm.sequential for arm in found.arms[1:])
    assert clear is not None
    assert same is not None
    assert (clear.decision, same.decision) == ("different", "not different")
    assert [clear.p_holm, same.p_holm] == correct([clear.p, same.p])
    assert found.arms[0].sequential is None
    early = looked(record, 3)
    assert {arm.sequential.decision for arm in early.arms if arm.sequential} == {"go on"}
    # A repeated interval is wider than that of one look, and is about the same pairs.
    paired = found.arms[2].differences["ari"].interval
    assert same.interval is not None
    assert paired is not None
    assert same.interval.low < paired.low < paired.high < same.interval.high
    assert found.arms[1].differences["ari"].p_holm == clear.p_holm, "what decides by p (Holm) obeys the rule"


def test_a_repeated_interval_is_scipys_at_the_level_of_its_look(record: Record) -> None:
    same = looked(record, 6).arms[2].sequential
    assert same is not None
    assert same.interval is not None
    paired = stats.ttest_1samp(np.array(SAME) - np.array(BASE), 0).confidence_interval(1 - same.levels[-1])
    assert (same.interval.low, same.interval.high) == pytest.approx((paired.low, paired.high))


def test_failed_runs_end_a_look_and_lose_their_pair(record: Record) -> None:
    found = looked(record, 4, failed=(1,)).arms[1].sequential
    assert found is not None
    assert (found.look, found.counts) == (2, (1, 3))
    assert found.ps[0] is None
    assert found.levels[0] == 0.0


def test_the_rule_is_said_in_tables_notes_and_json(record: Record) -> None:
    found = looked(record, 5)
    (table,) = (one for one in tables(found) if "declared looks" in one.title)
    assert "(Pocock, looks after 2, 4 and 6 seeds, alpha 0.05)" in table.title
    assert [row[:3] for row in table.rows] == [("slots=9", "2 of 3", "4"), ("slots=11", "2 of 3", "4")]
    assert any(note.startswith("tested by Pocock, looks after 2, 4 and 6 seeds") for note in found.notes)
    assert "pairs beyond the last complete look count at the next one only: slots=9, slots=11" in found.notes
    told = as_json(found)
    assert told["sequential"]["looks"] == [2, 4, 6]
    assert told["arms"][1]["sequential"]["decision"] == "different"
    other = looked(record, 5, primary="fg_ari")
    assert other.sequential is None
    assert "the declared looks are about fg_ari alone, and are not applied here" in other.notes


def test_a_plan_counts_the_most_seeds(record: Record) -> None:
    found = looked(record, 4)
    plain = plan_seeds(replace(found, sequential=None), Wanted(difference=0.01))
    with_rule = plan_seeds(found, Wanted(difference=0.01))
    for one, other in zip(plain, with_rule, strict=True):
        if one.design == "unpaired":
            assert one == other
        elif one.needed is not None:
            assert other.needed == math.ceil(one.needed * inflation("pocock", (2, 4, 6)))
    assert "are tested by Pocock, looks after 2, 4 and 6 seeds" in notes_on(found)[1]


PAST = PastPlan((0, 1, 2), ("a", "b"), "ari", "a", None, None, 0)


def test_what_was_changed_after_runs_were_measured_is_said() -> None:
    looks = PlannedLooks("pocock", (3, 5), 0.05)
    later = replace(
        PAST, seeds=(0, 1, 2, 3, 4), sequential=looks, primary="mbo", baseline="b", failed_below=0.1
    )
    assert list(changes((PAST, replace(later, measured=0)))) == []
    found = list(changes((PAST, replace(later, measured=6))))
    assert found[0].startswith("seeds were added to the study after 6 of its runs had been measured (3, 4): ")
    assert [text.partition(" after 6")[0] for text in found[1:]] == [
        "the rule for looks was declared",
        "the primary metric was changed from ari to mbo",
        "the baseline was changed from 'a' to 'b'",
        "the threshold for binding was changed",
    ]
    fewer = replace(PAST, seeds=(0,), arms=("a",), measured=2)
    assert len(list(changes((PAST, fewer)))) == 2


def test_a_damaged_history_is_an_error(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    assert read_history(study) == ()
    study.history.write_text('{"format": 1, "plans": [{"seeds": "all"}]}')
    with pytest.raises(
        SlotlabError, match=r"history\.json is damaged; it should list the plans of the study"
    ):
        read_history(study)


def test_a_comparison_says_that_arms_were_searched(record: Record) -> None:
    declared = Declared("ari", None, search=PlannedSearch("TPESampler", 20, 0))
    found = compare([record("a", 0, 0.5)], ComparisonRequest(declared=declared))
    assert any(
        note.startswith(
            "arms were searched (TPESampler, up to 20 trials, seed 0) by these numbers: the best mean"
        )
        for note in found.notes
    )
