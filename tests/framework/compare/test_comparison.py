"""Runs become arms: what is brought together, what it is called, and what is left out."""

import json
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from slotlab.framework.compare.comparison import ComparisonRequest, compare, compare_paths
from slotlab.framework.compare.csv_json import as_csv, as_json
from slotlab.framework.compare.refusal import RefusedError
from slotlab.framework.compare.run_records import RunRecord, load_all
from slotlab.framework.compare.statistics import correct
from slotlab.framework.compare.table_markup import markdown
from slotlab.framework.compare.tables import facts, tables
from slotlab.registry import SlotlabError

from .conftest import Record

PAIR = ComparisonRequest(baseline="slots=7")


def test_runs_are_grouped_by_everything_but_the_seed(record: Record) -> None:
    more = {"model.slots": 11}
    runs = [
        record("a", 0, 0.5),
        record("b", 1, 0.6),
        record("c", 0, 0.7, settings=more),
        record("d", 1, 0.9, settings=more),
    ]
    found = compare(runs, PAIR)
    assert [arm.name for arm in found.arms] == ["slots=7", "slots=11"]
    assert found.differing == ("model.slots",)
    assert found.arms[1].settings == {"model.slots": 11}
    assert found.arms[1].statistics["ari"].by_seed == {0: 0.7, 1: 0.9}
    assert found.arms[1].differences["ari"].by_seed == pytest.approx({0: 0.2, 1: 0.3})
    assert found.arms[0].differences == {}
    assert found.measured["protocol"] == "whole"


def test_the_order_of_runs_changes_nothing(study: Path) -> None:
    loaded = load_all([study])
    texts = set()
    for seed in range(4):
        shuffled = list(loaded.records)
        random.Random(seed).shuffle(shuffled)
        for studies in (loaded.studies, ()):
            found = compare(shuffled, ComparisonRequest(failed_below=0.4), studies=studies, title="t")
            texts.add(
                (bool(studies), as_csv(found), markdown(tables(found), facts(found)), str(as_json(found)))
            )
    assert len(texts) == 2


def test_a_setting_of_another_component_is_not_told(record: Record) -> None:
    other = {"model.encoder.name": "timm", "model.encoder.channels": (64,), "model.encoder.depth": 3}
    one = compare([record("a"), record("b", settings=other)])
    assert one.differing == ("model.encoder.name",)
    assert [arm.name for arm in one.arms] == ["encoder=cnn", "encoder=timm"]
    two = compare(
        [record("a"), record("b", settings=other), record("c", settings={"model.encoder.channels": (8,)})]
    )
    assert two.differing == ("model.encoder.name", "model.encoder.channels")
    assert [arm.name for arm in two.arms] == [
        "encoder=cnn channels=[8]",
        "encoder=cnn channels=[32, 32]",
        "encoder=timm channels=[64]",
    ]


def test_arms_are_called_as_their_specs_where_that_tells_them_apart(record: Record) -> None:
    more = {"model.slots": 11}
    runs = [record("a", name="few"), record("b", 1, name="few"), record("c", settings=more, name="many")]
    assert [arm.name for arm in compare(runs).arms] == ["few", "many"]
    runs[1] = replace(runs[1], name="another")
    assert [arm.name for arm in compare(runs).arms] == ["slots=7", "slots=11"]
    assert [arm.name for arm in compare(runs[:1]).arms] == ["few"]


def test_runs_that_failed_did_not_bind_or_are_unfinished_are_listed(record: Record) -> None:
    runs = [
        record("a", 0, 0.1),
        record("b", 1, 0.6),
        record("c", 2, state="failed", evaluations=0),
        record("d", 3, state="stopped"),
        record("e", 4, evaluations=0),
        record("f", 5, split="test"),
    ]
    found = compare(runs, ComparisonRequest(split="val", failed_below=0.3))
    (arm,) = found.arms
    assert [member.run.seed for member in arm.members] == [0, 1]
    assert [member.run.seed for member in arm.not_bound] == [0]
    assert [run.seed for run in arm.failed] == [2]
    assert {str(item.path): item.reason for item in found.left_out} == {
        "d": "not finished: stopped",
        "e": "not evaluated; run 'slotlab evaluate' on it",
        "f": "not evaluated under val; its evaluations are scenes-test-whole-decoder",
    }
    assert found.notes == (
        "failed runs, which have no value and are not in the means: 1 (small); a table has them as the worst value",
        "intervals end at the bounds of ari (0 to 1), beyond which no mean lies: small",
        "runs with ari below 0.3 did not bind; they are in the means (threshold: an option of this comparison)",
        (
            "some runs bound and others did not, so the t interval and the t test of the mean do not fit; "
            "read the rate of bound runs, and the metric given that a run bound: small"
        ),
    )
    with_stopped = compare(runs, ComparisonRequest(split="val"), allow_unfinished=True)
    assert [member.run.seed for member in with_stopped.arms[0].members] == [0, 1, 3]
    assert "these runs are not finished, and count all the same: d" in with_stopped.notes


def test_a_threshold_of_an_error_is_an_upper_one(record: Record) -> None:
    runs = [record("a", 0, values={"mse": 0.5}), record("b", 1, values={"mse": 0.1})]
    found = compare(runs, ComparisonRequest(failed_below=0.3))
    assert [member.run.seed for member in found.arms[0].not_bound] == [0]
    assert found.notes[1] == (
        "runs with mse above 0.3 did not bind; they are in the means (threshold: an option of this comparison)"
    )


@pytest.mark.parametrize("metric", ["ari", "mse"])
def test_a_run_at_the_threshold_binds(record: Record, metric: str) -> None:
    runs = [record("a", 0, values={metric: 0.3}), record("b", 1, values={metric: None})]
    assert compare(runs, ComparisonRequest(failed_below=0.3)).arms[0].not_bound == ()


def test_the_cost_of_an_arm_is_the_mean_of_the_runs_that_recorded_it(record: Record) -> None:
    costs: tuple[dict[str, Any], ...] = (
        {
            "seconds": 7200.0,
            "processes": 4,
            "memory": 2**30,
            "flops": 3e12,
            "device": "H100",
            "energy_kwh": None,
        },
        {"seconds": 3600.0, "memory": 3 * 2**30, "images_per_second": 50.0, "device": "A100"},
        {"processes": 2, "device": "A100"},
    )
    runs = [replace(record(str(seed), seed), cost=cost) for seed, cost in enumerate(costs)]
    found = compare(runs)
    cost = found.arms[0].cost
    assert (cost.seconds, cost.memory, cost.flops) == (5400.0, 2 * 2**30, 3e12)
    assert cost.device_hours == (2 * 4 + 1) / 2
    assert (cost.images_per_second, cost.energy_kwh, cost.devices) == (50.0, None, ("A100", "H100"))
    (table,) = [one for one in tables(found) if one.title == "cost of training a run, mean over runs"]
    assert table.columns[1:] == (
        "hours", "device hours", "images/s", "memory, GiB", "operations, TFLOP", "energy, kWh",
    )  # fmt: skip
    assert table.rows[0][1:] == ("1.5", "4.5", "50", "2", "3", "-")


def test_a_failed_run_stands_in_the_first_arm_of_its_settings(record: Record) -> None:
    """It has no evaluation that would say in which of several arms it belongs."""
    runs = [
        record("a", 0),
        record("b", 0, filter="0 to 6 objects by metadata"),
        record("c", 1, state="failed", evaluations=0),
    ]
    for some in (runs, runs[::-1]):
        arms = compare(some, across={"filter"}).arms
        assert [
            [str(run.path) for run in arm.failed] for arm in arms if "a" in str(arm.members[0].run.path)
        ] == [["c"]]
        assert sum(len(arm.failed) for arm in arms) == 1


def test_a_failed_run_belongs_to_the_arm_of_its_settings(record: Record) -> None:
    more = {"model.slots": 11}
    runs = [record("a"), record("b", state="failed", evaluations=0, settings=more)]
    found = compare(runs)
    assert [(len(arm.members), len(arm.failed)) for arm in found.arms] == [(1, 0), (0, 1)]
    assert found.arms[1].statistics["ari"].mean is None
    assert "no run has a value of ari: slots=11" in found.notes
    against = compare(runs, PAIR)
    assert "all runs failed, so there is no difference: slots=11" in against.notes
    assert not any("seed in common" in note for note in against.notes)


def test_only_the_arms_are_named_whose_interval_is_cut(record: Record) -> None:
    more = {"model.slots": 11}
    runs = [record("a", 0, 0.5), record("b", 1, 0.52), record("c", 0, 0.9, settings=more)]
    found = compare([*runs, record("d", 1, 0.99, settings=more)])
    plain, cut = (arm.statistics["ari"].interval for arm in found.arms)
    assert plain is not None
    assert cut is not None
    assert (plain.low > 0, plain.high < 1, cut.high) == (True, True, 1)
    (note,) = [note for note in found.notes if "bounds" in note]
    assert note == "intervals end at the bounds of ari (0 to 1), beyond which no mean lies: slots=11"


def test_one_seed_and_unequal_seeds_are_said(record: Record) -> None:
    more, most = {"model.slots": 11}, {"model.slots": 12}
    runs = [record("a", 0), record("b", 1), record("c", 1, 0.6, settings=more), record("d", 5, settings=most)]
    found = compare(runs, PAIR)
    assert found.notes == (
        "one seed only, so there is no interval and no test: slots=11, slots=12",
        "arms with other seeds than 'slots=7', of which only the shared ones are paired: slots=11",
        "no seed in common with 'slots=7', so there is no difference: slots=12",
    )
    assert found.arms[1].statistics["ari"].interval is None
    assert found.arms[1].differences["ari"].by_seed == pytest.approx({1: 0.1})
    assert found.arms[1].differences["ari"].interval is None


def test_what_the_number_of_pairs_can_show_is_said(record: Record) -> None:
    runs = [
        record(f"{slots}-{seed}", seed, 0.5 + 0.01 * seed * slots, settings={"model.slots": slots})
        for slots in (7, 8, 9)
        for seed in range(3)
    ]
    assert compare(runs, PAIR).notes == (
        (
            "with 3 pairs, a paired t test finds a true effect of 3.26 standard deviations of the differences "
            "(4.62 with Holm's correction) in 80 of 100 studies; the smallest p of a Wilcoxon or sign-flip test is 0.25, that of a Mann-Whitney test of 3 "
            "and 3 seeds 0.1"
        ),
        "p (Holm) is corrected for the 2 arms tested against 'slots=7', in each metric separately",
    )
    assert compare(runs).notes == (
        "there is no baseline arm; choose one with --baseline (slots=7, slots=8, slots=9)",
    )


def test_mixed_devices_and_versions_of_slotlab_are_noted(record: Record) -> None:
    runs = [
        replace(run, provenance={**run.provenance, "device": device, "slotlab": "0.1.0"})
        for run, device in ((record("a", 0), "H100"), (record("b", 1), "A100"))
    ]
    assert compare(runs).notes == ("the runs were made with different devices: A100, H100",)


def test_metrics_are_those_asked_for_with_the_primary_one_among_them(record: Record) -> None:
    runs = [record("a", values={"ari": 0.5, "mse": 0.1, "fid": None})]
    every = compare(runs)
    assert ([one.name for one in every.metrics], every.primary.name) == (["ari", "mse", "fid"], "ari")
    assert every.arms[0].statistics["fid"].mean is None
    two = compare(runs, ComparisonRequest(metrics=("mse",), primary="ari"))
    assert ([one.name for one in two.metrics], two.primary.name) == (["ari", "mse"], "ari")
    assert not two.metrics[1].higher_is_better


@pytest.mark.parametrize(
    ("choice", "across", "message"),
    [
        (ComparisonRequest(metrics=("arri",)), (), "no run has a metric 'arri'; they have ari; did you mean 'ari'?"),
        (ComparisonRequest(baseline="slots=8"), (), "there is no arm 'slots=8' to compare with; the arms are 'slots=7', 'slots=11'; did you mean 'slots=7'?"),
        (ComparisonRequest(), ("model",), "arms cannot differ in 'model'; choose from dataset, protocol, split, masks, checkpoint, filter, data, plugins, images, clip, told, slots, range, sampling, versions"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(
    record: Record, choice: ComparisonRequest, across: tuple[str, ...], message: str
) -> None:
    runs = [record("a"), record("b", settings={"model.slots": 11})]
    with pytest.raises(SlotlabError) as error:
        compare(runs, choice, across=across)
    assert str(error.value) == message


def test_nothing_to_compare(record: Record) -> None:
    failed = replace(record("b", 1, state="failed", evaluations=0), reason="loss is nan at step 7")
    with pytest.raises(SlotlabError) as error:
        compare([record("a", state="running"), failed])
    assert str(error.value) == (
        "there is no measured run to compare:\n  a: not finished: running\n  b: failed (loss is nan at step 7)"
    )


def test_an_evaluation_that_no_run_has(record: Record) -> None:
    with pytest.raises(SlotlabError) as error:
        compare(
            [record("a"), record("b", 1, evaluations=0)],
            ComparisonRequest(split="test", mask_source="attention"),
        )
    assert str(error.value) == (
        "there is no measured run to compare:\n"
        "  a: not evaluated under test, attention; its evaluations are scenes-val-whole-decoder\n"
        "  b: not evaluated; run 'slotlab evaluate' on it"
    )
    with pytest.raises(SlotlabError) as nothing:
        compare([])
    assert str(nothing.value) == "there is no measured run to compare"


def test_a_study_names_its_arms_and_says_what_is_compared(study: Path) -> None:
    found = compare_paths([study])
    assert [arm.name for arm in found.arms] == [f"encoder=cnn slots=4 iterations={i}" for i in range(1, 5)]
    assert (found.title, found.baseline, found.failed_below) == ("synthetic", found.arms[0].name, 0.3)
    assert found.question == "Which encoder, how many slots, how many iterations?"
    again = compare_paths([study, study.parents[1] / "runs"])  # the same folders, found twice
    assert again.arms == found.arms
    other = compare_paths([study], ComparisonRequest(primary="mse", baseline=found.arms[1].name))
    assert (other.primary.name, other.baseline, other.failed_below) == ("mse", found.arms[1].name, 0.3)


def test_planned_runs_that_are_not_there_are_listed(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    runs = sorted((tmp_path / "runs").iterdir())
    (runs[0] / "spec.yaml").unlink()
    (runs[1] / "status.json").write_text("{")
    found = compare_paths([study])
    assert [item.reason for item in found.left_out] == [
        "not begun",
        f"{runs[1]}/status.json: not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    ]
    assert [len(arm.members) for arm in found.arms] == [2]
    assert found.baseline is None
    assert found.notes == (
        "no run of the baseline arm 'encoder=cnn slots=4 iterations=1' has been evaluated yet, so there are no differences",
        "runs with ari below 0.3 did not bind; they are in the means (threshold: declared by the study)",
    )


def test_arms_of_a_study_may_differ_in_the_protocol_that_it_varies(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    plan = json.loads((study / "plan.json").read_text())
    plan["compare"]["protocol"] = None
    for arm, size in zip(plan["arms"], (32, 64), strict=True):
        for run in (study / run["run"] for run in arm["runs"]):
            file = run / "evaluation" / "scenes-val-whole-decoder" / "summary.json"
            file.write_text(file.read_text().replace("image_size 32", f"image_size {size}"))
    (study / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RefusedError):
        compare_paths([study])
    for arm, size in zip(plan["arms"], (32, 64), strict=True):
        arm["settings"] = {"data.protocol.image_size": size}
    (study / "plan.json").write_text(json.dumps(plan))
    found = compare_paths([study])
    assert [arm.settings["protocol"] for arm in found.arms] == [
        "whole (image_size 32)",
        "whole (image_size 64)",
    ]
    assert "protocol" not in found.measured
    assert found.arms[1].differences["ari"].count == 2
    text = "arms were evaluated under different conditions (protocol)"
    note = f"{text}: differences are due to method and evaluation together"
    assert note in found.notes


def test_chances_are_corrected_for_the_number_of_arms_in_each_metric_by_itself(record: Record) -> None:
    chance = random.Random(0)
    runs = [
        record(
            f"{slots}-{seed}",
            seed,
            values={name: chance.random() + 0.4 * (slots - 7) for name in ("ari", "mbo")},
            settings={"model.slots": slots},
        )
        for slots in (7, 8, 9, 10)
        for seed in range(4)
    ]
    others = compare(runs, PAIR).arms[1:]
    for metric in ("ari", "mbo"):
        found = [arm.differences[metric] for arm in others]
        assert [one.p_holm for one in found] == correct([one.p for one in found])
        assert [one.p_holm for one in found] != [one.p for one in found]


@pytest.mark.parametrize("metric", ["ari", "mse"])
def test_arms_that_are_no_better_than_what_needs_no_training_are_named(record: Record, metric: str) -> None:
    """The best of what all runs of an arm measured beside the model decides, by its mean over them."""
    sign = 1 if metric == "ari" else -1
    beside = {"grid": {metric: sign * 0.2}, "kmeans": {metric: sign * 0.3}, "none": {metric: None}}

    def run(slots: int, seed: int, value: float, **more: Any) -> RunRecord:
        made = record(f"{slots}-{seed}", seed, values={metric: sign * value}, settings={"model.slots": slots})
        [(name, one)] = made.evaluations.items()
        return replace(made, evaluations={name: replace(one, beside={**beside, **more})})

    runs = [run(7, 0, 0.4), run(7, 1, 0.5), run(9, 0, 0.2), run(9, 1, 0.3), run(11, 0, 0.1), run(11, 1, 0.2)]
    told = [note for note in compare(runs).notes if "without training" in note]
    text = f"no better in mean {metric} than a baseline without training (kmeans, {sign * 0.3:.3g})"
    assert told == [f"{text}: slots=9, slots=11"]
    some = [*runs[:5], run(11, 1, 0.2, kmeans={metric: None})]
    told = [note for note in compare(some).notes if "without training" in note]
    assert told[1].endswith(f"(grid, {sign * 0.2:.3g}): slots=11"), "kmeans was not measured beside both"
    assert not any("without training" in note for note in compare(runs[:2]).notes)
