"""Checkpoints compared over images."""

import inspect
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.compare.comparison import ComparisonRequest, compare_paths
from slotlab.framework.compare.per_image import bootstrap, stream_name
from slotlab.framework.compare.refusal import RefusedError
from slotlab.framework.compare.summary_check import mean_of
from slotlab.framework.compare.tables import tables


def test_the_interval_is_scipys_for_a_mean_of_differences() -> None:
    chance = np.random.default_rng(3)
    a, b = chance.exponential(size=60), chance.exponential(size=60)
    ones = np.ones(60)
    found = bootstrap(0, a, ones, b, ones)
    expected = stats.bootstrap(
        (a - b,),
        np.mean,
        n_resamples=9999,
        batch=256,
        **{stream_name(stats.bootstrap): np.random.default_rng(0)},
    )
    low, high = expected.confidence_interval
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-12)
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found == bootstrap(0, a, ones, b, ones)


def test_weights_pool_objects_and_undefined_images_are_left_out() -> None:
    a, b = np.array([1.0, 2.0, np.nan, 4.0]), np.array([1.0, 1.0, 1.0, np.nan])
    weights = np.array([1.0, 3.0, 0.0, 5.0])
    found = bootstrap(0, a, weights, b, weights)
    assert found.images == 2
    assert found.mean == pytest.approx((1 * 1 + 2 * 3) / 4 - 1.0)


def test_equal_checkpoints_have_an_interval_of_no_width() -> None:
    a, ones = np.linspace(0, 1, 9), np.ones(9)
    found = bootstrap(0, a, ones, a, ones)
    assert found.interval is not None
    assert (found.mean, found.interval.low, found.interval.high) == (0.0, 0.0, 0.0)
    lone = bootstrap(0, a[:1], ones[:1], a[:1], ones[:1])
    assert (lone.images, lone.mean, lone.interval) == (1, 0.0, None)


def test_each_side_has_weights_of_its_own() -> None:
    """One model may drop an object that the other has, so that equal weights of one side say nothing of the other's."""
    chance = np.random.default_rng(5)
    a, b = chance.uniform(size=40), chance.uniform(size=40)
    weights, others = chance.integers(1, 9, size=40).astype(float), np.ones(40)
    for first, second in ((weights, others), (others, weights)):
        for one, other in ((a, b), (a, a), (a / first, a / second)):
            found = bootstrap(0, one, first, other, second)
            assert found.mean == pytest.approx(
                np.average(one, weights=first) - np.average(other, weights=second)
            )
            assert found.interval is not None
            assert found.interval.low < found.mean < found.interval.high
            mirrored = bootstrap(0, other, second, one, first)
            assert mirrored.mean == pytest.approx(-found.mean)
            assert mirrored.interval is not None
            assert mirrored.interval.low == pytest.approx(-found.interval.high, abs=1e-9)


def test_rows_are_averaged_as_the_summary_was_without_what_weighs_nothing() -> None:
    def rows(*cells: tuple[str, str]) -> list[dict[str, str]]:
        return [{"id": str(i), "ari": value, "ari_weight": weight} for i, (value, weight) in enumerate(cells)]

    assert mean_of(rows(("0.5", "3"), ("1.0", "1"), ("-9", "0"), ("", "2"), ("nan", "1")), "ari") == (
        0.625,
        1.0,
    )
    assert mean_of(rows(("0.5", "0"), ("", "1")), "ari") == (None, 0.0)
    assert mean_of([{"ari": "0.5"}, {"ari": "-1.0"}, {"ari": ""}], "ari") == (-0.25, 1.0)


def test_two_images_have_an_interval_and_none_has_no_mean() -> None:
    ones = np.ones(2)
    assert bootstrap(0, np.array([0.0, 1.0]), ones, np.zeros(2), ones).interval is not None
    nothing = bootstrap(0, np.full(2, np.nan), ones, np.zeros(2), ones)
    assert (nothing.images, nothing.interval, np.isnan(nothing.mean)) == (0, None, True)


def test_each_shared_seed_has_its_own_labelled_row(study: Path) -> None:
    found = compare_paths([study], per_image=True)
    arm = found.arms[1]
    for seed, one in enumerate(arm.image_differences["ari"]):
        assert (one.seed, one.images) == (seed, 40)
        assert one.mean == pytest.approx(arm.differences["ari"].by_seed[seed])
        assert one.interval is not None
        assert one.interval.low < one.mean < one.interval.high
    title = f"ari ↑: difference to '{found.baseline}' over images (this checkpoint, not this method)"
    assert [len(table.rows) for table in tables(found) if table.title == title] == [9]
    assert found.notes[-1].startswith("intervals over images are about these checkpoints, not the methods")
    assert compare_paths([study]).arms[1].image_differences == {}


def test_other_images_are_refused(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    run = tmp_path / "runs" / "000001000000"
    rows = run / "evaluation" / "scenes-val-whole-decoder" / "images.csv"
    rows.write_text(rows.read_text().replace("000003", "000009"))
    with pytest.raises(RefusedError) as error:
        compare_paths([study], per_image=True)
    base = tmp_path / "runs" / "000000000000"
    assert error.value.lines() == [
        "image '000003' was evaluated for one run only:",
        f"  4 images: {run}",
        f"  4 images (baseline): {base}",
        "  evaluate both runs on the same images",
    ]
    rows.unlink()
    (lost,) = compare_paths([study], per_image=True).left_out
    assert lost.path == run
    assert lost.reason == f"{rows} is missing; evaluate the run again with 'slotlab evaluate'"


def test_scipys_name_for_random_numbers_of_either_version() -> None:
    """Before 1.15 it was `random_state`; SciPy's own wrapper keeps the new name in its signature."""

    def older(data: object, statistic: object, *, random_state: object = None) -> None:
        """SciPy 1.11 to 1.14."""

    def newer(data: object, statistic: object, *, rng: object = None) -> None:
        """SciPy 1.15."""

    assert (stream_name(older), stream_name(newer)) == ("random_state", "rng")
    assert stream_name(stats.bootstrap) in inspect.signature(stats.bootstrap).parameters


def change(run: Path, **facts: object) -> None:
    path = run / "evaluation" / "scenes-val-whole-decoder" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps({**summary, **facts, "data": {**summary["data"], **facts.get("data", {})}}))  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("facts", "across", "reason"),
    [
        (
            {"data": {"fingerprint": "generated-00000000"}},
            ["data"],
            "it was evaluated on other images (data)",
        ),
        ({"filter": "0 to 6 objects by metadata"}, ["filter"], "it was evaluated on other images (filter)"),
        (
            {"data": {"skipped": ["x.png: is broken"]}},
            ["images"],
            "it was evaluated on other images (images)",
        ),
        (
            {"data": {"fingerprint": "generated"}},
            ["data"],
            "it was evaluated on other images (data)",
        ),
    ],
)
def test_images_are_paired_by_what_they_are_and_not_by_their_names(
    synthetic: ModuleType, tmp_path: Path, facts: dict[str, object], across: list[str], reason: str
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    for seed in range(2):
        change(tmp_path / "runs" / f"000001{seed:06x}", **facts)
    found = compare_paths([study], per_image=True, across=across)
    assert found.arms[1].image_differences == {}
    assert f"'{found.arms[1].name}' is not compared over images: {reason}" in found.notes


def test_rows_in_another_order_are_not_paired(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    path = rows_file(tmp_path)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert compare_paths([study]).left_out == ()
    with pytest.raises(RefusedError, match="the images are in another order:"):
        compare_paths([study], per_image=True)


def test_images_that_no_summary_tells_of_are_not_paired(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    for number in range(2):
        change(tmp_path / "runs" / f"{number:06x}000000", data={"fingerprint": "generated"})
    found = compare_paths([study], per_image=True)
    assert found.arms[1].image_differences == {}
    assert any("do not identify the images" in note for note in found.notes)


# --- means and rows ----------------------------------------------------------------------


def rows_file(folder: Path, number: int = 1) -> Path:
    return folder / "runs" / f"{number:06x}000000" / "evaluation" / "scenes-val-whole-decoder" / "images.csv"


def test_a_mean_that_its_rows_contradict_is_not_used(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    path = rows_file(tmp_path).with_name("summary.json")
    summary = json.loads(path.read_text())
    true = summary["methods"]["model"]["ari"]["mean"]
    summary["methods"]["model"]["ari"]["mean"] = true + 0.25
    path.write_text(json.dumps(summary))
    found = compare_paths([study])
    [lost] = found.left_out
    assert lost.path == path.parents[2]
    assert lost.reason == (
        f"the mean ari is {true + 0.25:.9g} according to {path}, but {true:.9g} according to the rows of "
        f"{path.with_name('images.csv')}; evaluate the run again"
    )
    assert [arm.statistics["ari"].count for arm in found.arms] == [2, 1]
    other = [metric.name for metric in found.metrics if metric.name != "ari"]
    assert not compare_paths([study], ComparisonRequest(metrics=tuple(other), primary=other[0])).left_out


def test_a_mean_that_is_missing_beside_rows_that_have_one_is_told(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=2, images=4)
    path = rows_file(tmp_path).with_name("summary.json")
    summary = json.loads(path.read_text())
    summary["methods"]["model"]["ari"]["mean"] = None
    path.write_text(json.dumps(summary))
    [lost] = compare_paths([study]).left_out
    assert lost.reason.startswith(f"the mean ari is undefined according to {path}, but ")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("model,000003", "gone,000003", "it has 3 images, and the summary beside it has 4"),
        ("method,id", "way,id", "the table has no column 'method'"),
        ("model,000002,", "model,000002,x", None),
    ],
)
def test_rows_that_are_not_those_of_the_summary(
    synthetic: ModuleType, tmp_path: Path, before: str, after: str, words: str | None
) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    path = rows_file(tmp_path)
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    reasons = [item.reason for item in compare_paths([study]).left_out]
    assert reasons == [] if words is None else words in reasons[0]


def test_rows_that_were_printed_with_fewer_digits_are_the_same(synthetic: ModuleType, tmp_path: Path) -> None:
    study = synthetic.write_study(tmp_path, arms=2, seeds=1, images=4)
    path = rows_file(tmp_path)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for cells in lines[1:]:
        cells[3:] = [f"{float(cell):.7f}" if cell else "" for cell in cells[3:]]
    path.write_text("".join(",".join(cells) + "\n" for cells in lines))
    assert not compare_paths([study]).left_out
