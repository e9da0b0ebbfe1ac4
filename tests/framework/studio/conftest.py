"""A run whose slots differ visibly, for the studio's server and its page."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from slotlab.framework.jobs import train as experiment

SMALL = (
    "data.protocol.image_size=16",
    "data.dataset.num_train=4",
    "data.dataset.num_val=12",
    "training.batch_size=4",
    "training.phases=[{steps: 4, lr: 1e-6}]",
    "model.encoder.channels=[8, 8, 8]",
    "model.decoder.broadcast_size=4",
)


@pytest.fixture(scope="session")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run of the demo, with 4 slots and 12 validation images."""
    path = tmp_path_factory.mktemp("studio") / "run"
    loaded = experiment.prepare("slotlab:demo", sets=SMALL).loaded
    experiment.run_training(loaded, path, device=torch.device("cpu"), report=lambda progress: None)
    return path


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[str]]:
    """Serve the studio of a run by its command, as a user does, and end it by Ctrl-C."""

    @contextmanager
    def serving(run: Path, words: str) -> Iterator[str]:
        command = [
            sys.executable,
            "-m",
            "slotlab.framework.cli",
            "studio",
            str(run),
            "--port=0",
            "--device=cpu",
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(rf"{words} at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
            assert found, line
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")

    return serving
