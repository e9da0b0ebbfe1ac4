"""A training that was stopped goes on to the same bits, wherever it was stopped."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.stop_signals import (
    StopRequest,
    TrainingHalted,
    TrainingPreempted,
    TrainingStopped,
)
from slotlab.framework.training.learning_rates import have_changed, rates
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.state import noise_seed, random_state, set_random_state
from slotlab.framework.training.validation import Validation

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
PHASES = [
    {"epochs": 2, "lr": 0.01, "schedule": {"name": "cosine"}, "interval": "epoch"},
    {"steps": 4, "lr": 0.02, "schedule": {"name": "cosine"}, "optimizer_state": "kept"},
    {"epochs": 1, "lr": 0.005, "schedule": {"name": "constant", "warmup": 2}},
]


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here, without a chance to save."""


def attempt(
    spec: ExperimentSpec,
    loader: Loader,
    run: RunFolder,
    *,
    kill_at: int | None = None,
    stop_at: int | None = None,
    until: int | None = None,
    number: int = signal.SIGTERM,
) -> dict[str, Tensor]:
    """Train, or go on, as a new process would; end at a step without or with a warning."""
    torch.manual_seed(random.randrange(1000))  # a new process has other streams
    stop = StopRequest(until=until)

    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed
        if progress.step == stop_at:
            stop.signal = number

    model = build_model(spec)
    saved, _ = run.checkpoints.newest()
    if saved is not None:
        MetricsLog(run.metrics).restore(saved)
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    train(engine, model, loader, run, validation=Validation(loader), report=report, saved=saved, stop=stop)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_speed(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in run.read_log()]


def specs(tiny: Specs, **training: Any) -> ExperimentSpec:
    return tiny(training={"phases": PHASES, "log_every": 3, "ema_decay": 0.9, **training})


@pytest.fixture
def reference(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> tuple[dict[str, Tensor], RunFolder]:
    spec = specs(tiny)
    run = RunFolder.create(tmp_path / "reference", spec)
    return attempt(spec, noise_loader(), run), run


@pytest.mark.parametrize("every", [{"every_epochs": 1}, {"every_epochs": None, "every_steps": 2}])
@pytest.mark.parametrize("kills", [[1], [4], [7, 7, 8], [2, 5, 9, 12, 13]])
def test_killed_and_gone_on_with_it_is_the_same_to_the_bit(
    tiny: Specs,
    noise_loader: Loaders,
    tmp_path: Path,
    reference: tuple[dict[str, Tensor], RunFolder],
    every: dict[str, Any],
    kills: list[int],
) -> None:
    spec = specs(tiny, checkpoint=every)
    run = RunFolder.create(tmp_path / "run", spec)
    for step in kills:
        with pytest.raises(Killed):
            attempt(spec, noise_loader(), run, kill_at=step)
    weights, whole = reference
    assert equal(attempt(spec, noise_loader(), run), weights)
    assert equal(dict(run.load_weights().model), dict(whole.load_weights().model)), "the mean of the weights"
    assert without_speed(run) == without_speed(whole)


@pytest.mark.parametrize("step", range(1, 13))
def test_asked_to_stop_it_saves_where_it_is(
    tiny: Specs,
    noise_loader: Loaders,
    tmp_path: Path,
    reference: tuple[dict[str, Tensor], RunFolder],
    step: int,
) -> None:
    spec = specs(tiny)
    run = RunFolder.create(tmp_path / "run", spec)
    with pytest.raises(TrainingPreempted) as error:
        attempt(spec, noise_loader(), run, stop_at=step)
    assert run.load_weights().step == step
    assert str(error.value) == (
        f"training was asked to end by SIGTERM, and saved; the same command goes on from here ({run.path})"
    )
    assert error.value.exit_code == 75
    assert equal(attempt(spec, noise_loader(), run), reference[0])


@pytest.mark.parametrize("until", [1, 3, 4, 7])  # in an epoch, at the end of one, of a phase
def test_trained_until_a_step_it_stands_there_and_goes_on_to_the_same_bits(
    tiny: Specs,
    noise_loader: Loaders,
    tmp_path: Path,
    reference: tuple[dict[str, Tensor], RunFolder],
    until: int,
) -> None:
    spec, (weights, whole) = specs(tiny), reference
    run = RunFolder.create(tmp_path / "run", spec)
    for _ in range(2):  # asked again it stays where it is
        with pytest.raises(TrainingHalted, match=f"trained until step {until} and saved"):
            attempt(spec, noise_loader(), run, until=until)
        saved, _ = run.checkpoints.newest()
        assert saved is not None
        assert saved["step"] == until
    assert equal(attempt(spec, noise_loader(), run, until=1000), weights), "a step beyond the end is the end"
    assert without_speed(run) == without_speed(whole)


def test_ctrl_c_saves_too(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    spec = specs(tiny)
    run = RunFolder.create(tmp_path / "run", spec)
    with pytest.raises(TrainingStopped) as error:
        attempt(spec, noise_loader(), run, stop_at=2, number=signal.SIGINT)
    assert str(error.value) == f"training stopped and saved; the same command goes on from here ({run.path})"
    assert error.value.exit_code == 130


def test_a_request_at_the_last_step_lets_the_training_finish(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    spec = specs(tiny)
    attempt(spec, noise_loader(), RunFolder.create(tmp_path / "run", spec), stop_at=13)


def test_rates_are_compared_as_long_as_their_phase_is_planned(tiny: Specs) -> None:
    """With `--allow training.phases` a training may go on from a phase that its spec no longer has."""
    spec, shorter = (tiny(training={"phases": phases}) for phases in (PHASES, PHASES[:1]))
    for number in range(len(PHASES)):
        saved = {"rates": rates(spec, number), "phase": number}
        assert not have_changed(saved, spec)
        assert not have_changed(saved, shorter)
    changed = tiny(training={"phases": [{**PHASES[0], "lr": 0.5}]})
    assert have_changed({"rates": rates(spec, 0), "phase": 0}, changed)


def test_global_streams_come_back() -> None:
    state = random_state()
    draws = [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()]
    random.gauss(0, 1)
    set_random_state(state)
    assert [torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()] == draws


def test_the_best_checkpoint_is_kept_by_the_named_metric(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    phases = [{"epochs": 6, "lr": 0.05}]
    spec = tiny(training={"phases": phases, "checkpoint": {"best": "mse", "keep": 1}})
    run = RunFolder.create(tmp_path / "run", spec)
    validation = Validation.of(spec, noise_loader())
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    train(engine, build_model(spec), noise_loader(), run, validation=validation)
    lines = [line for line in run.read_log() if line["kind"] == "validation"]
    best = min(lines, key=lambda line: float(line["mse"]))
    facts = run.checkpoints.best_facts()
    assert facts is not None
    assert (facts["metric"], facts["value"], facts["step"]) == ("mse", best["mse"], best["step"])
    assert run.load_weights("best").step == best["step"]


def test_every_step_and_process_of_every_seed_draws_noise_of_its_own() -> None:
    places = [(seed, step, rank) for seed in range(3) for step in range(5) for rank in range(4)]
    assert len({noise_seed(*place) for place in places}) == len(places)
