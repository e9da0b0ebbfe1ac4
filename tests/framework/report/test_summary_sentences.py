"""The summary's sentences: what differs, what cannot be told, what went wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from slotlab.framework.compare.binding import binding_of, with_binding_tests
from slotlab.framework.compare.results import Arm, ArmCost, ComparedMetric, Comparison, LeftOut
from slotlab.framework.compare.statistics import correct, describe, difference
from slotlab.framework.report.build import best, marks
from slotlab.framework.report.number_format import MINUS
from slotlab.framework.report.summary_sentences import findings

NO_COST = ArmCost(None, None, None, None, None, None, ())
ARI = ComparedMetric("ari", True, (-1.0, 1.0))


def comparison(values, *, metric=ARI, baseline="base", **options):
    """Compare arms by seed, with Holm's correction over arms."""
    arms = []
    for name, by_seed in values.items():
        tested = name != baseline and baseline in values
        differences = {metric.name: difference(by_seed, values[baseline])} if tested else {}
        arms.append(Arm(name, {}, (), (), (), {metric.name: describe(by_seed)}, differences, {}, NO_COST))
    found = [arm for arm in arms if arm.differences]
    ps = correct([arm.differences[metric.name].p for arm in found])
    corrected = {
        arm.name: replace(arm, differences={metric.name: replace(arm.differences[metric.name], p_holm=p)})
        for arm, p in zip(found, ps, strict=True)
    }
    named = baseline if baseline in values else None
    every = tuple(corrected.get(arm.name, arm) for arm in arms)
    return Comparison(
        "made up", "", (metric,), metric, named, every, (), {}, options.pop("failed_below", None), **options
    )


def texts(*arguments, **options):
    return [finding.text.replace(MINUS, "-") for finding in findings(comparison(*arguments, **options))]


def seeds(*values):
    return dict(enumerate(values))


NOT_TESTED = (
    "No difference to base can be tested, since that needs at least two seeds that both arms have. "
    "The differences here may be due to the seeds alone."
)
BASE = seeds(0.50, 0.52, 0.51, 0.49, 0.53)


def test_a_clear_difference_is_named_with_its_evidence():
    found = texts({"base": BASE, "wide": seeds(0.60, 0.61, 0.60, 0.60, 0.63)})
    assert found == [
        "The highest mean ari is that of wide: 0.608 (5 seeds, 95 % interval [0.592, 0.624]).",
        (
            "wide is better than base (+0.098 ari, uncorrected 95 % interval [+0.088, +0.108], 5 pairs of seeds, "
            "corrected p < 0.001)."
        ),
        (
            "With 5 seeds and the observed spread, the smallest difference in ari that four of five such "
            "studies would find is 0.014, before correction."
        ),
    ]


def test_what_does_not_differ_significantly_is_not_called_equal():
    found = texts({"base": BASE, "wide": seeds(0.50, 0.55, 0.47, 0.52, 0.51)})
    assert found[1] == (
        "wide and base do not differ significantly (+0.000 ari, uncorrected 95 % interval [-0.038, +0.038], "
        "5 pairs of seeds, corrected p = 1.000), which does not show them equal."
    )


@pytest.mark.parametrize(
    ("higher", "word", "extreme"), [(True, "better", "highest"), (False, "worse", "lowest")]
)
def test_better_follows_the_metric(higher, word, extreme):
    metric = ComparedMetric("score", higher)
    found = texts(
        {"base": BASE, "wide": {seed: value + 0.1 + seed * 1e-3 for seed, value in BASE.items()}},
        metric=metric,
    )
    assert found[0].startswith(f"The {extreme} mean score is that of {'wide' if higher else 'base'}")
    assert found[1].startswith(f"wide is {word} than base (")


def test_several_arms_that_do_not_differ_significantly_share_a_sentence():
    arms = {
        name: seeds(0.50 + shift, 0.55, 0.47, 0.52, 0.51)
        for name, shift in (("a", 0), ("b", 0.01), ("c", 0.02))
    }
    found = texts({"base": BASE, **arms})
    assert found[1] == (
        "3 arms (a, b, c) do not differ significantly from base (corrected p from 1.000), which does not show them equal. "
        "Their intervals lie within [-0.038, +0.044] ari."
    )


def test_many_clear_arms_are_counted():
    better = {f"up{i}": {s: v + 0.1 + i * 0.01 + s * 1e-3 for s, v in BASE.items()} for i in range(5)}
    worse = {f"down{i}": {s: v - 0.1 - s * 1e-3 for s, v in BASE.items()} for i in range(2)}
    found = texts({"base": BASE, **better, **worse})
    assert (
        found[1]
        == "Compared with base, 5 arms are better and 2 worse in ari (corrected p < 0.05). The two clearest:"
    )
    assert sum(" than base (" in text for text in found) == 2


def test_one_seed_says_nothing_about_methods():
    found = findings(comparison({"base": seeds(0.5), "wide": seeds(0.9)}))
    assert [(finding.text, finding.caution) for finding in found] == [
        ("The highest mean ari is that of wide: 0.9000 (1 seed).", False),
        (NOT_TESTED, True),
    ]


def test_without_a_baseline_nothing_is_tested():
    found = texts({"a": BASE, "b": BASE}, baseline="none")
    assert found[1:] == ["No arm is named as the baseline, so no difference is tested."]


def test_runs_that_failed_did_not_bind_or_do_not_count_are_listed():
    made = comparison({"base": BASE}, failed_below=0.3, left_out=(LeftOut(Path("x"), "running"),))
    arm = replace(made.arms[0], members=("a", "b", "c"), failed=("d",), not_bound=("a",))
    assert [finding.text for finding in findings(replace(made, arms=(arm,)))] == [
        "1 of 4 runs failed and are not in the means; section Runs has the reasons.",
        "1 run did not bind (ari is below 0.300); such runs are in the means.",
        "1 run could not be counted; section Runs has the reasons.",
    ]


def test_an_arm_of_which_only_some_runs_bound_is_told_by_its_rate():
    values = {"base": BASE, "wide": seeds(0.60, 0.62, 0.01)}
    made = comparison(values, failed_below=0.3)
    arms = [replace(arm, binding=binding_of(arm.statistics, [ARI], ARI, 0.3)) for arm in made.arms]
    found = findings(replace(made, arms=tuple(with_binding_tests(arms, "base"))))
    assert [(finding.text.replace(MINUS, "-"), finding.caution) for finding in found[:2]] == [
        (
            (
                "wide bound in 2 of 3 runs (rate 0.67, exact 95 % interval [0.09, 0.99]); mean ari of those 0.61 "
                "[0.48, 0.74]; Fisher's exact test against base: corrected p = 0.375."
            ),
            False,
        ),
        (
            (
                "Where only some runs bound, the t interval and the t test of the mean do not fit; read the rate, "
                "and the mean of the runs that bound."
            ),
            True,
        ),
    ]


def test_a_metric_without_values_breaks_nothing():
    made = comparison({"base": {}, "wide": {}})
    assert best(made) == {}
    assert all("mean" not in finding.text for finding in findings(made))


def test_the_baseline_alone_has_its_color():
    found = marks(comparison({f"arm{i}": BASE for i in range(31)}, baseline="arm3"), [])
    assert [position for position, mark in enumerate(found) if mark.color == 0] == [3]
