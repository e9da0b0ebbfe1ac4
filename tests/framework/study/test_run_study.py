"""Conducting a study with a launcher that only pretends: what is started, and what is not."""

import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.study import run_study as module
from slotlab.framework.study.folder import StudyFolder, sharing
from slotlab.framework.study.launching import RETRY, Job
from slotlab.framework.study.plan import StudyRun
from slotlab.framework.study.run_status import WantedEvaluation, glance
from slotlab.framework.study.run_study import Conductor
from slotlab.framework.system.json_files import write_json
from slotlab.framework.system.locks import exclusive
from slotlab.framework.system.stop_signals import TrainingPreempted, TrainingStopped
from slotlab.registry import SlotlabError

Planned = Callable[..., tuple[StudyFolder, list[StudyRun]]]
Act = Callable[[StudyRun], int | None]
Conduct = Callable[..., "Result"]


@dataclass
class Pretended:
    code: int | None
    stopped: bool = False

    def poll(self) -> int | None:
        return RETRY if self.stopped else self.code

    def stop(self) -> None:
        self.stopped = True


@dataclass
class PretendLauncher:
    """Does what a run's command would do when it is handed over."""

    runs: dict[str, StudyRun]
    act: Act
    at_once: int | None = 2
    started: list[str] = field(default_factory=list)
    closed: bool = False

    def start(self, job: Job) -> Pretended:
        run = next(run for run in self.runs.values() if str(run.folder) in job.command)
        self.started.append(run.name)
        job.log.touch()
        return Pretended(self.act(run))

    def close(self) -> None:
        self.closed = True


@dataclass
class Result:
    launcher: PretendLauncher
    said: list[str]
    failures: dict[str, str]


@pytest.fixture
def conduct(pretend: Any) -> Callable[..., Result]:
    def run_all(study: StudyFolder, runs: list[StudyRun], act: Act | None = None, **options: Any) -> Result:
        return conduct_with(study, runs, act or pretend.train, **options)

    return run_all


def conduct_with(study: StudyFolder, runs: list[StudyRun], act: Act, **options: Any) -> Result:
    launcher = PretendLauncher({run.run_id: run for run in runs}, act)
    said: list[str] = []
    conductor = Conductor(study, launcher, options.pop("retries", 1), said.append, every=0.0, **options)
    missing = [run for run in runs if glance(run.folder, run.wanted).state != "done"]
    try:
        conductor.conduct(missing)
    finally:
        assert launcher.closed
    return Result(launcher, said, conductor.failures)


def states(runs: list[StudyRun]) -> list[str]:
    return [glance(run.folder, run.wanted).state for run in runs]


def test_every_run_is_started_once_seed_by_seed_and_never_again(planned: Planned, conduct: Conduct) -> None:
    study, runs = planned()
    first = conduct(study, runs)
    assert first.launcher.started == [run.name for run in runs]
    assert [run.seed for run in runs] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert states(runs) == ["done"] * 8
    assert conduct(study, runs).launcher.started == []


def test_a_new_seed_and_a_new_value_add_runs_and_start_no_other(planned: Planned, conduct: Conduct) -> None:
    conduct(*planned())
    study, runs = planned("seeds=[0, 1, 2]", "axes.0.values=[7, 8, 9]")
    result = conduct(study, runs)
    assert len(runs) == 18
    assert len(result.launcher.started) == 18 - 8
    assert all("seed 2" in name or "slots=9" in name for name in result.launcher.started)
    assert {run.run_id for run in runs} == set(study.read_plan().run_ids)


def test_a_run_that_fails_is_tried_again_and_then_recorded_and_the_rest_go_on(
    planned: Planned, pretend: Any, conduct: Conduct
) -> None:
    study, runs = planned()
    bad = runs[1]

    def act(run: StudyRun) -> int:
        if run is not bad:
            return pretend.train(run)
        with study.log(run.run_id).open("a") as log:
            log.write("error: the data is gone\n")
        return 1

    result = conduct(study, runs, act, retries=2)
    assert result.launcher.started.count(bad.name) == 3
    assert result.failures == {bad.run_id: "the data is gone"}
    assert states(runs) == ["done", "failed", *["done"] * 6]
    assert glance(bad.folder, bad.wanted).reason == "the data is gone"
    assert f"{bad.name}: failed; the data is gone" in result.said
    again = conduct(study, runs)
    assert again.launcher.started == [bad.name], "a new command tries it again"
    assert states(runs) == ["done"] * 8


def test_a_killed_run_is_recorded_with_its_signal(planned: Planned, pretend: Any, conduct: Conduct) -> None:
    study, runs = planned("seeds=[0]", "axes.0.values=[7]")

    def act(run: StudyRun) -> int:
        pretend.training(run, state="running")
        return -9

    result = conduct(study, runs[:1], act, retries=0)
    reason = f"ended by signal 9; see {study.log(runs[0].run_id)}"
    assert result.failures == {runs[0].run_id: reason}
    assert RunFolder(runs[0].folder).read_status() == {"state": "failed", "reason": reason}


def test_a_preempted_run_goes_on_as_long_as_it_makes_progress(
    planned: Planned, pretend: Any, conduct: Conduct
) -> None:
    study, runs = planned("seeds=[0]", "axes.0.values=[7]")
    step = 0

    def act(run: StudyRun) -> int:
        nonlocal step
        step += 1
        if step == 6:
            return pretend.train(run)
        pretend.training(run, steps=step, state="stopped", reason="by SIGTERM")
        return RETRY

    assert conduct(study, runs[:1], act, retries=0).failures == {}
    assert step == 6

    def stuck(run: StudyRun) -> int:
        pretend.training(run, steps=1, state="stopped", reason="by SIGTERM")
        return RETRY

    result = conduct(study, runs[1:], stuck, retries=1)
    assert len(result.launcher.started) == 3, "once with progress, twice without"
    assert result.failures == {runs[1].run_id: f"ended with exit code 75; see {study.log(runs[1].run_id)}"}


def test_a_run_of_another_study_is_waited_for_and_not_trained_again(
    planned: Planned, pretend: Any, conduct: Conduct
) -> None:
    study, runs = planned("seeds=[0]")
    other = runs[0]
    claim = other.folder.parent / ".claims" / other.run_id
    claim.mkdir(parents=True)
    with ExitStack() as held:
        held.enter_context(exclusive(claim, "held"))
        said: list[str] = []

        def hear(text: str) -> None:
            said.append(text)
            if text == f"{other.name}: another process has this run; waiting":
                pretend.train(other)
                held.close()

        launcher = PretendLauncher({run.run_id: run for run in runs}, pretend.train)
        Conductor(study, launcher, 1, hear, every=0.0).conduct(runs)
    assert launcher.started == [run.name for run in runs[1:]]
    assert f"{other.name}: done by another study" in said
    assert states(runs) == ["done"] * 4


def test_a_training_whose_study_was_killed_is_waited_for(
    planned: Planned, pretend: Any, conduct: Conduct
) -> None:
    study, runs = planned("seeds=[0]", "axes.0.values=[7]")
    orphan = pretend.training(runs[0], state="running")
    with ExitStack() as held:
        held.enter_context(exclusive(orphan.path, "held"))
        assert glance(runs[0].folder, runs[0].wanted).state == "running"

        def hear(text: str) -> None:
            if text.endswith("waiting"):
                pretend.train(runs[0])
                held.close()

        launcher = PretendLauncher({run.run_id: run for run in runs}, pretend.train)
        Conductor(study, launcher, 1, hear, every=0.0).conduct(runs)
    assert launcher.started == [runs[1].name]


def test_a_shared_run_is_measured_again_if_another_evaluation_is_wanted(
    planned: Planned, conduct: Conduct
) -> None:
    conduct(*planned("settings.evaluation.metrics=[ari]"))
    study, runs = planned("name=second", "settings.evaluation.metrics=[ari, mse]", "seeds=[0]")
    assert states(runs) == ["trained"] * 4
    result = conduct(study, runs)
    assert result.said[0] == f"{runs[0].name}: is evaluated ({runs[0].run_id})"
    assert states(runs) == ["done"] * 4
    names = ["small_study"]
    assert sharing(study, study.read_plan().run_ids) == dict.fromkeys(study.read_plan().run_ids, names)


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, TrainingStopped), (signal.SIGTERM, TrainingPreempted)]
)
def test_asked_to_end_it_asks_its_runs_and_says_how_to_go_on(
    planned: Planned, number: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch, conduct: Conduct
) -> None:
    study, runs = planned()
    monkeypatch.setattr(module, "PATIENCE", 5.0)

    def act(run: StudyRun) -> int | None:
        if run is runs[1]:
            signal.raise_signal(number)
        return None  # goes on until it is stopped

    with pytest.raises(error) as caught:
        conduct(study, runs, act)
    assert (
        str(caught.value) == f"the study was asked to end; the same command goes on from here ({study.path})"
    )
    assert states(runs) == ["waiting"] * 8


def test_only_so_many_at_once(planned: Planned) -> None:
    study, runs = planned()
    launcher = PretendLauncher({run.run_id: run for run in runs}, lambda run: None, at_once=3)
    conductor = Conductor(study, launcher, 0, every=0.0)
    conductor.queue.extend(module.Ticket(run) for run in runs)
    conductor.start_some()
    conductor.start_some()
    assert launcher.started == [run.name for run in runs[:3]]
    for ticket in conductor.running:
        ticket.claim.close()


@pytest.mark.parametrize(("batch", "steps"), [(2, 4), (8, 1)])
def test_the_time_left_is_that_of_the_images_left(
    planned: Planned, pretend: Any, batch: int, steps: int
) -> None:
    lengths = f"settings.training.phases=[{{steps: {steps + 6}, lr: 1e-3}}]"
    _, [run, *_] = planned(f"settings.training.batch_size={batch}", lengths)
    folder = pretend.training(run, steps=steps, state="running")
    with exclusive(folder.path, "held"):
        assert glance(run.folder, None).seconds_left == pytest.approx(6 * batch / 10)  # 10 images a second
    assert glance(run.folder, None).seconds_left is None, "it was killed"


WANTED = WantedEvaluation("val", "whole", "decoder", 7, ("ari", "mse"), ("one_segment",), 10)
SUMMARY = {
    "split": "val",
    "protocol": "whole",
    "mask_source": "decoder",
    "slots": 7,
    "images": 10,
    "data": {"images": 50},
    "step": 3,
    "left_out": {"mse": "no image"},
    "methods": {"model": {"ari": {"mean": 1}}, "one_segment": {}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"split": "test"},
        {"protocol": "seed"},
        {"mask_source": "attention"},
        {"slots": 8},
        {"images": 50},
        {"step": 2},
        {"checkpoint": "best"},
        {"filter": "0 to 6 objects by metadata"},
        {"clip": {"frames": 6, "stride": 1, "from": 0}},
        {"clip": {"frames": None, "stride": 1, "from": 2}},
        {"changes": {"data.dataset.min_objects": 5}},
        {"unfinished": "its figures are being drawn"},
        {"left_out": {}},
        {"methods": {"model": {"ari": {"mean": 1}}}},
    ],
)
def test_a_summary_of_anything_else_is_not_the_wanted_one(change: dict[str, Any]) -> None:
    assert WANTED.is_met(SUMMARY, 3)
    assert not WANTED.is_met({**SUMMARY, **change}, 3)


def test_no_more_images_are_wanted_than_there_are() -> None:
    few = {**SUMMARY, "data": {"images": 8}}
    assert WANTED.is_met({**few, "images": 8}, 3)
    assert not WANTED.is_met({**few, "images": 7}, 3)
    assert WANTED.is_met({**SUMMARY, "data": {}}, 3), "it is not told how many there are"


def test_of_videos_clips_are_counted_and_not_frames() -> None:
    clip = {"frames": None, "stride": 1, "from": 0}
    few = {**SUMMARY, "data": {"images": 96}, "clip": clip}
    assert WANTED.is_met({**few, "available": 8, "images": 8}, 3)
    assert not WANTED.is_met({**few, "available": 8, "images": 7}, 3)
    assert WANTED.is_met(few, 3), "an earlier version did not say how many clips there are"
    parts = replace(WANTED, clip_frames=6, from_frame=2)
    assert parts.is_met({**few, "clip": {**clip, "frames": 6, "from": 2}}, 3)
    assert not parts.is_met(few, 3)


# --- which checkpoint is evaluated -------------------------------------------------------

BEST = ("settings.training.checkpoint.best=ari", "settings.evaluation.checkpoint=best")


def test_an_ablation_declares_which_checkpoint_is_measured(planned: Any) -> None:
    plain, runs = planned()
    assert plain.read_plan().compare.checkpoint == "last"
    study, best = planned(*BEST)
    assert study.read_plan().compare.checkpoint == "best"
    assert [run.wanted.checkpoint for run in best] == ["best"] * len(best)
    assert [run.run_id for run in best] == [run.run_id for run in runs], "it changes no training"
    _, step = planned("settings.evaluation.checkpoint=2")
    assert step[0].wanted.checkpoint == 2


def test_an_ablation_whose_runs_keep_no_best_checkpoint_is_refused(planned: Any) -> None:
    with pytest.raises(SlotlabError) as error:
        planned("settings.evaluation.checkpoint=best")
    assert (
        "--set settings.evaluation.checkpoint=best: evaluation.checkpoint: no checkpoint is the best one"
        in str(error.value)
    )


def test_a_run_needs_the_evaluation_of_the_checkpoint_that_is_declared(planned: Any, pretend: Any) -> None:
    _, [run, *_] = planned(*BEST)
    folder = pretend.training(run)
    write_json(folder.checkpoints.best_file, {"file": "x", "step": 1, "metric": "ari", "value": 0.5})
    pretend.evaluation(run)
    assert glance(run.folder, run.wanted).state == "trained", "the last one was measured"
    pretend.evaluation(run, checkpoint="best", step=2)
    assert glance(run.folder, run.wanted).state == "trained", "what was the best is not any more"
    pretend.evaluation(run, checkpoint="best", step=1)
    assert glance(run.folder, run.wanted).state == "done"
