"""Trackers are told everything once, over any number of kills, and never change a training."""

import errno
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import TrackerContext
from slotlab.framework.data.loader import Loader
from slotlab.framework.jobs.train import prepare, run_training
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.load import LoadedSpec
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training import trackers as module
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.resume import open_run
from slotlab.framework.training.trackers import Trackers, check_trackers, numbers
from slotlab.framework.training.validation import Validation
from slotlab.registry import (
    Component,
    ComponentConfig,
    ComponentError,
    Ref,
    Registered,
    Registry,
    SlotlabError,
)
from slotlab.registry import optional as libraries

pytestmark = pytest.mark.usefixtures("blank_figures")

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
Point = tuple[str, int]


@dataclass
class Memory:
    """A tracker that keeps what it is told; with `spoil` it fails from that call on."""

    forgets: bool = False
    spoil: int | None = None
    error: Exception = field(default_factory=lambda: ConnectionError("no route to host\nat all"))
    points: dict[Point, float] = field(default_factory=dict)
    pictures: list[str] = field(default_factory=list)
    ended: bool | None = None
    calls: int = 0
    known_as: str = ""

    def build(self, config: ComponentConfig, context: TrackerContext) -> "Memory":
        start = context.resumed_from
        if context.run_id != self.known_as:  # trained anew, since nothing had been saved
            self.points, self.known_as = {}, context.run_id
        if self.forgets and start is not None:
            self.points = {(name, step): x for (name, step), x in self.points.items() if step <= start}
        return self

    def log(self, step: int, values: Mapping[str, float]) -> None:
        random.random(), np.random.rand(), torch.rand(1)  # an impolite library
        self.calls += 1
        if self.spoil is not None and self.calls >= self.spoil:
            raise self.error
        for name, value in values.items():
            assert (name, step) not in self.points, "told twice"
            self.points[name, step] = value

    def figure(self, name: str, path: Path) -> None:
        assert path.is_file()
        self.pictures.append(name)

    def close(self, *, failed: bool) -> None:
        self.ended = failed


def ref(memory: Memory, name: str = "memory", version: int = 1) -> Ref:
    component = Component(
        name=name, config=ComponentConfig, build=memory.build, summary="keeps it", version=version
    )
    return Ref(Registered("tracker", component, "here"), ComponentConfig())


def points_of(run: RunFolder) -> dict[Point, float]:
    """What metrics.jsonl says, by an independent reading."""
    found = {}
    for line in run.read_log():
        for key, value in line.items():
            if key not in ("kind", "step") and value is not None:
                found[f"{line['kind']}/{key}", line["step"]] = value
    return found


def without_speed(points: Mapping[Point, float]) -> dict[Point, float]:
    return {point: value for point, value in points.items() if point[0] != "train/images_per_second"}


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here, without a chance to save or close."""


def attempt(
    spec: ExperimentSpec, loader: Loader, folder: Path, *, kill_at: int | None = None, warn: Any = print
) -> tuple[RunFolder, dict[str, Tensor]]:
    """Train, or go on, as a new process would."""

    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    start = open_run(loaded(spec), folder, overwrite=False)
    told = Trackers(warn)
    told.start(start.run, spec, None if start.saved is None else start.saved["step"])
    model = build_model(spec)
    train(
        Engine.open(spec, torch.device("cpu"), warn=print),
        model,
        loader,
        start.run,
        validation=Validation(loader),
        report=report,
        saved=start.saved,
        trackers=told,
    )
    told.close(failed=False)
    return start.run, model.state_dict()


def loaded(spec: ExperimentSpec) -> LoadedSpec:
    found: Any = type("Loaded", (), {"spec": spec, "registry": Registry()})()
    return found  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def plain_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trackers here are known to no registry, from which a run's spec could be read again."""
    monkeypatch.setattr("slotlab.framework.training.resume.differences", lambda run, loaded: iter(()))


def with_trackers(tiny: Specs, *refs: Ref, **training: Any) -> ExperimentSpec:
    phases = [{"epochs": 4, "lr": 0.01}]
    return tiny(training={"phases": phases, "trackers": refs, "log_every": 2, **training})


# --- what they are told ------------------------------------------------------------------


def test_they_are_told_what_the_log_says(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    memory = Memory()
    run, _ = attempt(with_trackers(tiny, ref(memory)), noise_loader(), tmp_path / "run")
    assert memory.points == points_of(run)
    assert {name for name, _ in memory.points} >= {"train/loss", "train/lr", "validation/loss"}
    assert memory.ended is False


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("kills", [[1], [4], [7, 7, 8], [2, 5, 6, 9, 11, 12]])
@pytest.mark.parametrize("every", [{"every_epochs": 1}, {"every_epochs": None, "every_steps": 5}])
def test_killed_and_gone_on_with_they_are_told_everything_once(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, forgets: bool, kills: list[int], every: dict[str, Any]
) -> None:
    memory = Memory(forgets)
    spec = with_trackers(tiny, ref(memory), checkpoint=every)
    for step in kills:
        with pytest.raises(Killed):
            attempt(spec, noise_loader(), tmp_path / "run", kill_at=step)
    run, _ = attempt(spec, noise_loader(), tmp_path / "run")
    assert without_speed(memory.points) == without_speed(points_of(run))


def test_a_training_keeps_its_name_among_trackers_until_it_is_trained_anew(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    names: list[tuple[str, int | None]] = []
    memory = Memory(forgets=True)

    def build(config: ComponentConfig, context: TrackerContext) -> Memory:
        names.append((context.run_id, context.resumed_from))
        return memory.build(config, context)

    component = Component(name="memory", config=ComponentConfig, build=build, summary="keeps it")
    spec = with_trackers(tiny, Ref(Registered("tracker", component, "here"), ComponentConfig()))
    with pytest.raises(Killed):
        attempt(spec, noise_loader(), tmp_path / "run", kill_at=7)
    attempt(spec, noise_loader(), tmp_path / "run")
    RunFolder.create(tmp_path / "run", spec, overwrite=True)
    attempt(spec, noise_loader(), tmp_path / "run")
    assert [step for _, step in names] == [None, 6, None]
    assert names[0][0] == names[1][0] != names[2][0]
    assert names[0][0].startswith(f"{run_id(spec)}-")


def test_means_of_an_evaluation_and_figures(tiny: Specs, tmp_path: Path) -> None:
    memory = Memory()
    spec = with_trackers(tiny, ref(memory))
    run = RunFolder.create(tmp_path / "run", spec)
    run.figures.mkdir()
    for name in ("loss.png", "panels-val.png"):
        (run.figures / name).touch()
    summary = {
        "step": 12,
        "methods": {
            "model": {"ari": {"mean": 0.5}, "mse": {"mean": None}},
            "one_segment": {"ari": {"mean": 0.25}},
        },
    }
    for _ in range(2):  # a second time, such as by the same command, tells nothing
        with Trackers() as told:
            told.start(run, spec, 12)
            told.evaluated(summary)
    assert memory.points == {("evaluation/ari", 12): 0.5, ("evaluation/one_segment.ari", 12): 0.25}
    assert memory.pictures == ["figures/loss", "figures/panels-val"]


def test_names_have_one_slash_and_values_are_finite() -> None:
    record = {
        "kind": "train",
        "step": 3,
        "loss": 1.5,
        "loss/pixels": 1.0,
        "a": float("nan"),
        "b": None,
        "c": "x",
    }
    assert numbers(record) == {"train/loss": 1.5, "train/loss.pixels": 1.0}


# --- what they cannot do -----------------------------------------------------------------


def test_they_change_nothing(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    _, plain = attempt(with_trackers(tiny), noise_loader(), tmp_path / "plain")
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    _, told = attempt(with_trackers(tiny, ref(Memory())), noise_loader(), tmp_path / "told")
    assert all(torch.equal(plain[name], told[name]) for name in plain)
    assert state[:2] == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert torch.equal(state[2], torch.get_rng_state())


def test_one_that_fails_ends_with_one_warning(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    good, bad = Memory(), Memory(spoil=3)
    warnings: list[str] = []
    spec = with_trackers(tiny, ref(bad, "server"), ref(good))
    run, weights = attempt(spec, noise_loader(), tmp_path / "run", warn=warnings.append)
    _, plain = attempt(with_trackers(tiny), noise_loader(), tmp_path / "plain")
    gone = "the tracker 'server' has ended, and the training goes on without it: "
    assert warnings == [f"{gone}ConnectionError: no route to host"]
    assert good.points == points_of(run)
    assert (bad.calls, bad.ended) == (3, None)
    assert all(torch.equal(plain[name], weights[name]) for name in plain)


def test_a_full_disk_ends_them_and_not_the_training(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_json", full)
    memory, warnings = Memory(), list[str]()
    run, _ = attempt(with_trackers(tiny, ref(memory)), noise_loader(), tmp_path / "run", warn=warnings.append)
    gone = "the tracker 'memory' has ended, and the training goes on without it: "
    assert warnings == [f"{gone}OSError: [Errno 28] No space left on device"]
    assert memory.points == {}
    assert run.load_weights().step == 12


def test_a_training_that_fails_says_so_to_them(tiny: Specs, tmp_path: Path) -> None:
    memory = Memory()
    told = Trackers()
    told.start(RunFolder.create(tmp_path / "run", tiny()), with_trackers(tiny, ref(memory)), None)
    with pytest.raises(SlotlabError), told:
        raise SlotlabError("the loss is nan")
    assert memory.ended is True
    assert memory.pictures == []


# --- specs -------------------------------------------------------------------------------


def test_they_are_no_part_of_a_runs_identity(tiny: Specs) -> None:
    plain = run_id(with_trackers(tiny))
    assert plain == run_id(with_trackers(tiny, ref(Memory())))
    assert plain == run_id(with_trackers(tiny, ref(Memory(), version=2)))


def test_one_is_given_once(tiny: Specs) -> None:
    [problem] = check_trackers(with_trackers(tiny, ref(Memory()), ref(Memory())))
    assert str(problem) == "training.trackers.1: the tracker 'memory' is given twice; keep one"


def test_one_that_cannot_be_built_is_a_mistake_of_the_spec(tiny: Specs, tmp_path: Path) -> None:
    def build(config: ComponentConfig, context: TrackerContext) -> Memory:
        raise ComponentError("needs the package pigeon")

    component = Component(name="pigeon", config=ComponentConfig, build=build, summary="flies")
    spec = with_trackers(tiny, Ref(Registered("tracker", component, "here"), ComponentConfig()))
    [problem] = check_trackers(spec)
    assert str(problem) == "training.trackers.0: pigeon: needs the package pigeon"
    with pytest.raises(SlotlabError) as error:
        Trackers().start(RunFolder.create(tmp_path / "run", tiny()), spec, None)
    assert str(error.value) == str(problem)


PLUGIN = """
import json
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Lines:
    forgets = False

    def __init__(self, config, context):
        self.path = context.folder / "lines.txt"

    def write(self, *words):
        with self.path.open("a") as file:
            print(*words, file=file)

    def log(self, step, values):
        self.write("log", step, *values)

    def figure(self, name, path):
        self.write("figure", name)

    def close(self, *, failed):
        self.write("close", failed)


@hookimpl
def slotlab_trackers():
    yield Component(name="lines", config=ComponentConfig, build=Lines, summary="a text file")
"""


def test_a_plugin_file_has_one(base: str, write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("lines.py", PLUGIN)
    sets = ("training.trackers=[lines]", "data.dataset={name: scenes, num_train: 2, num_val: 2}")
    spec = prepare("spec.yaml", sets=sets, plugins=[Path("lines.py")]).loaded
    run = run_training(spec, tmp_path / "run", device=torch.device("cpu"), report=lambda progress: None)
    words = "train/epoch train/phase train/loss train/lr train/images_per_second"
    assert (run.path / "lines.txt").read_text().splitlines() == [
        "log 1 validation/epoch validation/loss",
        f"log 2 {words}",
        "log 2 validation/epoch validation/loss",
        "figure figures/learning_rate",
        "figure figures/loss",
        "close False",
    ]
    assert set(json.loads(run.trackers.read_text())["told"]) == {"lines"}


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_library_that_is_missing(tiny: Specs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda library: None)
    install = name if name == "tensorboard" else f"slotlab[{name}]"
    assert [problem.text for problem in check_trackers(tiny(training={"trackers": [name]}))] == [
        f"{name}: needs the package {name}, which is not installed: pip install '{install}'"
    ]
