"""When checkpoints are saved, and that nothing is saved that a training cannot go on from."""

import math
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.checkpoints import Checkpoints
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.stop_signals import StopRequest, TrainingPreempted
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress
from slotlab.framework.training.saving import Keeper
from slotlab.framework.training.state import Trainee
from slotlab.registry import SlotlabError

Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]
CPU = torch.device("cpu")


@pytest.fixture
def saved_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which a checkpoint is saved."""
    steps: list[int] = []
    real = Checkpoints.save

    def save(self: Checkpoints, state: Any, **options: Any) -> Any:
        steps.append(state["step"])
        return real(self, state, **options)

    monkeypatch.setattr(Checkpoints, "save", save)
    return steps


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("epochs", [None, 1])
def test_every_multiple_is_saved_once(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, saved_at: list[int], every: int, epochs: int | None
) -> None:
    phases = [{"epochs": 2, "lr": 0.01}, {"steps": 5, "lr": 0.01}, {"epochs": 1, "lr": 0.01}]
    settings = {"every_steps": every, "every_epochs": epochs, "every_minutes": None}
    spec = tiny(training={"phases": phases, "checkpoint": settings})
    run = RunFolder.create(tmp_path / "run", spec)
    train(Engine.open(spec, CPU, warn=print), build_model(spec), noise_loader(), run)
    ends = {3, 6, 9, 11, 14} if epochs else {14}
    assert saved_at == sorted({step for step in range(1, 15) if step % every == 0} | ends)


def test_processes_save_at_steps_without_asking_each_other(tiny: Specs, tmp_path: Path) -> None:
    spec = tiny(training={"log_every": 100, "checkpoint": {"every_steps": 2}})
    asked: list[Any] = []
    engine: Any = SimpleNamespace(spec=spec, processes=2, is_first=False, wait=lambda: asked.append("wait"))
    stop = StopRequest(signal.SIGTERM)  # this process alone was told
    keeper = Keeper(engine, RunFolder(tmp_path), stop, 100)
    for step in range(1, 7):
        keeper.after_step(Trainee(spec, build_model(spec), torch.Generator(), step=step))
    assert asked == ["wait"] * 3


def test_a_signal_that_came_too_late_for_the_others_to_know_waits(tiny: Specs, tmp_path: Path) -> None:
    """While a checkpoint is saved at the end of an epoch; ending alone would leave the others waiting."""
    spec = tiny(training={"log_every": 1, "checkpoint": {"every_epochs": 1}})
    stop = StopRequest()

    def wait() -> None:
        stop.signal = signal.SIGTERM

    engine: Any = SimpleNamespace(
        spec=spec,
        processes=2,
        is_first=False,
        wait=wait,
        gather=lambda own: own * 2,
        from_first=lambda best: best,
    )
    keeper = Keeper(engine, RunFolder(tmp_path), stop, 100)
    trainee = Trainee(spec, build_model(spec), torch.Generator(), step=3)
    keeper.after_epoch(trainee, None)
    assert stop.signal == signal.SIGTERM, "it is kept"
    trainee.step = 4
    with pytest.raises(TrainingPreempted):
        keeper.after_step(trainee)


def spoil(model: torch.nn.Module, value: float = math.nan) -> None:
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = value


SETTINGS = [
    pytest.param({"every_steps": 1}, id="by step"),
    pytest.param({"every_minutes": 1e-9}, id="by minute"),
    pytest.param({}, id="by SIGTERM"),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_weights_that_are_not_finite_never_replace_good_ones(
    tiny: Specs,
    noise_loader: Loaders,
    tmp_path: Path,
    settings: dict[str, Any],
    value: float,
    decay: float | None,
) -> None:
    spec = tiny(
        training={
            "phases": [{"epochs": 4, "lr": 0.01}],
            "log_every": 1000,
            "ema_decay": decay,
            "checkpoint": {"keep": 1, **settings},
        }
    )
    run, model, stop = RunFolder.create(tmp_path / "run", spec), build_model(spec), StopRequest()

    def report(progress: Progress) -> None:
        if progress.step == 5:
            spoil(model, value)
            if not settings:
                stop.signal = signal.SIGTERM

    with pytest.raises(SlotlabError) as error:
        train(Engine.open(spec, CPU, warn=print), model, noise_loader(), run, report=report, stop=stop)
    assert not isinstance(error.value, TrainingPreempted)
    good = 4 if settings else 3
    assert "holds values that are not finite at step 5; " in str(error.value)
    assert f"; the checkpoint of step {good} is kept" in str(error.value)
    weights = run.load_weights()
    assert weights.step == good
    assert all(tensor.isfinite().all() for tensor in weights.model.values())


@pytest.mark.parametrize("part", ["mean", "moments", "loss"])
def test_nor_a_mean_moments_or_a_loss_that_are_not(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny(
        training={
            "phases": [{"epochs": 4, "lr": 0.01}],
            "log_every": 1000,
            "ema_decay": 0.9,
            "checkpoint": {"keep": 1, "every_steps": 1},
        }
    )
    run, trainees = RunFolder.create(tmp_path / "run", spec), []
    real = Trainee.of

    def remember(*words: Any) -> Trainee:
        trainees.append(real(*words))
        return trainees[0]

    def report(progress: Progress) -> None:
        if progress.step != 5:
            return
        [one] = trainees
        assert one.average is not None
        assert one.optimizer is not None
        if part == "mean":
            spoil(one.average.module)
        elif part == "moments":
            next(iter(one.optimizer.state.values()))["exp_avg"].fill_(math.nan)
        else:  # as float16 leaves it: the step was left out, and the weights are good
            one.pending[-1].loss.fill_(math.inf)

    monkeypatch.setattr(Trainee, "of", remember)
    with pytest.raises(SlotlabError) as error:
        train(Engine.open(spec, CPU, warn=print), build_model(spec), noise_loader(), run, report=report)
    said = {
        "mean": "the mean of ",
        "moments": "the optimizer's exp_avg of ",
        "loss": "the loss is inf at step 5",
    }
    assert str(error.value).startswith(said[part])
    assert run.load_weights().step == 4
