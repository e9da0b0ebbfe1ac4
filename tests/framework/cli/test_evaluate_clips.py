"""What `slotlab evaluate` says of videos."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import slotlab as front
from slotlab.framework.evaluation.result_folders import Place
from slotlab.framework.jobs.evaluate import remarks
from slotlab.framework.runs.measurement import clip_words, measured_things
from slotlab.framework.study.plan import wanted_of
from slotlab.framework.study.run_status import glance


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({}, "images"),
        ({"clip": None}, "images"),
        ({"clip": {"frames": None}}, "videos"),
        ({"clip": {"frames": 6}}, "clips"),
    ],
)
def test_rows_are_about_images_videos_or_clips(summary, words):
    assert measured_things(summary) == words


def test_an_evaluation_of_videos_speaks_of_videos(slotlab, clip_runs, tmp_path):
    run = shutil.copytree(clip_runs / "savi_demo", tmp_path / "run")
    code, out, err = slotlab(
        "evaluate", run, "--no-figures", "--set", "evaluation.max_images=2", "--device", "cpu"
    )
    assert code == 0, err
    assert "moving_scenes movi_a val: 2 videos of 16 pixels" in out
    assert "mean over videos ± standard deviation over videos" in out
    assert "caution: measured on the first 2 of 3 videos (evaluation.max_images)" in out


def test_a_run_on_videos_is_done_once_all_of_them_are_measured(slotlab, clip_runs, tmp_path):
    run = shutil.copytree(clip_runs / "savi_demo", tmp_path / "run")
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    wanted = wanted_of(front.load_spec(run / "spec.yaml").loaded.spec)
    for sets, state in (
        (("--set", "evaluation.max_images=2"), "trained"),
        (("--set", "evaluation.clip_frames=2"), "trained"),
        ((), "done"),
    ):
        code, _, err = slotlab("evaluate", run, "--no-figures", "--device", "cpu", *sets)
        assert code == 0, err
        assert glance(run, wanted).state == state


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({}, []),
        ({"clip": {"frames": None, "from": 0}}, []),
        ({"clip": {"frames": None, "from": 6}}, ["from frame 6"]),
        ({"clip": {"from": 1}, "told": "boxes"}, ["told boxes of the first frame", "from frame 1"]),
    ],
)
def test_what_was_told_and_from_where_on_is_said(summary, words):
    assert clip_words(summary) == words
    for changes in ({}, {"evaluation.from_frame": 1} if "from frame 1" in words else {}):
        shown = {"checkpoint": "last", "step": 1, "changes": changes, **summary}
        assert remarks(Place("a"), shown) == ", ".join(words), "titles say it once"
    back = {
        "checkpoint": "last",
        "step": 1,
        "changes": {"evaluation.from_frame": 0},
        **summary,
        "clip": {"from": 0},
    }
    assert "evaluation.from_frame 0" in remarks(Place("a"), back)


TINY = {
    "model.initializer": "{name: conditional, cue: boxes}",
    "model.decoder.broadcast_size": 4,
    "data.dataset.num_train": 2,
    "data.dataset.num_val": 2,
    "data.protocol.image_size": 16,
    "training.phases": "[{steps: 1, lr: 1e-3}]",
    "training.batch_size": 2,
    "evaluation.from_frame": 1,
    "evaluation.clip_frames": 2,
    "evaluation.metrics": "[mse]",
    "evaluation.baselines": "[]",
}


def test_the_result_of_a_conditional_model_says_so(slotlab, tmp_path):
    sets = [part for path, value in TINY.items() for part in ("--set", f"{path}={value}")]
    code, out, err = slotlab(
        "train", "slotlab:savi_demo", "--run", tmp_path / "run", "--device", "cpu", *sets
    )
    assert code == 0, err
    assert "any number of objects; told boxes of the first frame; from frame 1\n" in out


def own_videos(folder: Path, **sections: Any) -> tuple[Path, str]:
    """Write four videos without masks, and a spec for them; return its path and text."""
    for video in range(4):
        (folder / f"clips/v{video}").mkdir(parents=True)
        for frame in range(8):
            Image.new("RGB", (32, 32), (60 * video, 0, 0)).save(folder / f"clips/v{video}/{frame}.png")
    splits = {"train": [0.0, 0.5], "val": [0.5, 1.0]}
    spec = {
        "extends": "slotlab:savi_demo",
        "name": "own",
        "data": {
            "dataset": {"name": "frame_folders", "root": "clips"},
            "protocol": {"name": "whole", "image_size": 32, "splits": splits},
        },
        "training": {"batch_size": 2, "phases": [{"steps": 1, "lr": 1e-3}]},
        **sections,
    }
    text = yaml.safe_dump(spec, sort_keys=False)
    (folder / "own.yaml").write_text(text)
    return folder / "own.yaml", text


def test_a_conditional_model_of_data_without_masks_is_refused_at_its_line(slotlab, tmp_path):
    path, text = own_videos(tmp_path, model={"initializer": "conditional"})
    code, _, err = slotlab("train", path, "--run", tmp_path / "run", "--device", "cpu")
    assert code != 0
    assert (
        f"{path}:{len(text.splitlines())}: model.initializer: it is told the boxes of objects in a clip's first "
        "frame, which are those of true masks, and the dataset 'frame_folders' has none; take data with masks, or "
        "an initializer that is told nothing, such as learnable"
    ) in err
    assert not (tmp_path / "run").exists(), "nothing was trained"


def test_videos_without_masks_are_drawn_in_their_order_and_what_to_measure_is_said(slotlab, tmp_path):
    path, _ = own_videos(tmp_path, evaluation={"metrics": ["fg_ari"]})
    code, out, err = slotlab("train", path, "--run", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    assert "fg_ari: left out, the data has no masks" in out
    folder = tmp_path / "run/evaluation/frame_folders-val-whole-decoder"
    assert (
        "no metric has a value: add one that needs no masks, such as mse, to evaluation.metrics; "
        f"pictures are in {folder}/samples"
    ) in out
    drawn = {file.name.partition("-")[0] for file in (tmp_path / "run/figures").glob("*decoder.png")}
    assert drawn == {"panels", "clips", "tracks"}
    assert "figure best: left out, no metric has a value for any image" in out
    assert (
        "figure slots: left out, of clips of 8 frames no pictures of single slots are kept: model.frames_at_once is 6"
        in out
    )
    assert (folder / "samples/index.json").is_file()


def test_a_conditional_model_with_too_few_slots_for_masks_of_files_is_warned_of(slotlab, tmp_path):
    path, text = own_videos(
        tmp_path,
        model={"slots": 3, "initializer": "conditional"},
        evaluation={"metrics": ["mse"], "baselines": []},
    )
    path.write_text(text.replace("root: clips", "root: clips\n    masks: masks"))
    for file in sorted((tmp_path / "clips").glob("*/*.png")):
        mask = np.zeros((32, 32), np.uint8)
        mask[:8, :8], mask[8:16], mask[20:] = 1, 2, 3 if file.stem == "7" or file.parent.name == "v0" else 0
        (tmp_path / "masks" / file.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / file.parent.name / file.name)
    code, out, err = slotlab("train", path, "--run", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    text = "frame_folders: up to 3 objects in the 2 first frames that were looked at, and 3 slots are told of 2, as slot 0"
    assert f"{text} stands for the ground: 4 or more tell of each" in " ".join(err.split())
    assert "up to" not in out, "the evaluated videos have two objects in their first frames"
    code, out, err = slotlab(
        "evaluate", tmp_path / "run", "--no-figures", "--device", "cpu", "--set", "evaluation.slots=2"
    )
    assert code == 0, err
    assert (
        "caution: frame_folders: up to 2 objects in the 2 first frames that were looked at, and 2 slots are told of 1"
        in out
    )
