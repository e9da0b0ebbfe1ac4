"""What must not be averaged is refused, with the runs named; each message is read whole."""

from dataclasses import replace
from typing import Any

import pytest

from slotlab.framework.compare.comparison import ComparisonRequest, compare
from slotlab.framework.compare.evaluation_facts import fits, telling_settings
from slotlab.framework.compare.refusal import RefusedError
from slotlab.framework.compare.run_records import RunRecord

from .conftest import Record


def refusal(runs: list[RunRecord], choice: ComparisonRequest | None = None, **options: Any) -> str:
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
                "mixed filters of the data:",
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
                "seeds of one arm were evaluated at different training steps:",
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
    (arm,) = compare(runs, ComparisonRequest(metrics=("ari",))).arms
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
    both = compare(runs, ComparisonRequest(), across=["split", "masks"])
    assert [arm.name for arm in both.arms] == ["split=test masks=attention", "split=val masks=decoder"]
    assert [len(arm.members) for arm in both.arms] == [2, 2]
    assert compare(runs, ComparisonRequest(split="test")).arms[0].statistics["ari"].mean == 0.9
    lone = [*runs[:1], record("c", 2)]
    found = compare(lone)  # there is one kind of evaluation that all have
    assert found.measured["split"] == "val"
    assert found.notes == (
        (
            "only evaluations that every run has are compared; some runs were also evaluated on: "
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


# --- evaluations of one run that measured something else ----------------------------------


def with_all(*records: RunRecord) -> RunRecord:
    """One run with the evaluations of all, each in a folder of its own."""
    first = records[0]
    found = {}
    for number, one in enumerate(records):
        for name, evaluation in one.evaluations.items():
            folder = evaluation.folder if number == 0 else evaluation.folder.with_name(f"{name}-{number}abc")
            found[folder.name] = replace(evaluation, folder=folder)
    return replace(first, evaluations=found)


UNLIKE: dict[str, tuple[dict[str, Any], str, str]] = {
    "filter": (
        {"filter": "0 to 6 objects by metadata"},
        "filter 0 to 6 objects by metadata",
        "0 to 6 objects by metadata",
    ),
    "data": ({"data": {"fingerprint": "xyz"}}, "fingerprint xyz", "xyz"),
    "images": ({"images": 50, "max_images": 50}, "50 images", "50"),
    "slots": ({"slots": 11, "changes": {"evaluation.slots": 11}}, "11 slots", "11"),
    "range": ({"value_range": "unit"}, "range unit", "unit"),
}


@pytest.mark.parametrize(
    ("name", "value", "words", "others"),
    [
        ("slots", "12 slots", ("12", "12 slots"), ("1", "12 slot", "2")),
        ("images", "100 images (2 broken ones left out)", ("100", "100 images"), ("10", "100 im")),
        (
            "data",
            "fingerprint 3fa0, data.seed 4",
            ("3fa0", "3fa0, data.seed 4", "fingerprint 3fa0, data.seed 4"),
            ("3fa", "fingerprint"),
        ),
    ],
)
def test_a_fact_is_asked_for_by_its_whole_words(
    name: str, value: str, words: tuple[str, ...], others: tuple[str, ...]
) -> None:
    assert all(fits({name: value}, name, one) for one in words)
    assert not any(fits({name: value}, name, one) for one in others)


@pytest.mark.parametrize("fact", UNLIKE)
def test_of_several_evaluations_the_same_one_of_each_run_is_compared_or_none(
    record: Record, fact: str
) -> None:
    facts, words, value = UNLIKE[fact]
    trained = {"settings": {"data.value_range": "signed"}, "value_range": "signed"}
    other = {**trained, **facts}
    runs = [with_all(record(p, s, **trained), record(p, s, 0.9, **other)) for p, s in (("a", 0), ("b", 1))]
    text = refusal(runs)
    assert text.startswith("the runs were evaluated in 2 ways, and only numbers of one can be compared:\n")
    assert words in text
    assert text.endswith(f"choose with --evaluation {fact}=...")
    chosen = compare(runs, ComparisonRequest(facts=((fact, value),)))
    assert chosen.arms[0].statistics["ari"].mean == 0.9
    # A run that has one of them only: that one is compared for all, and the other is named.
    for lone, mean in ((record("c", 2, 0.9, **other), 0.9), (record("c", 2, **trained), 0.5)):
        found = compare([*runs, lone])
        assert found.arms[0].statistics["ari"].mean == pytest.approx(mean)
        assert any("not compared: scenes-val-whole-decoder" in note for note in found.notes)
    # Arms that differ in it are refused, unless one says so.
    arms = [record("a", 0, **trained), record("b", 0, 0.9, **{**other, "settings": {"model.slot_dim": 9}})]
    assert fact in ("range",) or "mixed" in refusal(arms) or "the data changed" in refusal(arms)
    assert len(compare(arms, across=[fact]).arms) == 2


WHOLE = {"frames": None, "stride": 1, "from": 0}
SIX = {"frames": 6, "stride": 1, "from": 0}
OF_VIDEOS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str]] = {
    "videos and single frames": ("clip", {"clip": WHOLE}, {}, "whole videos", "single pictures"),
    "whole videos and clips": ("clip", {"clip": WHOLE}, {"clip": SIX}, "whole videos", "clips of 6 frames"),
    "lengths": ("clip", {"clip": SIX}, {"clip": {**SIX, "frames": 24}}, "clips of 6 frames", "clips of 24 frames"),
    "strides": ("clip", {"clip": SIX}, {"clip": {**SIX, "stride": 2}}, "clips of 6 frames", "clips of 6 frames, 2 apart"),
    "first frames": ("clip", {"clip": WHOLE}, {"clip": {**WHOLE, "from": 1}}, "whole videos", "whole videos, from frame 1"),
    "what slots are told": ("told", {"told": "boxes"}, {}, "boxes", "nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_VIDEOS)
def test_evaluations_of_videos_that_measure_something_else_are_not_mixed(record: Record, name: str) -> None:
    """Even where as many of them were measured."""
    fact, one, other, first, second = OF_VIDEOS[name]
    what = {"clip": "mixed parts of videos:", "told": "models that are told different things of objects:"}
    arms = {"seeds of one arm": {}, "arms": {"model.slot_dim": 9}}
    for settings in arms.values():
        runs = [record("a", 0, **one), record("b", 1, settings=settings, **other)]
        text = refusal(runs)
        blocks = {f"  {first}: a", f"  {second}: b"}
        assert what[fact] in text.splitlines()
        assert blocks <= set(text.splitlines())
        assert f"or allow it between arms with --across {fact}" in text
        across = [fact, "images"]  # videos and clips are counted as such
        assert [len(arm.members) for arm in compare(runs, across=across).arms] == [1, 1]
    # Runs that have several: none in common is refused, with the fact named, and one in common is taken.
    both = with_all(record("a", 0, **one), record("a", 0, 0.9, **other))
    assert compare([both, record("b", 1, 0.9, **other)]).arms[0].statistics["ari"].mean == pytest.approx(0.9)
    third = {"clip": {**SIX, "frames": 3}} if fact == "clip" else {"told": "centers"}
    assert {"clip": "parts of videos", "told": "knowledge of objects"}[fact] in refusal(
        [both, record("b", 1, **third)]
    )


def test_the_data_a_run_was_measured_on_is_told_by_its_settings_too(record: Record) -> None:
    """Files are the same; which of their labels count is not."""
    settings = {"data.dataset.background": 0, "data.dataset.name": "image_folder"}
    own = record("a", 0, settings=settings)
    other = record("b", 1, 0.9, settings=settings, changes={"data.dataset.background": 2})
    assert refusal([own, other]).splitlines()[:3] == [
        "the data changed between evaluations:",
        "  fingerprint abc, data.dataset.background 0: a",
        "  fingerprint abc, data.dataset.background 2: b",
    ]


def test_settings_belong_to_the_description_where_evaluations_of_one_dataset_differ(record: Record) -> None:
    def told(*datasets: str) -> tuple[str, ...]:
        runs = [
            record(name, dataset=dataset, settings={"data.dataset.background": number})
            for number, (name, dataset) in enumerate(zip("ab", datasets, strict=True))
        ]
        return telling_settings((run, one) for run in runs for one in run.evaluations.values())

    assert told("scenes", "scenes") == ("data.dataset.background",)
    assert told("scenes", "clevrtex") == ()


def test_each_arm_with_its_own_number_of_slots_is_compared_and_so_is_the_same_number(record: Record) -> None:
    many = {"model.slots": 11}
    own = [record("a", 0, slots=7), record("b", 0, settings=many, slots=11)]
    assert len(compare(own).arms) == 2
    at_eleven = [record("a", 0, slots=11), record("b", 0, settings=many, slots=11)]
    assert len(compare(at_eleven).arms) == 2
    unlike = [record("a", 0, slots=11), record("b", 0, settings={"model.slot_dim": 9}, slots=7)]
    assert refusal(unlike) == (
        "mixed numbers of slots at evaluation:\n  11 slots: a\n  7 slots, as trained: b\n"
        "  evaluate all arms alike (evaluation.slots), or allow it between arms with --across slots"
    )


def test_checkpoints_are_never_mixed_and_the_best_are_of_steps_of_their_own(record: Record) -> None:
    best = [record("a", 0, checkpoint="best", step=500), record("b", 1, checkpoint="best", step=900)]
    assert compare(best).arms[0].statistics["ari"].count == 2
    assert compare(best).measured["checkpoint"] == "best"
    assert refusal([best[0], record("b", 1)]) == (
        "mixed checkpoints cannot be compared:\n  best: a\n  last: b\n"
        "  evaluate all alike and choose with --checkpoint, or allow it between arms with --across checkpoint"
    )
    assert refusal([record("a", 0, checkpoint=300, step=300), record("b", 1)]).splitlines()[1] == "  last: b"
    both = [with_all(record(p, s), record(p, s, 0.9, checkpoint="best")) for p, s in (("a", 0), ("b", 1))]
    assert refusal(both).endswith("choose with --checkpoint")
    assert compare(both, ComparisonRequest(checkpoint="best")).arms[0].statistics["ari"].mean == 0.9
    assert "checkpoint" not in compare(both, ComparisonRequest(checkpoint="last")).measured


def test_a_plan_prefers_what_the_runs_declare(record: Record) -> None:
    other = {"slots": 11, "changes": {"evaluation.slots": 11}}
    runs = [with_all(record(p, s), record(p, s, 0.9, **other)) for p, s in (("a", 0), ("b", 1))]
    found = compare(runs, ComparisonRequest(own=True))
    assert found.arms[0].statistics["ari"].mean == 0.5
    assert found.notes[0] == (
        "runs have several evaluations of this kind, of which one is compared; not compared: "
        "scenes-val-whole-decoder-1abc"
    )


def test_evaluations_that_differ_in_their_metrics_alone_are_one_way(record: Record) -> None:
    """The one that has the wanted metrics is taken."""
    runs = [
        with_all(record(p, s), record(p, s, values={"mbo": 0.7, "ari": 0.5})) for p, s in (("a", 0), ("b", 1))
    ]
    assert [metric.name for metric in compare(runs).metrics] == ["ari"]
    assert compare(runs, ComparisonRequest(metrics=("mbo",))).arms[0].statistics["mbo"].mean == 0.7


def test_set_metrics_of_other_numbers_of_pictures_are_mixed(record: Record) -> None:
    def made(path: str, seed: int, images: int) -> RunRecord:
        composition = {"library": {"split": "val", "images": 40}, "clusters": {"sizes": [3, 4]}}
        fid = {
            "version": "1",
            "settings": {},
            "images": images,
            "real_images": 40,
            "composition": composition,
        }
        return record(path, seed, values={"fid": 3.0}, set_metrics={"fid": fid}, metrics={})

    assert compare([made("a", 0, 50), made("b", 1, 50)]).arms[0].statistics["fid"].count == 2
    assert refusal([made("a", 0, 50), made("b", 1, 60)]).splitlines()[:2] == [
        "mixed definitions of metric fid:",
        "  version 1, 50 pictures against 40, slots of 40 images of val, 2 clusters: a",
    ]


def test_runs_of_earlier_versions_on_generated_images_are_compared_with_a_note(record: Record) -> None:
    """Their fingerprint is a plain word; with one that tells the images they are never mixed."""
    old = {"data": {"fingerprint": "generated"}}
    found = compare([record("a", 0, **old), record("b", 1, **old)])
    assert found.arms[0].statistics["ari"].count == 2
    assert any("each seed may have images of its own" in note for note in found.notes)
    new = {"data": {"fingerprint": "generated-1a2b3c4d", "settings": {}, "seed": 0}}
    assert refusal([record("a", 0, **old), record("b", 1, **new)]).startswith(
        "the data changed between evaluations:\n  fingerprint generated: a\n  fingerprint generated-1a2b3c4d: b\n"
    )


def test_runs_without_a_fact_in_common_are_told_in_which_they_differ(record: Record) -> None:
    """Two ways of one run, and a third one of another: the kind of evaluation is the same for all three."""
    several = with_all(record("a", 0), record("a", 0, images=50, max_images=50))
    lines = refusal([several, record("b", 1, images=10, max_images=10)]).splitlines()
    assert lines[0] == "the runs have no evaluations with the same number of images:"
    assert any("100 images or 50 images" in line and line.rstrip().endswith("a") for line in lines)
    assert any("10 images" in line and line.rstrip().endswith("b") for line in lines)
    assert lines[-1].strip().endswith("evaluate all runs alike with 'slotlab evaluate'")


def test_the_runs_of_an_arm_are_listed_by_their_seeds(record: Record) -> None:
    """Whatever their folders are called."""
    runs = [record("c", 0), record("a", 2), record("b", 1)]
    [arm] = compare(runs).arms
    assert [member.run.seed for member in arm.members] == [0, 1, 2]
