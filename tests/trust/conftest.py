"""A run that was trained with a plugin file and its helper, which leave a trace whenever they are run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slotlab.registry import read_code

PLUGIN = """
import os
from pathlib import Path

from torch import nn

import traced_helper
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    width: int = 4


class Encoder(nn.Module):
    def __init__(self, config, context):
        super().__init__()
        self.layer = nn.Conv2d(3, config.width, 1)
        self.channels, self.grid = config.width, context.image_size

    def forward(self, images_BCHW):
        return traced_helper.FACTOR * self.layer(images_BCHW)


@hookimpl
def slotlab_encoders():
    yield Component(name="traced", config=Config, build=Encoder, summary="leaves a trace")
"""
HELPER = """
import os
from pathlib import Path

FACTOR = 1.0
if "SLOTLAB_TEST_TRACE" in os.environ:
    Path(os.environ["SLOTLAB_TEST_TRACE"]).touch()
"""
SPEC = """
format: 1
name: traced
plugins: [traced.py]
data:
  dataset: {name: scenes, max_objects: 3, num_train: 2, num_val: 2, textures: [plain]}
  protocol: {name: whole, image_size: 8}
model:
  slots: 4
  slot_dim: 8
  encoder: traced
  initializer: learnable
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, broadcast_size: 4, channels: [4], strides: [2]}
training:
  batch_size: 2
  phases: [{steps: 1, lr: 1e-2}]
"""


@dataclass(frozen=True)
class Stranger:
    """Another user, who was given the run."""

    run: Path
    trace: Path

    @property
    def copy(self) -> Path:
        """The run's copy of the plugin."""
        [found] = (self.run / "plugins").glob("*/traced.py")
        return found

    @property
    def source(self) -> str:
        return read_code(self.copy).source

    def summaries(self) -> dict[str, dict[str, Any]]:
        return {
            path.parent.name: json.loads(path.read_text())
            for path in (self.run / "evaluation").glob("*/summary.json")
        }


SOURCES = {"spec.yaml": SPEC, "traced.py": PLUGIN, "traced_helper.py": HELPER}


@pytest.fixture
def sources() -> dict[str, str]:
    """The files that the run is trained from."""
    return dict(SOURCES)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., int]) -> Path:
    """A run that the user of these tests has trained and evaluated, beside the files it is trained from."""
    folder = tmp_path_factory.mktemp("trained")
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    run = folder / "run"
    assert command("train", folder / "spec.yaml", "--run", run, "--device", "cpu") == 0
    return run


@pytest.fixture
def stranger(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    """Another user in an empty folder, with a copy of the run."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SLOTLAB_TEST_TRACE", str(tmp_path / "trace"))
    return Stranger(tmp_path / "run", tmp_path / "trace")
