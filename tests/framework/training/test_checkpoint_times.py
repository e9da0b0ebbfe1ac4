"""When checkpoints are written: by minutes on the clock, and by epochs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]


def kept(spec: ExperimentSpec, loader: Loader, folder: Path, **options: Any) -> list[int]:
    """Train, and return the steps of the checkpoints that are there."""
    run = RunFolder.create(folder, spec)
    train(Engine.open(spec, torch.device("cpu"), warn=print), build_model(spec), loader, run, **options)
    return sorted(one.step for one in run.checkpoints.all())


@pytest.mark.parametrize(
    ("minutes", "steps"), [(260, [4, 8]), (334, [3, 6, 8]), (501, [2, 4, 6, 8]), (70, [8])]
)
def test_minutes_are_counted_from_the_checkpoint_before(
    tiny: Specs,
    noise_loader: Loaders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    steps: list[int],
) -> None:
    """One is due once more than a thousand minutes have passed, and the next thousand begin with it."""
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def report(progress: Progress) -> None:
        clock[0] += 60 * minutes

    checkpoint = {"every_minutes": 1000, "every_epochs": None, "keep": 9}
    spec = tiny(training={"phases": [{"steps": 8, "lr": 0.01}], "checkpoint": checkpoint})
    assert kept(spec, noise_loader(size=20), tmp_path / "run", report=report) == steps


@pytest.mark.parametrize(
    ("every", "steps"), [(1, [2, 4, 6, 8, 10]), (2, [4, 8, 10]), (3, [6, 10]), (None, [10])]
)
def test_epochs_are_counted_from_the_checkpoint_before(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, every: int | None, steps: list[int]
) -> None:
    checkpoint = {"every_minutes": None, "every_epochs": every, "keep": 9}
    spec = tiny(training={"phases": [{"epochs": 5, "lr": 0.01}], "checkpoint": checkpoint})
    assert kept(spec, noise_loader(size=4), tmp_path / "run") == steps
