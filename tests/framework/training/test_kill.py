"""Kill -9 at any moment, give the same command: the weights end as if nothing had happened."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.runs.folder import RunFolder

KILLS = 30
CHANGES = (
    "data.dataset={name: scenes, max_objects: 3, num_train: 10, num_val: 2, textures: [plain]}",
    "training.phases=[{epochs: 6, lr: 1e-3, schedule: cosine}, {steps: 17, lr: 5e-4, optimizer_state: kept}]",
    "training.checkpoint={every_steps: 3, keep: 2}",
    "training.log_every=2",
)


def train_in(folder: Path) -> None:
    loaded = prepare("spec.yaml", sets=CHANGES).loaded
    run_training(loaded, folder, device=torch.device("cpu"), report=lambda progress: None)


def in_a_process(folder: Path, seconds: float | None) -> bool:
    """Train in a process of its own, killed after some time; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train_in(folder)
            status = 0
        except BaseException:
            traceback.print_exc()  # pytest shows it beside the failure
        finally:
            os._exit(status)  # no clean-up of the parent's
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


@pytest.mark.slow
def test_thirty_kills_leave_no_trace(base: str, write: Callable[[str, str], Path], tmp_path: Path) -> None:
    started = time.monotonic()
    assert in_a_process(tmp_path / "whole", None)
    longest = time.monotonic() - started
    expected = RunFolder(tmp_path / "whole")
    rng, kills, done = random.Random(0), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"run{done}"
        if not in_a_process(folder, rng.uniform(0.1, 0.6) * longest):
            kills += 1
            continue
        done += 1
        same(RunFolder(folder), expected)
    last = tmp_path / f"run{done}"
    assert in_a_process(last, None)
    same(RunFolder(last), expected)


def same(run: RunFolder, expected: RunFolder) -> None:
    assert run.read_status()["state"] == "done"
    ours, theirs = run.load_weights(), expected.load_weights()
    assert ours.step == theirs.step
    assert all(torch.equal(ours.model[name], tensor) for name, tensor in theirs.model.items())
    losses = [[line["loss"] for line in one.read_log()] for one in (run, expected)]
    assert losses[0] == losses[1]
