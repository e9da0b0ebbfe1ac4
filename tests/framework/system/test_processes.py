"""Several processes train as one does: the same losses, one set of files, one message, one end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.cli import main as cli
from slotlab.framework.model import engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.system import processes
from slotlab.registry import SlotlabError

# Slots that are drawn anew at each step differ with the number of processes: learnable ones do not.
SETS = (
    "data.dataset={name: scenes, max_objects: 3, num_train: 7, num_val: 5, textures: [plain]}",
    "model.initializer=learnable",
    "model.slots=4",
    "training.batch_size=4",
    "training.log_every=1",
    "training.trackers=[tensorboard]",
    "evaluation.batch_size=2",
)
BROKEN = """
import os

from torch.optim.lr_scheduler import LambdaLR

from slotlab.registry import Component, ComponentConfig, SlotlabError, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    rank: int
    bug: bool = False


def build(config, context):
    def factor(step):
        if step == 3 and os.environ.get("RANK") == str(config.rank):
            raise ValueError("a bug") if config.bug else SlotlabError("the disk is full")
        return 1.0

    return LambdaLR(context.optimizer, factor)


@hookimpl
def slotlab_schedules():
    yield Component(name="broken", config=Config, build=build, summary="fails in one process")
"""


def command(run: str, *words: str, epochs: int = 3) -> list[str]:
    """The words of a training; `words` come last and win."""
    phases = f"training.phases=[{{epochs: {epochs}, lr: 1e-2}}]"
    sets = [f"--set={one}" for one in (*SETS, phases)]
    return ["train", "spec.yaml", "--run", run, "--device", "cpu", *sets, *words]


def slotlab(*words: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    return subprocess.run([*program, *words], capture_output=True, text=True, timeout=300)


def lines(run: str) -> list[dict[str, Any]]:
    return RunFolder(Path(run)).read_log()


def same_curves(run: str, expected: str) -> None:
    ours, theirs = lines(run), lines(expected)
    assert [(one["kind"], one["step"], one["epoch"]) for one in ours] == [
        (one["kind"], one["step"], one["epoch"]) for one in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5, rel=0)


def summary(run: str) -> Any:
    [path] = (Path(run) / "evaluation").rglob("summary.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_two_processes_clip_by_the_largest_value_as_one_does(base: str) -> None:
    """The large epsilon lets Adam's steps depend on the gradient's size, and so on the factor."""
    sets = [
        "training.clip_norm=1e-3",
        "training.clip_norm_type=inf",
        "training.optimizer={name: adam, eps: 1e-2}",
    ]
    words = ["--no-evaluate", *(f"--set={one}" for one in sets)]
    one, two = slotlab(*command("one", *words)), slotlab(*command("two", "--devices", "2", *words))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    same_curves("two", "one")


@pytest.mark.slow
def test_two_processes_do_what_one_does(base: str) -> None:
    one = slotlab(*command("one"))
    two = slotlab(*command("two", "--devices", "2"))
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    same_curves("two", "one")
    assert len(lines("two")) == 9
    means = [summary(run)["methods"]["model"] for run in ("one", "two")]
    for name, statistics in means[0].items():
        assert means[1][name]["mean"] == pytest.approx(statistics["mean"], abs=1e-4), name
    assert summary("two")["images"] == 5
    files = [sorted(path.relative_to(run).name for path in Path(run).rglob("*")) for run in ("one", "two")]
    known = [
        [name for name in names if "." not in name or name.endswith((".json", ".png"))] for names in files
    ]
    assert known[0] == known[1]
    assert len(list(Path("two/tensorboard").iterdir())) == 1, "one process has trackers"
    assert two.stdout.splitlines()[0] == one.stdout.splitlines()[0]
    assert two.stdout.count("weights of step 6") == two.stderr.count("train: step 6/6") == 1


@pytest.mark.slow
def test_told_to_stop_all_end_and_another_number_goes_on(base: str) -> None:
    words = command("run", "--devices", "2", "--no-evaluate", epochs=400)
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    training = subprocess.Popen([*program, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(lines("run")) < 6 and time.monotonic() < deadline:
        time.sleep(0.1)
    second = next(pid for pid in children(training.pid) if environment(pid)["RANK"] == "1")
    os.kill(second, signal.SIGTERM)  # one process is told; the command itself passes it on to all
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 75, errors
    assert errors.splitlines()[-1] == (
        "error: training was asked to end by SIGTERM, and saved; the same command goes on from here (run)"
    )
    assert errors.count("error:") == 1
    stopped = RunFolder(Path("run"))
    assert stopped.read_status() == {"state": "stopped", "reason": "by SIGTERM"}
    done = stopped.load_weights().step
    steps = f"--set=training.phases=[{{steps: {done + 4}, lr: 1e-2}}]"
    assert slotlab(*command("run", steps, "--allow", "training.phases", "--no-evaluate")).returncode == 0
    assert slotlab(*command("whole", steps, "--no-evaluate")).returncode == 0
    same_curves("run", "whole")
    assert lines("run")[-1]["step"] == done + 4


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.is_file():
        pytest.skip("needs /proc to find a process's children")
    return [int(child) for child in found.read_text().split()]


def environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@pytest.mark.slow
def test_an_error_in_the_first_process_ends_all_with_one_message(
    base: str, write: Callable[[str, str], Path]
) -> None:
    write("broken.py", BROKEN)
    schedule = "--set=training.phases=[{epochs: 3, lr: 1e-2, schedule: {name: broken, rank: 0}}]"
    failed = slotlab(*command("run", "--devices", "2", "--plugin", "broken.py", schedule))
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        "training 'small' on cpu into run",
        "error: the disk is full",
    ]
    assert RunFolder(Path("run")).read_status() == {"state": "failed", "reason": "the disk is full"}


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["false", "true"])
def test_an_error_in_another_process_alone_is_told_too(
    base: str,
    write: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    bug: str,
) -> None:
    write("broken.py", BROKEN)
    schedule = (
        f"--set=training.phases=[{{epochs: 3, lr: 1e-2, schedule: {{name: broken, rank: 1, bug: {bug}}}}}]"
    )
    words = command("run", "--devices", "2", "--plugin", "broken.py", schedule)
    monkeypatch.setattr(sys, "argv", ["slotlab", *words])
    monkeypatch.setattr(processes, "PATIENCE", 2.0)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    shown = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    if bug == "true":
        reason = f"schedule 'broken' failed: ValueError: a bug ({Path('broken.py').resolve()}, line 18)"
    else:
        reason = "the disk is full"
    assert shown == [f"error: process 1: {reason}"]
    assert RunFolder(Path("run")).read_status() == {"state": "failed", "reason": reason}


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all(base: str) -> None:
    words = command("run", "--devices", "2", "--no-evaluate", epochs=400)
    program = [sys.executable, "-m", "slotlab.framework.cli"]
    training = subprocess.Popen([*program, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(lines("run")) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    pids = children(training.pid)
    os.kill(next(pid for pid in pids if environment(pid)["RANK"] == "1"), signal.SIGKILL)
    _, errors = training.communicate(timeout=60)
    assert training.returncode == 1
    assert "error: process 1: ended by SIGKILL" in errors.splitlines()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


# --- without starting any ----------------------------------------------------------------


def test_when_processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert [processes.wanted(number) for number in (None, 1, 2)] == [False, False, True]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [processes.wanted(number) for number in (None, 2)] == [False, False]
    with pytest.raises(SlotlabError) as error:
        processes.wanted(4)
    assert str(error.value) == (
        "--devices 4: 2 processes were started already (by torchrun?); leave --devices out"
    )


def test_a_message_of_another_process_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(processes.REPORT, raising=False)
    for rank, code in (("0", 1), ("1", 1), ("1", 75)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as end:
            processes.fail(["the disk is full"], code)
        assert end.value.code == code
    assert capsys.readouterr().err.splitlines() == [
        "error: the disk is full",
        "error: process 1: the disk is full",
    ]


class Told:
    """A process that notes which signals are passed on to it."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def tell(self, number: int) -> None:
        self.signals.append(number)


def test_signals_are_passed_on_unless_the_shell_had_them_ignored() -> None:
    child: Any = Told()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which a shell may ignore that started the tests
    with processes.passing_on([child]):
        for number in numbers:
            signal.raise_signal(number)
    assert child.signals == [signal.SIGINT, signal.SIGTERM, signal.SIGTERM]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    child = Told()
    with processes.passing_on([child]):
        for number in numbers:
            signal.raise_signal(number)
    assert child.signals == [signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_every_process_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine.check_gpus(torch.device("cuda"), 2)
    with pytest.raises(SlotlabError) as error:
        engine.check_gpus(torch.device("cuda"), 4)
    assert str(error.value) == "4 processes need a GPU each, and torch sees 2"
    with pytest.raises(SlotlabError) as error:
        engine.check_gpus(torch.device("cuda", 1), 2)
    assert str(error.value) == (
        "--device cuda:1 is one GPU; for 2 processes write --device cuda, and choose GPUs by CUDA_VISIBLE_DEVICES"
    )
