"""Kill -9 of everything, twice, and the same command again: the study ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slotlab.framework.runs.folder import RunFolder

STUDY = """
format: 1
name: killed
question: does it matter that it was killed?
base: spec.yaml
settings:
  data.dataset: {name: scenes, max_objects: 3, num_train: 12, num_val: 4, textures: [plain]}
  training: {phases: [{steps: 300, lr: 1e-3}], checkpoint: {every_steps: 10}, log_every: 5}
axes:
  - {name: initializer, path: model.initializer, values: [gaussian, learnable]}
seeds: [0]
launcher: {name: local, jobs: 2, gpus: []}
"""
COMMAND = [sys.executable, "-m", "slotlab.framework.cli", "ablate", "study.yaml", "--device", "cpu"]


def start(folder: str) -> "subprocess.Popen[bytes]":
    """Start the study in a process group of its own."""
    words = ["--runs", f"{folder}/runs", "--studies", f"{folder}/studies", "--json", f"{folder}.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = Path(f"{folder}.log").open("ab")  # noqa: SIM115 - it is the process's
    with log:
        return subprocess.Popen([*COMMAND, *words], env=environment, stdout=log, stderr=log, process_group=0)


def steps(folder: str) -> dict[str, int]:
    """Return how far each run is, by its newest checkpoint."""
    found = {path.name: RunFolder(path).checkpoints.all() for path in Path(folder, "runs").glob("*")}
    return {name: checkpoints[0].step for name, checkpoints in found.items() if checkpoints}


def kill_at(folder: str, step: int) -> None:
    """Kill the study and all that it started as soon as two runs are past a step."""
    process = start(folder)
    try:
        until = time.monotonic() + 300
        while sum(reached >= step for reached in steps(folder).values()) < 2:
            assert process.poll() is None, Path(f"{folder}.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_two_kills_leave_no_trace(base: str, write: Callable[[str, str], Path]) -> None:
    write("study.yaml", STUDY)
    assert start("whole").wait() == 0, Path("whole.log").read_text()
    kill_at("broken", 30)
    kill_at("broken", 120)
    assert all(step < 300 for step in steps("broken").values()), "they were killed midway"
    assert start("broken").wait() == 0, Path("broken.log").read_text()
    log = Path("broken.log").read_text()
    assert log.count("goes on from step") >= 4, log
    whole, broken = (json.loads(Path(f"{name}.json").read_text()) for name in ("whole", "broken"))
    table = [
        [(row["arm"], row["seed"], row["run_id"], row["state"], row["metrics"]) for row in one["runs"]]
        for one in (whole, broken)
    ]
    assert table[0] == table[1]
    for row in whole["runs"]:
        runs = [RunFolder(Path(folder, "runs", row["run_id"])) for folder in ("whole", "broken")]
        ours, theirs = (run.load_weights().model for run in runs)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
        images = [next(run.path.glob("evaluation/*/images.csv")).read_bytes() for run in runs]
        assert images[0] == images[1]
