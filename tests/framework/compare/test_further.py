"""Further tests of the primary metric: against independent computations, by simulation, and as tables."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.api.choosing import chosen
from slotlab.framework.compare.comparison import Comparison, ComparisonRequest, compare
from slotlab.framework.compare.csv_json import as_json
from slotlab.framework.compare.factorial import effects
from slotlab.framework.compare.further import one_published
from slotlab.framework.compare.further_results import ALSO, Effects
from slotlab.framework.compare.multiple_arms import all_pairs, dunnett, equivalence
from slotlab.framework.compare.profiles import improvement, probability, profiles
from slotlab.framework.compare.statistics import correct
from slotlab.framework.compare.tables import tables
from slotlab.framework.compare.welch import welch, welch_of_summaries
from slotlab.registry import SlotlabError

from .conftest import Record

SIZES = {"encoder": ("cnn", "resnet"), "slots": ("5", "7", "11")}


def grid(seed: int = 0, seeds: int = 4, **sizes: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and values of a full grid, with effects of every kind."""
    random, axes = np.random.default_rng(seed), sizes or SIZES
    labels = {"/".join(cell): dict(zip(axes, cell, strict=True)) for cell in product(*axes.values())}
    blocks = random.standard_normal(seeds)
    values = {
        name: {s: float(blocks[s] + 0.3 * i + 0.2 * random.standard_normal()) for s in range(seeds)}
        for i, name in enumerate(labels)
    }
    return labels, values


def residual(columns: list[np.ndarray], y: np.ndarray) -> tuple[float, int]:
    """The sum of squares that least squares leaves, and the rank of what it fits."""
    design = np.column_stack(columns)
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(((y - fitted) ** 2).sum()), int(np.linalg.matrix_rank(design))


@pytest.mark.parametrize("axes", [SIZES, {"a": ("x", "y"), "b": ("u", "v"), "c": ("p", "q", "r")}])
def test_effects_are_those_of_least_squares(axes: dict[str, tuple[str, ...]]) -> None:
    """Each term is tested by leaving its dummy columns out of the full model, as statistics packages do."""
    labels, values = grid(**axes)
    found = effects(labels, values, None)
    assert isinstance(found, Effects)
    rows = [(labels[name], s, v) for name, one in values.items() for s, v in one.items()]
    y = np.array([v for *_, v in rows])
    sums = {
        axis: [[(one[axis] == level) - (one[axis] == names[-1]) for one, *_ in rows] for level in names[:-1]]
        for axis, names in axes.items()
    }
    blocks = [np.array([float(s == seed) for _, s, _ in rows]) for seed in range(4)]

    def columns(term: tuple[str, ...]) -> list[np.ndarray]:
        return [
            np.prod(np.array(one, dtype=float), axis=0) for one in product(*(sums[axis] for axis in term))
        ]

    every = [term.axes for term in found.terms]
    whole, rank = residual([*blocks, *(c for term in every for c in columns(term))], y)
    df = len(y) - rank
    assert found.std == pytest.approx(math.sqrt(whole / df))
    for term in found.terms:
        left, _ = residual(
            [*blocks, *(c for other in every if other != term.axes for c in columns(other))], y
        )
        own = len(columns(term.axes))
        assert term.df == (own, df)
        assert term.f == pytest.approx((left - whole) / own / (whole / df))
        assert term.p == pytest.approx(stats.f.sf(term.f, own, df))
    assert [term.p_holm for term in found.terms] == correct([term.p for term in found.terms])


def test_contrasts_are_differences_of_marginal_means_and_of_differences() -> None:
    labels, values = grid(encoder=("cnn", "resnet"), slots=("5", "7"))
    found = effects(labels, values, "resnet/7")
    assert isinstance(found, Effects)
    mean = {name: np.mean(list(one.values())) for name, one in values.items()}
    first, second, both = (term.contrasts[0] for term in found.terms)
    assert (first.level, first.reference, second.level) == ("cnn", "resnet", "5")
    assert first.mean == pytest.approx(
        (mean["cnn/5"] + mean["cnn/7"] - mean["resnet/5"] - mean["resnet/7"]) / 2
    )
    assert both.mean == pytest.approx(mean["cnn/5"] - mean["cnn/7"] - mean["resnet/5"] + mean["resnet/7"])
    # A contrast with one degree of freedom has the t whose square is F, and so its interval's half width.
    for term in found.terms:
        (one,), (own, df) = term.contrasts, term.df
        assert own == 1
        assert term.f is not None
        assert one.interval is not None
        half = stats.t.ppf(0.975, df) * abs(one.mean) / math.sqrt(term.f)
        assert (one.interval.low, one.interval.high) == pytest.approx((one.mean - half, one.mean + half))


def test_effects_need_a_full_grid_and_whole_seeds() -> None:
    labels, values = grid()
    lost = {name: one for name, one in labels.items() if name != "cnn/7"}
    told = effects(lost, {name: values[name] for name in lost}, None)
    assert told == "the grid is not full: there is no arm encoder=cnn, slots=7, so axes cannot be told apart"
    holed = {**values, "cnn/5": {0: 1.0, 1: 2.0}}
    found = effects(labels, holed, None)
    assert isinstance(found, Effects)
    assert (found.seeds, found.lost) == ((0, 1), (2, 3))
    assert (
        effects(labels, {**values, "cnn/5": {0: 1.0}}, None)
        == "fewer than two seeds have a value in every arm"
    )
    assert (
        effects({"a": {}, "b": {}}, {"a": {0: 1.0}, "b": {0: 1.0}}, None)
        == "arms do not differ by labels of axes"
    )
    equal = {name: {0: 1.0, 1: 2.0} for name in labels}
    flat = effects(labels, equal, None)
    assert isinstance(flat, Effects)
    assert {term.p for term in flat.terms} == {None}


def test_without_an_effect_five_of_a_hundred_studies_find_one() -> None:
    random, found = np.random.default_rng(1), []
    labels = {f"{a}{b}": {"a": a, "b": b} for a in "xy" for b in "uv"}
    for _ in range(600):
        table = random.standard_normal((3, 4)) + 5 * random.standard_normal((3, 1))
        told = effects(labels, {name: dict(enumerate(table[:, i])) for i, name in enumerate(labels)}, None)
        assert isinstance(told, Effects)
        found += [term.p < 0.05 for term in told.terms if term.p is not None]
    assert np.mean(found) == pytest.approx(0.05, abs=0.016)


ARMS = {
    "a": {0: 0.50, 1: 0.55, 2: 0.47, 3: 0.52},
    "b": {0: 0.60, 1: 0.66, 2: 0.58, 3: 0.61},
    "c": {0: 0.52, 1: 0.54, 2: 0.49},
}


def test_all_pairs_by_the_studentized_range_and_by_paired_tests() -> None:
    found = all_pairs(ARMS)
    assert [(one.arm, one.other) for one in found] == [("b", "a"), ("c", "a"), ("c", "b")]
    lists = {name: list(one.values()) for name, one in ARMS.items()}
    df = sum(map(len, lists.values())) - 3
    variance = sum(np.var(one, ddof=1) * (len(one) - 1) for one in lists.values()) / df
    for one in found:
        n, m = one.counts
        error = math.sqrt(variance / 2 * (1 / n + 1 / m))
        assert one.mean == pytest.approx(np.mean(lists[one.arm]) - np.mean(lists[one.other]))
        assert one.p_tukey == pytest.approx(
            stats.studentized_range.sf(abs(one.mean) / error, 3, df), abs=1e-6
        )
        half = stats.studentized_range.ppf(0.95, 3, df) * error
        assert (one.interval.low, one.interval.high) == pytest.approx(
            (one.mean - half, one.mean + half), rel=1e-4
        )
        shared = [s for s in ARMS[one.arm] if s in ARMS[one.other]]
        paired = stats.ttest_rel([ARMS[one.arm][s] for s in shared], [ARMS[one.other][s] for s in shared])
        assert (one.pairs, one.p_paired) == (len(shared), pytest.approx(paired.pvalue))
    assert [one.p_holm for one in found] == correct([one.p_paired for one in found])


def test_dunnett_holds_the_type_i_error_over_all_arms() -> None:
    """The level of a maximum of correlated t statistics, here from simulated arms and not from an integral."""
    (one, other) = dunnett(ARMS, "a")
    assert (one.arm, one.counts, other.counts) == ("b", (4, 4), (3, 4))
    random = np.random.default_rng(2)
    means = random.standard_normal((200_000, 3)) / np.sqrt([4, 4, 3])
    spread = np.sqrt(random.chisquare(8, 200_000) / 8)
    ts = np.abs(means[:, 1:] - means[:, :1]) / (spread[:, None] * np.sqrt([1 / 4 + 1 / 4, 1 / 3 + 1 / 4]))
    lists = [list(one.values()) for one in ARMS.values()]
    pooled = math.sqrt(sum(np.var(one, ddof=1) * (len(one) - 1) for one in lists) / 8)
    for test in (one, other):
        t = abs(test.mean) / (pooled * math.sqrt(sum(1 / n for n in test.counts)))
        assert test.p == pytest.approx(np.mean(ts.max(axis=1) > t), abs=0.004)
    assert dunnett(ARMS, "a") == [one, other], "the integral is seeded"


def test_equivalence_by_two_one_sided_tests() -> None:
    found = equivalence(ARMS, "a", 0.05)
    for one in found:
        pairs = [ARMS[one.arm][s] - ARMS["a"][s] for s in ARMS[one.arm]]
        ps = (
            stats.ttest_1samp(pairs, -0.05, alternative="greater").pvalue,
            stats.ttest_1samp(pairs, 0.05, alternative="less").pvalue,
        )
        assert one.p == pytest.approx(max(ps))
        assert one.interval is not None
        assert (max(ps) < 0.05) == (one.interval.low > -0.05 and one.interval.high < 0.05)
    assert [one.p_holm for one in found] == correct([one.p for one in found])
    (same,) = equivalence({"a": ARMS["a"], "b": dict(ARMS["a"])}, "a", 0.05)
    assert (same.mean, same.p) == (0.0, None), "of equal pairs no spread is known"


def test_at_the_margin_five_of_a_hundred_studies_call_arms_equivalent() -> None:
    values = np.random.default_rng(4).standard_normal((2000, 5)) * 0.02 + 0.05
    base = dict.fromkeys(range(5), 0.0)
    found = [equivalence({"a": base, "b": dict(enumerate(row))}, "a", 0.05)[0].p for row in values.tolist()]
    assert np.mean([p is not None and p < 0.05 for p in found]) == pytest.approx(0.05, abs=0.015)


def test_welch_from_summaries_is_welch_from_seeds() -> None:
    own, other = [0.5, 0.55, 0.47, 0.52], [0.61, 0.66, 0.58]
    from_seeds = welch(own, other)
    told = welch_of_summaries(
        (float(np.mean(own)), float(np.std(own, ddof=1)), 4),
        (float(np.mean(other)), float(np.std(other, ddof=1)), 3),
    )
    for name in ("mean", "t", "df", "p"):
        assert getattr(told, name) == pytest.approx(getattr(from_seeds, name))


def compared(record: Record, *, failed: bool = False, **choice: Any) -> Comparison:
    arms = {("cnn", 5): (0.50, 0.52, 0.47), ("cnn", 7): (0.60, 0.63, 0.59), ("vit", 5): (0.55, 0.58, 0.50), ("vit", 7): (0.7, 0.72, 0.65)}  # fmt: skip
    runs = [
        record(
            f"{name}{slots}-{seed}", seed, value, settings={"model.slots": slots, "model.encoder.name": name}
        )
        for (name, slots), values in arms.items()
        for seed, value in enumerate(values)
    ]
    if failed:
        runs[-1] = record(
            "lost", 2, state="failed", evaluations=0, settings={"model.slots": 7, "model.encoder.name": "vit"}
        )
    return compare(runs, ComparisonRequest(baseline="slots=5 encoder=cnn", **choice))


def test_a_published_mean_is_tested_only_if_its_spread_is_known(record: Record) -> None:
    arm = compared(record).arms[0]
    row = {
        "method": "SA",
        "source": "paper",
        "metric": "ari",
        "value": 0.6,
        "std": 0.02,
        "seeds": 5,
        "spread": "std",
    }
    found = one_published(arm, "ari", row)
    expected = stats.ttest_ind_from_stats(
        0.49666667, arm.statistics["ari"].std, 3, 0.6, 0.02, 5, equal_var=False
    )
    assert found.p == pytest.approx(expected.pvalue, rel=1e-5)
    error = one_published(arm, "ari", {**row, "spread": "standard_error", "std": 0.02 / math.sqrt(5)})
    assert error == found
    for change, reason in (
        ({"spread": None}, "the source does not say what its spread is"),
        ({"std": None}, "the source gives no spread"),
        ({"seeds": None}, "the source gives no number of seeds"),
        ({"seeds": 1}, "the source gives no second seed"),
    ):
        refused = one_published(arm, "ari", {**row, **change})
        assert (refused.p, refused.refused) == (None, reason)
    lone = replace(arm, statistics={"ari": replace(arm.statistics["ari"], std=None)})
    assert one_published(lone, "ari", row).refused == "the arm has fewer than two seeds"


def test_the_probability_of_improvement_is_mann_whitneys() -> None:
    random = np.random.default_rng(0)
    own, base = [random.random(4), random.random(6)], [random.random(5), random.random(3)]
    base[0][0] = own[0][0]  # a tie
    expected = [
        stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(own, base, strict=True)
    ]
    assert probability(own, base) == pytest.approx(np.mean(expected))
    found = improvement("a", [one.tolist() for one in own], [one.tolist() for one in base])
    assert found.interval.low <= found.probability <= found.interval.high
    sure = improvement("a", [[0.9, 0.8]], [[0.1, 0.2]])
    assert (sure.probability, sure.interval.low, sure.interval.high) == (1.0, 1.0, 1.0)
    assert improvement("a", [[-math.inf]], [[0.1]]).probability == 0.0, "a failed run is better than none"


def test_a_profile_is_the_share_of_better_runs_and_failed_runs_are_never_better() -> None:
    scores = {"a": [[0.2, 0.6, 0.9, -math.inf], [0.5, 0.5, 0.5, 0.5]]}
    (one,) = profiles(scores, (0.0, 1.0))
    assert (one.runs, one.failed) == (8, 1)
    assert len(one.thresholds) == 101
    for threshold, share in zip(one.thresholds, one.shares, strict=True):
        expected = [np.mean([score > threshold for score in task]) for task in scores["a"]]
        assert share == pytest.approx(np.mean(expected))
    assert list(one.shares) == sorted(one.shares, reverse=True)
    assert all(low <= share <= high for low, share, high in zip(one.low, one.shares, one.high, strict=True))
    assert max(one.shares) == 0.875


def test_all_of_it_stands_in_tables_and_json(record: Record) -> None:
    found = compared(record, also=ALSO, equivalent_within=0.05, failed=True)
    titles = [table.title for table in tables(found)]
    for text in ("effects of axes, over the seeds that all arms have (2; without 2", "all pairs of arms", "all arms at once", "within ±0.05 (an option of this comparison)", "failed runs as worst"):  # fmt: skip
        assert any(text in title for title in titles), text
    (refused,) = (table for table in tables(found) if table.title == "not tested")
    assert refused.rows == (("published", "no number is published under this protocol"),)
    told = as_json(found)["further"]
    assert told["effects"]["terms"][0]["axes"] == ["slots"]
    assert told["dunnett"][0]["interval"] == [
        found.further.dunnett[0].interval.low,
        found.further.dunnett[0].interval.high,
    ]  # type: ignore[union-attr]
    assert len(told["all_pairs"]) == 6
    assert told["profiles"][-1]["failed"] == 1
    assert [one["arm"] for one in told["improvement"]] == [arm.name for arm in found.arms[1:]]
    assert compared(record).further is None
    assert as_json(compared(record))["further"] is None


def test_what_is_pooled_and_what_that_assumes_is_said(record: Record) -> None:
    found = compared(record, also=["effects", "dunnett"])
    assert found.further is not None
    assert found.further.effects is not None
    (note,) = (text for text in found.notes if text.startswith("effects of axes: "))
    assert (
        f"pooled over all 4 arms, what is left once arms and seeds are taken out (df {found.further.effects.terms[0].df[1]})"
        in note
    )
    assert "assumes that all arms scatter alike and that a seed shifts all arms alike" in note
    assert any(
        "all arms at once (Dunnett): the variance over seeds is pooled" in text for text in found.notes
    )
    assert not any("pooled" in text for text in compared(record).notes)


def test_profiles_over_tasks_average_an_axis(record: Record) -> None:
    found = compared(record, also=("profiles",), tasks="slots").further
    assert found is not None
    assert [one.arm for one in found.profiles] == ["encoder=cnn", "encoder=vit"]
    (better,) = found.improvement
    assert (better.arm, better.tasks) == ("encoder=vit", 2)
    assert better.probability == pytest.approx((7.5 / 9 + 1) / 2)
    wrong = compared(record, also=("profiles",), tasks="depth").further
    assert wrong is not None
    assert wrong.refused == {"profiles": "there is no axis 'depth' (axes: slots, encoder)"}


def test_without_a_baseline_what_needs_one_says_so(record: Record) -> None:
    runs = [record(f"{slots}-{seed}", seed, 0.5 + seed / 10, settings={"model.slots": slots}) for slots in (5, 7) for seed in range(2)]  # fmt: skip
    found = compare(runs, ComparisonRequest(also=("dunnett", "all-pairs"), equivalent_within=0.1)).further
    assert found is not None
    told = "there is no baseline arm; choose one with --baseline"
    assert found.refused == {"dunnett": told, "equivalence": told}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"also": ["efects"]}, "--also efects: write effects, all-pairs, dunnett, published or profiles; did you mean 'effects'?"),
        ({"equivalent_within": -1.0}, "--equivalent-within -1: write a number above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_said(given: dict[str, Any], message: str) -> None:
    names = ("primary", "baseline", "dataset", "protocol", "split", "masks", "checkpoint", "failed_below")
    nothing: dict[str, Any] = {"metrics": [], "evaluation": [], "unpaired": False, **dict.fromkeys(names)}
    with pytest.raises(SlotlabError) as error:
        chosen(**nothing, **given)
    assert str(error.value) == message


def test_failed_runs_stand_as_the_worst_value_beside_those_that_finished(record: Record) -> None:
    plain, found = compared(record), compared(record, failed=True)
    assert all(not arm.with_failed for arm in plain.arms)
    assert not any("worst value" in table.title for table in tables(plain))
    arm, base = found.arms[-1], found.arms[0]
    assert arm.statistics["ari"].by_seed == {0: 0.7, 1: 0.72}
    assert arm.with_failed["ari"].by_seed == {0: 0.7, 1: 0.72, 2: 0.0}
    (table,) = (table for table in tables(found) if table.title == "ari ↑: failed runs as the worst value, 0")
    apart = np.mean([0.7, 0.72, 0.0]) - np.mean([0.50, 0.52, 0.47])
    assert table.rows[-1] == (arm.name, "2", "1", "0.710", "0.473", "+0.200", f"{apart:+.3f}")
    assert table.rows[0] == (base.name, "3", "0", "0.497", "0.497", "-", "-")
    assert as_json(found)["arms"][-1]["with_failed"]["ari"]["by_seed"]["2"] == 0.0
    assert any(note.endswith("; a table has them as the worst value") for note in found.notes)
    unbound = replace(found.primary, bounds=(None, None))
    assert unbound.worst is None
    assert replace(found.primary, higher_is_better=False).worst == 1.0
