"""Killed, or failed by the disk, at any change of the disk: the same command ends as if nothing had been."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.cli import main as cli
from slotlab.framework.study.launching import Job
from slotlab.plugins.launchers.local import LocalLauncher

TRAIN = ("train", "spec.yaml", "--run", "run", "--device", "cpu")
STUDY = """
format: 1
name: killed
question: does it matter that it was killed?
base: spec.yaml
axes:
  - {name: initializer, path: model.initializer, values: [gaussian, learnable]}
seeds: [0]
launcher: {name: local, jobs: 1, gpus: []}
"""
ABLATE = ("ablate", "study.yaml", "--device", "cpu")
EVALUATE = ("evaluate", "run", "--device", "cpu", "--set", "evaluation.metrics=[ari, mse, psnr]")

Crash = Any
Prepare = Callable[[Path], None]


@pytest.fixture
def trained(prepare: Prepare, crash: Crash, tmp_path: Path) -> Prepare:
    """Return what writes a finished run too, of another number of epochs."""
    root = crash(prepare, *TRAIN, "--set", "training.phases=[{epochs: 1, lr: 0.05}]").fresh("trained")
    outcome = crash(prepare, *TRAIN, "--set", "training.phases=[{epochs: 1, lr: 0.05}]").run(root)
    assert outcome.code == 0, outcome.printed

    def copy(folder: Path) -> None:
        shutil.copytree(root, folder, dirs_exist_ok=True)

    return copy


def strike(one: Crash, number: int | None, *, seed: int) -> None:
    """Strike at every change in every way, or at some: `number`, or as many as SLOTLAB_STRIKES says."""
    whole, changes = one.undisturbed()
    every = list(one.cases(changes))
    assert len(changes) > 20
    most = number or int(os.environ.get("SLOTLAB_STRIKES", len(every)))
    chosen = random.Random(seed).sample(every, min(most, len(every)))
    wrong = one.strike_all(chosen, whole)
    print(f"{len(chosen)} of {len(every)} strikes at {len(changes)} changes")
    assert not wrong, "\n\n".join((f"{len(wrong)} of {len(chosen)}", *wrong[:5]))


some_and_all = pytest.mark.parametrize("number", [4, pytest.param(None, marks=pytest.mark.slow)])


@some_and_all
def test_train(crash: Crash, prepare: Prepare, number: int | None) -> None:
    strike(crash(prepare, *TRAIN), number, seed=0)


@some_and_all
def test_train_overwrite(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *TRAIN, "--overwrite"), number, seed=1)


@some_and_all
def test_evaluate(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *EVALUATE), number, seed=2)


@dataclass
class Copy:
    """A run of a study as a copy of this process, instead of a new one that imports everything again."""

    child: int
    free: list[int]
    code: int | None = None

    def poll(self) -> int | None:
        if self.code is None and (found := os.waitpid(self.child, os.WNOHANG))[0]:
            self.code = os.waitstatus_to_exitcode(found[1])
            self.free.append(0)
        return self.code

    def stop(self) -> None:
        os.kill(self.child, signal.SIGTERM)


def copying(disk: Any) -> None:
    """Start runs as copies in the process that is watched; they are killed with it, and not struck themselves."""
    sleep = time.sleep

    def start(self: LocalLauncher, job: Job) -> Copy:
        self.free.pop(0)
        with job.log.open("ab") as log:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    disk.at = None
                    os.dup2(log.fileno(), 1)
                    os.dup2(log.fileno(), 2)
                    sys.argv = ["slotlab", *job.command[3:]]
                    cli.main()
                    code = 0
                except SystemExit as stop:
                    code = int(stop.code or 0)
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
        return Copy(child, self.free)

    LocalLauncher.start = start  # type: ignore[assignment, method-assign]
    time.sleep = lambda seconds: sleep(min(float(seconds), 0.02))


@pytest.mark.parametrize("number", [1, pytest.param(None, marks=pytest.mark.slow)])
def test_ablate(crash: Crash, prepare: Prepare, number: int | None) -> None:
    def with_study(root: Path) -> None:
        prepare(root)
        (root / "study.yaml").write_text(STUDY)

    strike(crash(with_study, *ABLATE, around=copying), number, seed=3)
