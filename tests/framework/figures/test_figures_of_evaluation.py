"""Samples and figures of an evaluation: what is chosen, what is written, what is left out."""

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.evaluation.conditions import EvaluationRequest, conditions, own_condition
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.png import to_png
from slotlab.framework.figures.ranking import Ranking
from slotlab.framework.figures.samples import sample_roles
from slotlab.framework.figures.slot_colors import BACKGROUND, rgb, slot_colors
from slotlab.framework.figures.slots import draw_slots
from slotlab.framework.jobs.evaluate import run_evaluations
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.runs.folder import RunFolder
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SMALL = (
    "data.protocol.image_size=16",
    "data.dataset.num_train=2",
    "data.dataset.num_val=12",
    "training.batch_size=2",
    "training.phases=[{steps: 1, lr: 1e-3}]",
    "evaluation.baselines=[]",
    "model.encoder.channels=[4, 4, 4]",
    "model.decoder.broadcast_size=4",
)
BASE = "scenes-val-whole"
NAME = f"{BASE}-decoder"
OF_MASKS, COMPOSED = ("panels", "best", "slots"), ("mixes", "composition")


class Higher:
    higher_is_better = True
    bounds = (0.0, 1.0)
    needs: frozenset[str] = frozenset()


class Lower(Higher):
    higher_is_better = False


values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]), min_size=0, max_size=20)


@given(values)
def test_every_role_is_of_an_image_with_a_value(found: list[float]) -> None:
    rows = [{"id": str(i), "ari": value} for i, value in enumerate(found)]
    ranking = Ranking.by(rows, {"ari": Higher()})  # type: ignore[dict-item]
    defined = [i for i, value in enumerate(found) if not math.isnan(value)]
    assert (ranking is None) == (not defined)
    roles = sample_roles(len(rows), ranking)
    assert [i for i, names in roles.items() if "shared" in names] == list(range(min(8, len(found))))
    for role in ("best", "median", "worst"):
        chosen = [i for i, names in roles.items() if role in names]
        assert len(chosen) == min(2, len(defined))
        assert set(chosen) <= set(defined)
    if ranking is not None:
        best, worst = (ranking.ends_and_middle()[role] for role in ("best", "worst"))
        assert found[best[0]] == max(found[i] for i in defined)
        assert found[worst[-1]] == min(found[i] for i in defined)


@given(values)
def test_a_metric_whose_values_are_better_low_ranks_the_other_way(found: list[float]) -> None:
    rows = [{"id": str(i), "mse": value, "other": 0.0} for i, value in enumerate(found)]
    metrics: Any = {"other": Higher(), "mse": Lower()}
    ranking = Ranking.by(rows, metrics, prefer="mse")
    if ranking is not None and ranking.metric == "mse":
        assert found[ranking.best(1)[0]] == min(value for value in found if not math.isnan(value))


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([(), (3,), (4,)]))
def test_pngs_hold_the_same_pixels(rows: int, columns: int, channels: tuple[int, ...]) -> None:
    import io

    pixels = np.random.default_rng(rows).integers(0, 256, (rows, columns, *channels), dtype=np.uint8)
    with Image.open(io.BytesIO(to_png(pixels))) as image:
        assert np.array_equal(np.array(image), pixels)


# --- of a run ----------------------------------------------------------------------------


def trained(folder: Path, *sets: str) -> tuple[RunFolder, dict[str, Any]]:
    loaded = prepare("slotlab:demo", sets=[*SMALL, *sets]).loaded
    run = run_training(loaded, folder, device=CPU, report=lambda progress: None)
    [summary] = run_evaluations(run, loaded, [own_condition(loaded)], device=CPU)
    return run, summary


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any]]:
    """A run of one step, evaluated."""
    return trained(tmp_path_factory.mktemp("evaluated") / "run")


def samples(run: RunFolder) -> tuple[Path, list[dict[str, Any]]]:
    folder = run.evaluation(NAME) / "samples"
    return folder, json.loads((folder / "index.json").read_text())


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.array(image)


def test_figures_are_drawn_as_png_and_pdf(evaluated: Any) -> None:
    run, summary = evaluated
    assert summary["figures_left_out"] == {}
    of_masks, composed = [f"{kind}-{NAME}" for kind in OF_MASKS], [f"{kind}-{BASE}" for kind in COMPOSED]
    assert drawn(run) == {"loss", "learning_rate", *of_masks, *composed}


def drawn(run: RunFolder) -> set[str]:
    """Return the figures that are there, each as PNG and PDF."""
    stems = {path.stem for path in run.figures.iterdir()}
    assert {path.name for path in run.figures.iterdir()} == {
        f"{stem}.{ending}" for stem in stems for ending in ("png", "pdf")
    }
    return stems


@pytest.mark.usefixtures("blank_figures")
def test_composed_pictures_are_drawn_once_for_both_sources_of_masks(
    evaluated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from slotlab.framework.figures import evaluation

    run = RunFolder(shutil.copytree(evaluated[0].path, tmp_path / "run"))
    calls: list[Path] = []
    monkeypatch.setattr(evaluation, "draw_mixed", lambda composer, views, stem, title: calls.append(stem))
    monkeypatch.setattr(evaluation, "draw_composition", lambda composer, stem, title: calls.append(stem))
    loaded = prepare(run.spec).loaded
    found = run_evaluations(run, loaded, conditions(loaded, EvaluationRequest(masks="both")), device=CPU)
    assert [one["mask_source"] for one in found] == ["decoder", "attention"]
    assert calls == [run.figures / f"{kind}-{BASE}" for kind in COMPOSED]
    assert {f"{kind}-{BASE}-attention" for kind in OF_MASKS} <= drawn(run)


def test_the_index_has_what_the_rows_have(evaluated: Any) -> None:
    run, _ = evaluated
    folder, index = samples(run)
    with (run.evaluation(NAME) / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [entry["position"] for entry in index[:8]] == list(range(8))
    for entry in index:
        row = rows[entry["position"]]
        assert entry["id"] == row["id"]
        assert entry["metrics"] == {name: float(row[name]) for name in ("ari", "fg_ari", "mse")}
        assert list(entry["files"]) == ["image", "reconstruction", "true", "predicted", "slots"]
    assert {path.name for path in folder.iterdir()} == {
        "index.json",
        *(file for entry in index for file in entry["files"].values()),
    }


def test_samples_have_the_size_of_the_model_and_the_slots_colors(evaluated: Any) -> None:
    folder, index = samples(evaluated[0])
    slots = {tuple(color) for color in slot_colors(4).tolist()}
    for entry in index:
        found = {name: pixels(folder / file) for name, file in entry["files"].items()}
        assert {name: one.shape for name, one in found.items() if name != "slots"} == dict.fromkeys(
            ("image", "reconstruction", "true", "predicted"), (16, 16, 3)
        )
        assert found["slots"].shape == (16, 4 * 16, 3)
        assert {tuple(color) for color in found["predicted"].reshape(-1, 3).tolist()} <= slots
        assert rgb(BACKGROUND) in {tuple(color) for color in found["true"].reshape(-1, 3).tolist()}
        # Parts times masks add up to the reconstruction, but for what was clipped and rounded.
        tiles = found["slots"].reshape(16, 4, 16, 3).astype(int).sum(axis=1)
        assert np.abs(tiles - found["reconstruction"]).max() <= 3


@pytest.mark.usefixtures("blank_figures")
def test_the_first_images_are_the_same_for_every_run(evaluated: Any, tmp_path: Path) -> None:
    other, _ = trained(tmp_path / "other", "training.phases=[{steps: 2, lr: 0.1}]")
    (here, index), (there, others) = samples(evaluated[0]), samples(other)
    for entry, same in zip(index[:8], others[:8], strict=True):
        assert entry["id"] == same["id"]
        for name in ("image", "true"):
            ours, theirs = here / entry["files"][name], there / same["files"][name]
            assert ours.read_bytes() == theirs.read_bytes()


def test_evaluating_again_leaves_the_same_files(evaluated: Any) -> None:
    run, _ = evaluated
    folder, _ = samples(run)
    (folder / "999999-image.png").write_bytes(b"of an earlier evaluation")
    before = {path: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("999999")}
    before |= {path: path.read_bytes() for path in run.figures.iterdir()}
    loaded = prepare(run.spec).loaded
    run_evaluations(run, loaded, [own_condition(loaded)], device=CPU)
    again = {path: path.read_bytes() for path in (*folder.iterdir(), *run.figures.iterdir())}
    curves = {path for path in before if path.name.startswith(("loss", "learning_rate"))}
    assert set(again) - curves == set(before) - curves
    assert all(again[path] == before[path] for path in again)


@pytest.mark.usefixtures("blank_figures")
def test_what_the_model_has_no_pictures_for_is_left_out(
    evaluated: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from slotlab.framework.figures import evaluation

    def fail(*args: Any, **options: Any) -> None:
        raise SlotlabError("the model paints no images")

    monkeypatch.setattr(evaluation, "draw_composition", fail)
    run, summary = trained(tmp_path / "run", "evaluation.max_images=1", "evaluation.metrics=[ari]")
    assert summary["figures_left_out"] == {
        "mixes": "there are fewer than two images with a value to mix",
        "composition": "the model paints no images",
    }
    assert (run.figures / f"slots-{NAME}.png").is_file()
    assert not (run.figures / f"mixes-{BASE}.png").exists()


@pytest.mark.parametrize(
    ("lacking", "reason"),
    [
        ({"masks_KHW": None}, "the decoder has no masks"),
        ({"masks_KHW": None, "parts_KHWC": None, "reconstruction_HWC": None}, "the decoder has no masks"),
        ({"parts_KHWC": None}, "the decoder has no pictures of single slots"),
        (
            {"parts_KHWC": None, "reconstruction_HWC": None},
            "the objective does not predict images, so slots have no pictures",
        ),
        (None, "no metric has a value for any image"),
    ],
)
def test_the_part_that_keeps_slots_from_being_drawn_is_named(
    tmp_path: Path, lacking: dict[str, None] | None, reason: str
) -> None:
    picture_HWC = np.zeros((4, 4, 3), np.uint8)
    whole: dict[str, Any] = {
        "id": "a",
        "position": 0,
        "image_HWC": picture_HWC,
        "true_HW": None,
        "predicted_HW": np.zeros((4, 4), np.int64),
        "reconstruction_HWC": picture_HWC,
        "masks_KHW": np.full((2, 4, 4), 0.5, np.float32),
        "parts_KHWC": np.stack([picture_HWC, picture_HWC]),
    }
    views = [] if lacking is None else [ImageView(**{**whole, **lacking})]
    with pytest.raises(SlotlabError) as error:
        draw_slots(views, tmp_path / "slots", title="")
    assert str(error.value) == reason
