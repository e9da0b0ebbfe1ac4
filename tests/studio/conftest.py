"""A run whose slots differ visibly, for the studio's server and its page."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework import experiment
from slotlab.framework.model import SlotModel

SMALL = (
    "data.protocol.image_size=16",
    "data.dataset.num_train=4",
    "data.dataset.num_val=12",
    "training.batch_size=4",
    "training.phases=[{steps: 4, lr: 1e-6}]",
    "model.encoder.channels=[8, 8, 8]",
    "model.decoder.broadcast_size=4",
)


def strong(spec: Any) -> SlotModel:
    """Build a model with larger weights than usual: what it paints depends on its slots without training."""
    model = experiment_build(spec)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2.5)
    return model


experiment_build = experiment.build_model


@pytest.fixture(scope="session")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run of the demo, with 4 slots and 12 validation images."""
    path = tmp_path_factory.mktemp("studio") / "run"
    loaded = experiment.prepare("slotlab:demo", sets=SMALL).loaded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "build_model", strong)
        experiment.run_training(loaded, path, device=torch.device("cpu"), report=lambda progress: None)
    return path
