"""Checkpoints compared over images."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from slotlab.framework.compare.comparison import compare_paths
from slotlab.framework.compare.per_image import bootstrap
from slotlab.framework.compare.refusals import RefusedError
from slotlab.framework.compare.tables import tables


def test_the_interval_is_scipys_for_a_mean_of_differences() -> None:
    chance = np.random.default_rng(3)
    a, b = chance.exponential(size=60), chance.exponential(size=60)
    ones = np.ones(60)
    found = bootstrap(0, a, ones, b, ones)
    expected = stats.bootstrap((a - b,), np.mean, n_resamples=9999, batch=256, rng=np.random.default_rng(0))
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
    assert found.notes[-1].startswith("intervals over images are about this checkpoint, not this method")
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
        "image '000003' was measured for one run only:",
        f"  4 images: {run}",
        f"  4 images (baseline): {base}",
        "  evaluate both runs on the same images",
    ]
    rows.unlink()
    (lost,) = compare_paths([study], per_image=True).left_out
    assert lost.path == run
    assert lost.reason == f"{rows} is missing; evaluate the run again with 'slotlab evaluate'"
