"""Where values that are not finite began is named truly, or said not to be known."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Decoded, Slots
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training import nan_guard as guard
from slotlab.framework.training.loop import train
from slotlab.framework.training.state import Step, Trainee
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]
SPOILED = (
    "where it began cannot be told: the weights are spoiled already, and the last good ones show nothing"
)
HIDDEN = "where it began cannot be told: passed through again, the images give finite values"


class Failing(nn.Module):
    """A part around another, whose results are spoiled while `bad` says so."""

    def __init__(self, inner: Any, spoil: Callable[[Any], Any], bad: Callable[[int], bool]):
        super().__init__()
        self.inner, self.spoil, self.bad, self.calls = inner, spoil, bad, 0
        for name in ("channels", "grid", "fixed_num_slots"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def forward(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        found = self.inner(*args, **options)
        return self.spoil(found) if self.bad(self.calls) else found


def no_number(decoded: Decoded) -> Decoded:
    return Decoded(decoded.prediction_BCHW * math.nan, decoded.masks_BKHW)


def slots_of_no_number(slots: Slots) -> Slots:
    return Slots(slots.vectors_BKD * math.inf)


class Root(torch.autograd.Function):
    """Finite forward, infinite backward: the root of a square at zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * math.inf


def steep(decoded: Decoded) -> Decoded:
    rooted: Any = Root.apply(decoded.prediction_BCHW)  # type: ignore[no-untyped-call]
    return Decoded(rooted, decoded.masks_BKHW)


def failed(
    tiny: Specs, noise_loader: Loaders, folder: Path, change: Callable[[Any], None], **training: Any
) -> tuple[str, dict[str, Any]]:
    """Train a changed model until it fails; return what is said, and what failure.json holds."""
    spec = tiny(training={"phases": [{"epochs": 4, "lr": 0.01}], **training})
    model = build_model(spec)
    change(model)
    run = RunFolder.create(folder / "run", spec)
    with pytest.raises(SlotlabError) as error:
        train(Engine.open(spec, torch.device("cpu"), warn=print), model, noise_loader(), run)
    facts: dict[str, Any] = json.loads(run.failure.read_text())
    return str(error.value), facts


def around(part: str, spoil: Callable[[Any], Any], bad: Callable[[int], bool]) -> Callable[[Any], None]:
    return lambda model: setattr(model, part, Failing(getattr(model, part), spoil, bad))


@pytest.mark.parametrize("log_every", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("part", "spoil"),
    [
        ("encoder", lambda features_BCHW: features_BCHW * math.nan),
        ("initializer", slots_of_no_number),
        ("decoder", no_number),
    ],
)
def test_a_part_that_fails_for_good_is_named(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, part: str, spoil: Any, log_every: int
) -> None:
    """Five steps and so a checkpoint are good; the weights are spoiled by the time it is noticed."""
    change = around(part, spoil, lambda call: call >= 5)
    text, facts = failed(tiny, noise_loader, tmp_path, change, log_every=log_every)
    assert f"; it began in the {part}; the checkpoint of step 3 is kept" in text
    assert facts["component"] == part


@pytest.mark.parametrize("log_every", [1, 3])
def test_a_part_that_fails_from_the_start_is_named(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, log_every: int
) -> None:
    def change(model: Any) -> None:
        model.decoder.forward = lambda slots, **options: no_number(
            type(model.decoder).forward(model.decoder, slots, **options)
        )

    text, facts = failed(tiny, noise_loader, tmp_path, change, log_every=log_every)
    assert "; it began in the decoder; there is no checkpoint yet" in text
    assert facts["component"] == "decoder"


@pytest.mark.parametrize("log_every", [1, 2, 1000])
def test_a_part_that_fails_once_is_not_guessed(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, log_every: int
) -> None:
    change = around("decoder", no_number, lambda call: call == 4)
    text, facts = failed(tiny, noise_loader, tmp_path, change, log_every=log_every)
    assert f"; {SPOILED}; " in text
    assert facts["component"] is None


def test_a_gradient_that_is_not_finite_is_named(tiny: Specs, noise_loader: Loaders, tmp_path: Path) -> None:
    change = around("decoder", steep, lambda call: call >= 5)
    text, facts = failed(tiny, noise_loader, tmp_path, change)
    assert "; it began in the gradient of the decoder; " in text
    assert facts["component"] == "decoder"


def test_a_loss_that_came_from_elsewhere(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights stay good, since the optimizer leaves them: they and the images show nothing."""
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, closure=None: None)
    change = around("decoder", no_number, lambda call: call == 5)
    text, facts = failed(tiny, noise_loader, tmp_path, change)
    assert f"; {HIDDEN}; " in text
    assert facts["component"] is None


def test_a_target_that_is_no_number_is_the_objectives(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    calls: list[None] = []

    def change(model: Any) -> None:
        plain = model.objective.target

        def target(images_BCHW: Tensor, features_BCHW: Tensor) -> Any:
            calls.append(None)
            return plain(images_BCHW, features_BCHW) * (math.nan if len(calls) >= 5 else 1.0)

        model.objective.target = target
        model.decoder = Told(model.decoder)

    text, _ = failed(tiny, noise_loader, tmp_path, change)
    assert "; it began in the objective; " in text


class Told(nn.Module):
    """A decoder that is spoiled by a target that is."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, slots: Slots, *, target_BCHW: Tensor, generator: Any = None) -> Decoded:
        decoded: Decoded = self.inner(slots)
        return Decoded(decoded.prediction_BCHW + 0 * target_BCHW, decoded.masks_BKHW)


class Warming(nn.Module):
    """Stands for a part whose setting changes with the step."""

    schedulable = frozenset({"level"})
    level = 0.0


def test_a_step_is_passed_through_again_with_the_annealed_values_of_that_step(
    tiny: Specs, noise_loader: Loaders, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = build_model(tiny())
    model.initializer = Warming()
    spec = tiny(training={"anneal": {"initializer.level": {"start": 0.0, "end": 8.0, "steps": 8}}})
    cpu, saved = torch.device("cpu"), {"model": model.state_dict()}
    trainee = Trainee.of(spec, model, cpu)
    seen: list[float] = []
    monkeypatch.setattr(
        guard, "replay", lambda spec, model, batch, noise: seen.append(model.initializer.level)
    )
    for number in (1, 5):  # the first is done before any, the fifth after four
        guard.find_origin(trainee, next(noise_loader().epoch()), number, saved)
    assert seen == [0.0, 0.0, 4.0, 4.0], "with the last good weights, and with those of today"


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [1, 5])
def test_a_step_is_passed_through_again_with_the_noise_of_that_step(
    tiny: Specs, noise_loader: Loaders, number: int, processes: int
) -> None:
    spec = tiny()
    trainee = Trainee.of(spec, build_model(spec), torch.device("cpu"))
    batch = next(noise_loader().epoch())
    again = [noise.initial_seed() for _, noise in guard.shares(trainee, batch, number, processes)]
    trainee.step, drawn = number - 1, []
    for rank in range(processes):
        trainee.seed_noise(rank)
        drawn.append(trainee.noise.initial_seed())
    assert again == drawn


def test_the_logged_loss_is_the_mean_over_images_and_not_over_steps(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    spec = tiny()
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    trainee = Trainee.of(spec, build_model(spec), torch.device("cpu"))
    trainee.pending = [
        Step(1, 0, [4, 2, 0], torch.tensor(1.0)),
        Step(2, 0, [3], torch.tensor(9.0)),  # the last batch of an epoch
    ]
    watch = guard.Guard(engine, RunFolder.create(tmp_path / "run", spec), noise_loader())
    mean, _ = watch.judge(trainee)
    assert (mean, trainee.lowest_loss, trainee.pending) == (3.0, 3.0, [])


def test_a_loss_below_zero_explodes_no_more_than_it_rises(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    """A likelihood may be negative: so many times its lowest value is then below, not above."""
    spec = tiny(training={"explosion": 50})
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    trainee = Trainee.of(spec, build_model(spec), torch.device("cpu"))
    watch = guard.Guard(engine, RunFolder.create(tmp_path / "run", spec), noise_loader())
    for number, loss in enumerate((-1.0, -0.5, 0.5)):
        trainee.pending = [Step(number, 0, [0], torch.tensor(loss))]
        assert watch.judge(trainee)[0] == loss
    assert trainee.lowest_loss == -1.0
