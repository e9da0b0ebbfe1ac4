"""Files that are lost, damaged or half made: what is left of a run is gone on with, or refused with the way out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.cost import tally as cost
from slotlab.framework.jobs import train as experiment
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.runs.checkpoints import Checkpoints, Value, checksum
from slotlab.framework.runs.clear_run import WRITTEN
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.system.stop_signals import TrainingStopped
from slotlab.framework.training.plan import Progress
from slotlab.registry import SlotlabError

SMALL = (
    "data.dataset={name: scenes, max_objects: 3, num_train: 6, num_val: 2, textures: [plain]}",
    "model.grouping={name: slot_attention, iterations: 1}",
    "training.log_every=1",
)
PHASES = "training.phases=[{epochs: 3, lr: 1e-3, schedule: cosine}]"
WAYS = "Nothing was changed; put them back, give --overwrite to delete it and train it again, or --run DIR"

Train = Callable[..., list[str]]


@pytest.fixture
def train(base: str, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Return a function that trains the small spec with changes, and returns what it warned of."""
    monkeypatch.setattr(experiment, "draw_curves", lambda run: None)  # they take most of the time
    monkeypatch.setattr(cost, "report", lambda *facts: {})

    def run(*sets: str, stop_at: int | None = None, **options: Any) -> list[str]:
        notes: list[str] = []

        def report(progress: Progress) -> None:
            if progress.step == stop_at:
                raise KeyboardInterrupt

        loaded = prepare("spec.yaml", sets=[*SMALL, PHASES, *sets]).loaded
        cpu = torch.device("cpu")
        run_training(loaded, Path("run"), device=cpu, report=report, warn=notes.append, **options)
        return notes

    return run


RUN = RunFolder(Path("run"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are kept that several tests begin with."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def there(train: Train, kept: Path) -> Callable[..., None]:
    """Return a function that puts a run there that is finished, or was stopped before its fifth step of nine."""

    def put(*, finished: bool) -> None:
        once = kept / str(finished)
        if once.exists():
            shutil.copytree(once, RUN.path)
            return
        if finished:
            train()
        else:
            stop(train, at=5)
        shutil.copytree(RUN.path, once)

    return put


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in RUN.path.rglob("*") if path.is_file()}


def stop(train: Train, *sets: str, at: int) -> None:
    with pytest.raises(TrainingStopped):
        train(*sets, stop_at=at)


def lines() -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in RUN.read_log()]


# --- checkpoints -------------------------------------------------------------------------


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def damaged(folder: Path) -> None:
    for path in folder.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:100])


def of_another_format(folder: Path) -> None:
    for path in folder.glob("*.pt"):
        torch.save({"format": 99}, path)
        path.rename(path.with_name(f"{path.name[:14]}-{checksum(path.read_bytes())}.pt"))


def unreadable(folder: Path) -> None:
    for path in folder.glob("*.pt"):  # root may read whatever is a file
        path.unlink()
        path.mkdir()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (missing, "it has saved checkpoints, and none is in run/checkpoints any more"),
        (damaged, "is damaged: its checksum is not the one in its name"),
        (of_another_format, "is not a checkpoint of slotlab's format 2"),
        (unreadable, "cannot be read: Is a directory"),
        (no_folder, "run/checkpoints cannot be read: Not a directory"),
    ],
)
def test_a_run_whose_checkpoints_cannot_be_read_is_not_wiped(
    train: Train, there: Callable[..., None], harm: Callable[[Path], None], why: str, finished: bool
) -> None:
    there(finished=finished)
    harm(RUN.checkpoints.folder)
    before = files()
    with pytest.raises(SlotlabError) as error:
        train()
    text = str(error.value)
    assert why in text
    assert "--overwrite" in text
    assert "--run DIR" in text
    assert files() == before


def test_overwriting_clears_what_cannot_be_read(train: Train, there: Callable[..., None]) -> None:
    there(finished=False)
    no_folder(RUN.checkpoints.folder)
    train(overwrite=True)
    assert RUN.read_status()["state"] == "done"


def test_a_run_without_its_checkpoints_says_what_can_be_done(
    train: Train, there: Callable[..., None]
) -> None:
    there(finished=True)
    missing(RUN.checkpoints.folder)
    with pytest.raises(SlotlabError) as error:
        train()
    assert str(error.value) == (
        "run holds a run (done) that cannot be gone on with: it has saved checkpoints, and none is in "
        f"run/checkpoints any more. {WAYS} for another folder"
    )


def test_a_checkpoint_that_cannot_be_read_is_never_removed(train: Train) -> None:
    stop(train, at=8)  # of nine
    newest = RUN.checkpoints.all()[0]
    newest.path.write_bytes(b"damaged")
    train()
    assert newest.path.read_bytes() == b"damaged"
    assert sorted(one.step for one in RUN.checkpoints.all()) == [6, 6, 9], "two that are whole, and this"


def test_unreadable_ones_do_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save({"step": step}, keep=3)
    checkpoints.all()[0].path.write_bytes(b"damaged")
    Checkpoints(tmp_path).save({"step": 4}, keep=2)
    assert [one.step for one in checkpoints.all()] == [4, 3, 2]


def test_the_best_is_what_the_newest_says(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1}, keep=1, best=Value("ari", 0.1))
    before = checkpoints.best_file.read_bytes()
    checkpoints.save({"step": 2}, keep=1, best=Value("ari", 0.2))
    facts = checkpoints.best_facts()
    checkpoints.best_file.write_bytes(before)  # a kill between the two
    found, _ = checkpoints.newest_whole()
    assert found is not None
    checkpoints.settle(found[0], found[1]["best"], keep=1)
    assert checkpoints.best_facts() == facts
    checkpoints.save({"step": 3}, keep=1)
    assert [one.step for one in checkpoints.all()] == [3, 2]


@pytest.mark.parametrize(
    "text", ["{}", "[]", "no", '{"file": 1, "step": 1, "metric": "a", "value": 1}', "[" * 9999]
)
def test_a_note_of_the_best_in_another_form_is_none(tmp_path: Path, text: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.best_file.write_text(text)
    assert checkpoints.best() is None
    checkpoints.save({"step": 1}, keep=1, best=Value("ari", 0.1))
    assert checkpoints.best() is not None


# --- folders that are half made ----------------------------------------------------------


@pytest.mark.parametrize("name", [".status.json.0123abcd.tmp", ".status.json.77.tmp"])
def test_a_folder_with_a_torn_first_file_is_free(train: Train, name: str) -> None:
    RUN.path.mkdir()
    (RUN.path / name).write_bytes(b'{"sta')
    train()
    assert not list(RUN.path.glob(".*"))


def test_what_was_being_cleared_is_cleared_on_without_being_asked_again(
    train: Train, there: Callable[..., None]
) -> None:
    there(finished=True)
    RUN.write_status("beginning")
    shutil.rmtree(RUN.checkpoints.folder)
    RUN.spec.unlink()
    (RUN.path / "mine.txt").write_text("mine")
    train("seed=3")
    assert RUN.read_status() == {"state": "done", "reason": ""}
    assert (RUN.path / "mine.txt").read_text() == "mine"
    assert {path.name for path in RUN.path.iterdir()} <= {*WRITTEN, "mine.txt"}


def test_a_run_that_never_saved_starts_anew(train: Train) -> None:
    stop(train, at=1)
    assert train() == ["run: no checkpoint to go on from; starting anew"]


# --- the log -----------------------------------------------------------------------------


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def torn(data: bytes) -> bytes:
    return data[:-7]


def zeros(data: bytes) -> bytes:
    return data[:-60] + bytes(60)


def nothing(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("harm", [cut, torn, zeros, nothing])
@pytest.mark.parametrize("finished", [True, False])
def test_a_log_that_lost_lines_gets_them_back(
    train: Train, there: Callable[..., None], harm: Callable[[bytes], bytes], finished: bool
) -> None:
    there(finished=True)
    whole = lines()
    shutil.rmtree(RUN.path)
    there(finished=finished)
    saved, _ = RUN.checkpoints.newest()
    assert saved is not None
    RUN.metrics.write_bytes(harm(RUN.metrics.read_bytes()[: saved["log_bytes"]]))
    notes = train()
    step = 9 if finished else 3
    assert notes[0] == f"run/metrics.jsonl was not as the checkpoint of step {step} knows it: it was put back"
    assert lines() == whole


def test_the_log_of_an_older_checkpoint_is_cut_to_whole_lines(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slotlab.framework.runs.metrics_log import MetricsLog

    saved = MetricsLog.saved
    monkeypatch.setattr(MetricsLog, "saved", lambda self: {"log_bytes": saved(self)["log_bytes"]})
    stop(train, at=4)
    RUN.metrics.write_bytes(torn(RUN.metrics.read_bytes()[: RUN.checkpoints.newest()[0]["log_bytes"]]))  # type: ignore[index]
    [lost, _] = train()
    assert lost.startswith("run/metrics.jsonl has lost its last ")
    assert lost.endswith("lines are missing, and the weights are not affected")
    assert [line["step"] for line in lines() if line["kind"] == "train"] == list(range(1, 10))


# --- going on as a message advises -------------------------------------------------------


def rates() -> list[float]:
    return [line["lr"] for line in RUN.read_log() if line["kind"] == "train"]


def test_another_rate_is_trained_with(train: Train, there: Callable[..., None]) -> None:
    """The advice after a loss that is no number: a lower rate, from the last good checkpoint."""
    there(finished=True)
    whole = rates()
    shutil.rmtree(RUN.path)
    there(finished=False)
    lower = PHASES.replace("1e-3", "1e-4")
    assert train(lower, allow=["training.phases"]) == ["run goes on from step 3"]
    assert rates()[:3] == whole[:3]
    assert rates()[3:] == pytest.approx([rate / 10 for rate in whole[3:]])


def test_another_rate_is_trained_with_after_another_kill(train: Train, there: Callable[..., None]) -> None:
    there(finished=False)
    lower = PHASES.replace("1e-3", "1e-4")
    with pytest.raises(TrainingStopped):
        train(lower, allow=["training.phases"], stop_at=5)  # nothing was saved since
    assert train(lower) == ["run goes on from step 3"]
    assert max(rates()[3:]) <= 1e-4


def test_the_moments_are_kept(train: Train, there: Callable[..., None]) -> None:
    there(finished=False)
    before = RUN.checkpoints.newest()[0]
    assert before is not None
    with pytest.raises(TrainingStopped):
        train(
            PHASES.replace("1e-3", "1e-30"),
            "training.checkpoint={every_steps: 1}",
            allow=["training.phases"],
            stop_at=5,
        )
    now = RUN.checkpoints.newest()[0]
    assert now is not None
    assert now["step"] == 4
    assert [float(one["step"]) for one in now["optimizer"]["state"].values()] == [
        float(one["step"]) + 1 for one in before["optimizer"]["state"].values()
    ]
    assert all(torch.equal(now["model"][name], tensor) for name, tensor in before["model"].items()), (
        "a rate of 0"
    )


def test_a_run_that_failed_goes_on_with_what_its_message_advises(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SlotlabError) as error:
        train(
            PHASES.replace("schedule: cosine", "schedule: constant").replace("1e-3", "1e30"),
            "training.explosion=2",
        )
    assert "--allow training.phases" in str(error.value)
    assert json.loads(RUN.failure.read_text())["step"]
    train(PHASES, allow=["training.phases"])
    assert RUN.read_status()["state"] == "done"
    assert not RUN.failure.exists()
    assert all(tensor.isfinite().all() for tensor in RUN.load_weights().model.values())
