"""Killed, or failed by the disk, at any change of the disk: the same command ends as if nothing had been."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPEC = """
format: 1
name: small
plugins: [pixelwise.py]
data:
  dataset: {name: scenes, max_objects: 3, num_train: 4, num_val: 2, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 3
  slot_dim: 8
  encoder: pixelwise
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, channels: [4], broadcast_size: 8, strides: [2]}
training:
  batch_size: 2
  log_every: 1
  ema_decay: 0.9
  checkpoint: {every_steps: 1, keep: 1, best: mse}
  phases: [{epochs: 2, lr: 0.05}]
evaluation: {metrics: [ari, mse], baselines: []}
"""
TRAIN = ("train", "spec.yaml", "--run", "run", "--device", "cpu")
EVALUATE = ("evaluate", "run", "--device", "cpu", "--set", "evaluation.metrics=[ari, mse, psnr]")

Crash = Any
Prepare = Callable[[Path], None]


@pytest.fixture
def prepare(plugin: Callable[..., Path]) -> Prepare:
    """Return what writes spec and plugin into a folder."""
    text = plugin().read_text()

    def write(root: Path) -> None:
        (root / "spec.yaml").write_text(SPEC)
        (root / "pixelwise.py").write_text(text)

    return write


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
    """Strike at every change in every way, or at some."""
    whole, changes = one.undisturbed()
    every = list(one.cases(changes))
    assert len(changes) > 20
    chosen = every if number is None else random.Random(seed).sample(every, number)
    for place, (at, way) in enumerate(chosen):
        one.strike(str(place), at, way, whole)
    print(f"{len(chosen)} of {len(every)} strikes at {len(changes)} changes")


some_and_all = pytest.mark.parametrize("number", [6, pytest.param(None, marks=pytest.mark.slow)])


@some_and_all
def test_train(crash: Crash, prepare: Prepare, number: int | None) -> None:
    strike(crash(prepare, *TRAIN), number, seed=0)


@some_and_all
def test_train_overwrite(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *TRAIN, "--overwrite"), number, seed=1)


@some_and_all
def test_evaluate(crash: Crash, trained: Prepare, number: int | None) -> None:
    strike(crash(trained, *EVALUATE), number, seed=2)
