"""Two small runs of the demo, one for each of two seeds, trained once through the front door."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.framework.compare.draw_all import Drawn
from slotlab.results import Run

SHORT: dict[str, Any] = {
    "training.phases": [{"steps": 2, "lr": 1e-3}],
    "data.dataset": {"num_train": 8, "num_val": 6, "textures": ["plain"]},
    "evaluation.batch_size": 4,
    "evaluation.baselines": ["one_segment"],
}


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which takes longer than all else in a small training."""
    patch.setattr("slotlab.framework.jobs.evaluate.draw_evaluation", lambda *given, **options: {})
    patch.setattr("slotlab.framework.jobs.train.draw_curves", lambda run: None)
    patch.setattr("slotlab.framework.compare.draw_all.draw", lambda *given: Drawn((), ""))


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures in the tests of this folder, and in no others: so the patch lasts for one test."""
    draw_nothing(monkeypatch)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `demo` and `demo-1`, to be read only."""
    folder = tmp_path_factory.mktemp("trained") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        for seed, name in enumerate(("demo", "demo-1")):
            run = slotlab.train("slotlab:demo", {**SHORT, "seed": seed}, run=folder / name, device="cpu")
            assert run.state == "done"
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path) -> Path:
    """The runs in the current folder, under `runs`; copies, so that they can be written into."""
    shutil.copytree(runs, tmp_path / "runs")
    os.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here: Path) -> Run:
    """The first of the runs, opened."""
    return slotlab.open_run("runs/demo", device="cpu")
