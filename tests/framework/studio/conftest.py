"""A run whose slots differ visibly, for the studio's server and its page."""

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
