"""An ablation small enough to plan in a moment, and runs that look as if they were trained."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.load import Ablation, load_ablation
from slotlab.framework.study.plan import StudyRun, plan_runs, write_study
from slotlab.framework.system.json_files import write_json

ABLATION = """
format: 1
name: small_study
question: does it matter?
base: spec.yaml
axes:
  - {name: slots, path: model.slots, values: [7, 8]}
  - {name: init, path: model.initializer, values: [gaussian, learnable]}
seeds: [0, 1]
"""


@pytest.fixture(autouse=True, scope="session")
def ray_apart() -> Iterator[None]:
    """Ray's files in a folder of this process, so that no test joins the cluster of another process's.

    The folder's path is short: sockets lie below it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        yield


@pytest.fixture
def ablation(base: str, write: Callable[[str, str], Path]) -> str:
    """A small valid ablation, written as `ablation.yaml` into the current folder."""
    write("ablation.yaml", ABLATION)
    return ABLATION.removeprefix("\n")


@pytest.fixture
def planned(ablation: str) -> Callable[..., tuple[StudyFolder, list[StudyRun]]]:
    """Return a function that plans the ablation with some assignments."""

    def plan(*sets: str) -> tuple[StudyFolder, list[StudyRun]]:
        loaded: Ablation = load_ablation("ablation.yaml", sets=sets)
        study = StudyFolder(Path("studies") / loaded.spec.name)
        runs = plan_runs(loaded, Path("runs"))
        write_study(loaded, runs, study)
        return study, runs

    return plan


class Pretend:
    """Writes what trainings leave, without training."""

    def training(self, run: StudyRun, *, steps: int = 2, state: str = "done", reason: str = "") -> RunFolder:
        """Write a run's folder as a training of some steps leaves it."""
        folder = RunFolder.create(run.folder, run.spec, overwrite=True)
        folder.write_provenance({"run_id": run.run_id, "data": {"train": {"images": 4}}})
        folder.log({"kind": "train", "step": steps, "loss": 0.5, "images_per_second": 10.0})
        folder.write_status(state, reason)
        return folder

    def evaluation(self, run: StudyRun, *, value: float = 0.25, step: int = 2, **changes: Any) -> None:
        """Write the summary of the evaluation that a run needs."""
        wanted = run.wanted
        metrics: Sequence[str] = changes.pop("metrics", wanted.metrics)
        summary = {
            "split": wanted.split,
            "protocol": wanted.protocol,
            "mask_source": wanted.mask_source,
            "slots": wanted.slots,
            "images": 4,
            "data": {"images": 4},
            "step": step,
            "left_out": {},
            "methods": {"model": {name: {"mean": value} for name in metrics}},
            **changes,
        }
        write_json(RunFolder(run.folder).evaluation("scenes-val-whole-decoder") / "summary.json", summary)

    def train(self, run: StudyRun) -> int:
        """Do what a run's command does, and return its exit code."""
        self.training(run)
        self.evaluation(run)
        return 0


@pytest.fixture
def pretend() -> Pretend:
    """Return what writes the folders of runs."""
    return Pretend()
