"""What `slotlab evaluate` says of videos."""

import shutil

import pytest

from slotlab.framework.runs.measurement import measured_things


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
