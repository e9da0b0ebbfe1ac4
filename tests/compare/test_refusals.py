"""What must not be averaged is refused, with the runs named; each message is read whole."""

from typing import Any

import pytest

from slotlab.framework.compare.comparison import Choice, compare
from slotlab.framework.compare.records import RunRecord
from slotlab.framework.compare.refusals import RefusedError

from .conftest import Record


def refusal(runs: list[RunRecord], choice: Choice | None = None, **options: Any) -> str:
    with pytest.raises(RefusedError) as error:
        compare(runs, choice, **options)
    return "\n".join(error.value.lines())


@pytest.mark.parametrize(
    ("fact", "values", "what", "option"),
    [
        ("protocol", ("seed", "whole"), "mixed protocols cannot be compared:", "protocol"),
        ("dataset", ("clevrtex", "scenes"), "mixed datasets cannot be compared:", "dataset"),
        ("split", ("test", "val"), "mixed splits cannot be compared:", "split"),
        ("mask_source", ("attention", "decoder"), "mixed mask sources cannot be compared:", "masks"),
    ],
)
def test_mixed_evaluations(
    record: Record, fact: str, values: tuple[str, str], what: str, option: str
) -> None:
    runs = [record("a", 0, **{fact: values[0]}), record("b", 1, **{fact: values[1]})]
    assert refusal(runs) == (
        f"{what}\n  {values[0]}: a\n  {values[1]}: b\n"
        f"  evaluate all alike and choose with --{option}, or allow it between arms with --across {option}"
    )


def test_variants_are_datasets_of_their_own(record: Record) -> None:
    runs = [record("a", 0, variant="outd"), record("b", 1, variant="camo")]
    assert refusal(runs).startswith(
        "mixed datasets cannot be compared:\n  scenes-camo: b\n  scenes-outd: a\n"
    )


def test_seeds_of_one_arm_differ_in_nothing_even_if_arms_may(record: Record) -> None:
    runs = [record("a", 0, protocol="seed"), record("b", 1, protocol="whole")]
    found = compare(runs, across=["protocol"])
    assert [arm.name for arm in found.arms] == ["protocol=seed", "protocol=whole"]
    assert [arm.statistics["ari"].count for arm in found.arms] == [1, 1]


@pytest.mark.parametrize(
    ("one", "other", "lines"),
    [
        (
            {"data": {"fingerprint": "x"}},
            {"data": {"fingerprint": "y"}},
            [
                "the data changed between evaluations:",
                "  fingerprint x: a",
                "  fingerprint y: b",
                "  evaluate all runs on the same files, or allow it between arms with --across data",
            ],
        ),
        (
            {"images": 50},
            {},
            [
                "mixed lists of images:",
                "  100 images: b",
                "  50 images: a",
                "  evaluate all runs on the same images (evaluation.max_images), or allow it between arms with --across images",
            ],
        ),
        (
            {"data": {"fingerprint": "abc", "skipped": ["7.png: truncated"]}},
            {},
            [
                "mixed lists of images:",
                "  100 images: b",
                "  100 images (1 broken ones left out): a",
                "  evaluate all runs on the same images (evaluation.max_images), or allow it between arms with --across images",
            ],
        ),
        (
            {"filter": "0 to 6 objects by metadata"},
            {},
            [
                "mixed filters of images:",
                "  0 to 6 objects by metadata: a",
                "  none: b",
                "  evaluate all runs on the same images, or allow it between arms with --across filter",
            ],
        ),
        (
            {"slots": 11},
            {},
            [
                "mixed numbers of slots at evaluation in one arm:",
                "  11 slots: a",
                "  7 slots: b",
                "  evaluate all seeds with the same evaluation.slots",
            ],
        ),
        (
            {"step": 500},
            {},
            [
                "seeds of one arm were measured at different steps:",
                "  step 2000: b",
                "  step 500: a",
                "  evaluate the finished runs again with 'slotlab evaluate'",
            ],
        ),
        (
            {"train": {"fingerprint": "u"}},
            {},
            [
                "mixed training data in one arm:",
                "  scenes train, fingerprint t, 40 images: b",
                "  scenes train, fingerprint u, 40 images: a",
                "  train all seeds on the same data",
            ],
        ),
        (
            {"versions": {"encoder.cnn": "version 2"}},
            {},
            [
                "mixed versions of encoder cnn:",
                "  version 1: b",
                "  version 2: a",
                "  train them all with one version, or allow it between arms with --across versions",
            ],
        ),
        (
            {"metrics": {"ari": {"version": "2", "bounds": [0, 1]}}},
            {},
            [
                "mixed definitions of metric ari:",
                "  version 1: b",
                "  version 2: a",
                "  evaluate them all alike, or allow it between arms with --across versions",
            ],
        ),
        (
            {"metrics": {"ari": {"version": "1", "settings": {"threshold": 0.7}, "bounds": [0, 1]}}},
            {},
            [
                "mixed definitions of metric ari:",
                "  version 1: b",
                "  version 1, threshold 0.7: a",
                "  evaluate them all alike, or allow it between arms with --across versions",
            ],
        ),
        (
            {"seed": 1},
            {},
            [
                "the same run twice (same settings, same seed):",
                "  seed 1: a, b",
                "  leave one of them out",
            ],
        ),
    ],
    ids=[
        "data",
        "images",
        "skipped",
        "filter",
        "slots",
        "step",
        "training data",
        "versions",
        "metric",
        "metric settings",
        "duplicate",
    ],
)
def test_mixed_facts(record: Record, one: dict[str, Any], other: dict[str, Any], lines: list[str]) -> None:
    runs = [record("a", **{"seed": 0, **one}), record("b", **{"seed": 1, **other})]
    assert refusal(runs).splitlines() == lines


def test_a_failed_run_counts_once_too(record: Record) -> None:
    runs = [record("a", 0), record("b", 0, state="failed", evaluations=0)]
    assert refusal(runs) == (
        "the same run twice (same settings, same seed):\n  seed 0: a, b\n  leave one of them out"
    )


def test_versions_may_differ_between_arms_if_one_says_so(record: Record) -> None:
    runs = [record("a", 0), record("b", 0, versions={"encoder.cnn": "version 2 (mine.py@1234)"})]
    found = compare(runs, across=["versions"])
    assert [arm.name for arm in found.arms] == ["cnn=version 1", "cnn=version 2 (mine.py@1234)"]


def test_versions_of_metrics_may_differ_between_arms_or_where_they_are_not_compared(record: Record) -> None:
    values = {"ari": 0.5, "mse": 0.1}
    other = {"ari": {"version": "1", "bounds": [0, 1]}, "mse": {"version": "2@1234", "bounds": [0, 1]}}
    runs = [record("a", 0, values=values), record("b", 1, values=values, metrics=other)]
    assert refusal(runs).startswith("mixed definitions of metric mse:\n")
    (arm,) = compare(runs, Choice(metrics=("ari",))).arms
    assert arm.statistics["ari"].count == 2
    found = compare(runs, across=["versions"])
    assert [arm.name for arm in found.arms] == ["mse=version 1", "mse=version 2@1234"]


def test_several_evaluations_have_to_be_chosen_from(record: Record) -> None:
    runs = []
    for path, seed in (("a", 0), ("b", 1)):
        one, other = record(path, seed), record(path, seed, 0.9, split="test", mask_source="attention")
        runs.append(type(one)(**{**vars(one), "evaluations": {**one.evaluations, **other.evaluations}}))
    assert refusal(runs) == (
        "the runs were evaluated in 2 ways, and only numbers of one can be compared:\n"
        "  scenes, whole, test, attention masks: a, b\n"
        "  scenes, whole, val, decoder masks: a, b\n"
        "  choose with --split or --masks"
    )
    both = compare(runs, Choice(), across=["split", "masks"])
    assert [arm.name for arm in both.arms] == ["split=test masks=attention", "split=val masks=decoder"]
    assert [len(arm.members) for arm in both.arms] == [2, 2]
    assert compare(runs, Choice(split="test")).arms[0].statistics["ari"].mean == 0.9
    lone = [*runs[:1], record("c", 2)]
    found = compare(lone)  # there is one kind of evaluation that all have
    assert found.measured["split"] == "val"
    assert found.notes == (
        (
            "compared where all runs were measured; measured for some only, and left aside: "
            "scenes, whole, test, attention masks"
        ),
    )


def test_every_reason_is_told_at_once_and_many_runs_are_counted(record: Record) -> None:
    runs = [record(f"r{i}", i) for i in range(6)]
    runs.append(record("z", 6, images=9, versions={"encoder.cnn": "version 3"}))
    lines = refusal(runs).splitlines()
    assert lines[0] == "mixed lists of images:"
    assert lines[1] == "  100 images: r0, r1, r2, r3 and 2 more"
    assert "mixed versions of encoder cnn:" in lines
