"""What `slotlab evaluate` says of videos."""

import shutil

import pytest

import slotlab as front
from slotlab.framework.runs.measurement import measured_things
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
