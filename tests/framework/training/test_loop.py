"""Training: the same bits twice, the seed's learning rates, and no bad weights on disk."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import Batch, Decoded, Losses, Model
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.randomness.seeds import permutation
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import begin_phase, train, train_step
from slotlab.framework.training.nan_guard import ADVICE
from slotlab.framework.training.plan import Plan, Progress
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.validation import Validation, validation_loss
from slotlab.registry import SlotlabError


def open_engine(spec: ExperimentSpec) -> Engine:
    return Engine.open(spec, torch.device("cpu"), warn=print)


Loaders = Callable[..., Loader]
Specs = Callable[..., ExperimentSpec]


@pytest.fixture
def run(tmp_path: Path, tiny: Specs) -> RunFolder:
    return RunFolder.create(tmp_path / "run", tiny())


def trained(spec: ExperimentSpec, loader: Loader, run: RunFolder, **options: Any) -> Model:
    model = build_model(spec)
    train(open_engine(spec), model, loader, run, **options)
    return model


def one_step(spec: ExperimentSpec, model: Model, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    engine = open_engine(spec)
    trainee = Trainee.of(spec, model, torch.device("cpu"))
    trainee.optimizer = optimizer
    train_step(engine, trainee, engine.wrap(model), engine.wrap_optimizer(optimizer), batch)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- determinism -------------------------------------------------------------------------


def test_one_seed_gives_the_same_bits(
    tiny: Specs, noise_loader: Loaders, run: RunFolder, tmp_path: Path
) -> None:
    spec = tiny(training={"phases": [{"epochs": 2, "lr": 0.01}]})
    torch.manual_seed(1)
    first = trained(spec, noise_loader(), run).state_dict()
    torch.manual_seed(2)
    assert equal(first, trained(spec, noise_loader(), run).state_dict())
    assert not equal(
        first,
        trained(
            tiny(seed=1, training={"phases": [{"epochs": 2, "lr": 0.01}]}), noise_loader(), run
        ).state_dict(),
    )
    again = RunFolder.create(tmp_path / "again", spec)  # the other's checkpoints are of the same steps
    assert equal(first, run_weights_after(spec, noise_loader(), again))


def run_weights_after(spec: ExperimentSpec, loader: Loader, run: RunFolder) -> dict[str, Tensor]:
    trained(spec, loader, run)
    return dict(run.load_weights().model)


def test_validation_and_logging_change_nothing(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    phases = {"phases": [{"epochs": 2, "lr": 0.01}]}
    plain = trained(tiny(training={**phases, "log_every": 50}), noise_loader(), run)
    watched = trained(tiny(training=phases), noise_loader(), run, validation=Validation(noise_loader()))
    assert equal(plain.state_dict(), watched.state_dict())


def test_building_leaves_the_global_generator_alone(tiny: Specs) -> None:
    before = torch.get_rng_state()
    first = build_model(tiny(seed=3)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert equal(first, build_model(tiny(seed=3)).state_dict())


# --- phases and learning rates -----------------------------------------------------------


def test_plan_counts_steps(tiny: Specs) -> None:
    spec = tiny(training={"phases": [{"epochs": 3, "lr": 1.0}, {"steps": 7, "lr": 1.0}]})
    assert Plan.of(spec, 5) == Plan(3, (9, 7))
    assert Plan.of(spec, 4) == Plan(2, (6, 7))
    assert Plan.of(spec, 5).total == 16


def seed_phases() -> list[dict[str, Any]]:
    cosine = {"name": "cosine", "t_max": 160}
    return [
        {"epochs": 80, "lr": 1e-3, "schedule": cosine, "interval": "epoch"},
        {"epochs": 180, "lr": 3e-4, "schedule": cosine, "interval": "epoch"},
    ]


def by_hand(lr: float, epochs: int) -> list[float]:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=160, eta_min=0)
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_reference_learning_rates(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    trained(tiny(training={"phases": seed_phases()}), noise_loader(size=2), run)
    log = run.read_log()
    rates = [line["lr"] for line in log]
    assert rates == by_hand(1e-3, 80) + by_hand(3e-4, 180)
    assert [line["phase"] for line in log] == [0] * 80 + [1] * 180
    assert [line["epoch"] for line in log] == list(range(260))
    assert rates[79] == pytest.approx(5e-4, rel=0.03)
    assert rates[80] == 3e-4
    assert rates[240] == pytest.approx(0, abs=1e-12)  # epoch 160 of the second phase
    assert rates[241:] == sorted(rates[241:])
    assert rates[259] > 1e-5


def test_schedules_by_step_and_by_epoch(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    phase = {"lr": 1.0, "schedule": {"name": "cosine"}}
    for interval, planned, steps in (
        ("step", {"epochs": 2}, range(6)),
        ("epoch", {"epochs": 2}, [0, 0, 0, 1, 1, 1]),
        ("epoch", {"steps": 4}, [0, 0, 0, 1]),  # a part of an epoch is one too
    ):
        run.metrics.unlink(missing_ok=True)
        spec = tiny(training={"phases": [{**phase, **planned, "interval": interval}], "explosion": 1e30})
        train(open_engine(spec), build_model(spec), noise_loader(), run)
        length = 6 if interval == "step" else 2
        expected = [(1 + math.cos(math.pi * step / length)) / 2 for step in steps]
        assert [line["lr"] for line in run.read_log()] == pytest.approx(expected)


@pytest.mark.parametrize("state", ["fresh", "kept"])
def test_optimizer_state_between_phases(tiny: Specs, noise_loader: Loaders, state: str) -> None:
    phases = [{"steps": 2, "lr": 0.1}, {"steps": 2, "lr": 0.2, "optimizer_state": state}]
    spec = tiny(training={"phases": phases})
    model, plan = build_model(spec), Plan.of(spec, 5)
    first, _ = begin_phase(open_engine(spec), model, None, plan, 0)
    for batch in noise_loader().epoch():
        one_step(spec, model, first, batch)
    second, _ = begin_phase(open_engine(spec), model, first, plan, 1)
    assert second is not first
    assert second.param_groups[0]["lr"] == 0.2
    if state == "fresh":
        assert not second.state
    else:
        assert len(second.state) == len(list(model.parameters()))
        for parameter in model.parameters():
            assert second.state[parameter]["step"] == 3
            assert torch.equal(second.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])


def test_the_second_phase_goes_on_from_the_kept_state(
    tiny: Specs, noise_loader: Loaders, run: RunFolder
) -> None:
    def two(state: str) -> dict[str, Tensor]:
        phases = [{"epochs": 1, "lr": 0.01}, {"epochs": 1, "lr": 0.01, "optimizer_state": state}]
        return trained(tiny(training={"phases": phases}), noise_loader(), run).state_dict()

    one = trained(tiny(training={"phases": [{"epochs": 2, "lr": 0.01}]}), noise_loader(), run).state_dict()
    assert equal(one, two("kept"))
    assert not equal(one, two("fresh"))


def test_frozen_weights_are_not_given_to_the_optimizer(tiny: Specs) -> None:
    spec = tiny()
    model = build_model(spec)
    model.encoder.requires_grad_(False)
    optimizer, _ = begin_phase(open_engine(spec), model, None, Plan.of(spec, 5), 0)
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert given == {id(p) for p in model.parameters() if p.requires_grad}


# --- steps -------------------------------------------------------------------------------


def test_clipping_bounds_the_gradient(tiny: Specs, noise_loader: Loaders) -> None:
    def norm(**training: Any) -> float:
        spec = tiny(training=training)
        model = build_model(spec)
        optimizer, _ = begin_phase(open_engine(spec), model, None, Plan.of(spec, 5), 0)
        one_step(spec, model, optimizer, next(noise_loader().epoch()))
        squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt())

    assert norm() > 2e-3
    assert norm(clip_norm=1e-3) == pytest.approx(1e-3, rel=1e-3)
    assert norm(clip_norm=100.0) == norm()


def test_bfloat16_keeps_float32_weights(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    model = trained(tiny(training={"precision": "bfloat16"}), noise_loader(), run)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not equal(model.state_dict(), trained(tiny(), noise_loader(), run).state_dict())


def test_validation_does_not_depend_on_the_batch_size(tiny: Specs, noise_loader: Loaders) -> None:
    spec = tiny(evaluation={"max_images": 4})
    model = build_model(spec)
    losses = [validation_loss(spec, model, noise_loader(batch_size=size)) for size in (1, 2, 3, 5)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)
    more = validation_loss(tiny(), model, noise_loader())
    assert more != pytest.approx(losses[0], rel=1e-5)


# --- the log -----------------------------------------------------------------------------


def test_log_lines(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny(training={"phases": [{"epochs": 2, "lr": 0.01}], "log_every": 2, "validate_every": 2})
    seen: list[Progress] = []
    trained(spec, noise_loader(), run, validation=Validation(noise_loader()), report=seen.append)
    log = run.read_log()
    assert [(line["kind"], line["step"], line["epoch"]) for line in log] == [
        ("train", 2, 0),
        ("train", 4, 1),
        ("train", 6, 1),
        ("validation", 6, 2),
    ]
    keys = {"kind", "step", "epoch", "phase", "loss", "lr", "images_per_second"}
    assert set(log[0]) == keys
    assert set(log[3]) == {"kind", "step", "epoch", "loss"}
    assert [one.step for one in seen] == [1, 2, 3, 4, 5, 6]
    assert [one.loss for one in seen] == [None, log[0]["loss"], None, log[1]["loss"], None, log[2]["loss"]]
    assert {one.total_steps for one in seen} == {6}


def test_a_training_ends_with_a_validation(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny(training={"phases": [{"epochs": 3, "lr": 0.01}], "validate_every": 2})
    trained(spec, noise_loader(), run, validation=Validation(noise_loader()))
    assert [line["epoch"] for line in run.read_log() if line["kind"] == "validation"] == [2, 3]


class WithTerms:
    """An objective around another that also reports the loss as a term, or spoils it from step `bad` on."""

    def __init__(self, inner: Any, bad: int | None = None, spoil: float = math.nan):
        self.inner, self.bad, self.spoil, self.steps = inner, bad, spoil, 0
        self.target_shape = inner.target_shape
        self.target, self.to_image = inner.target, inner.to_image

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        total = self.inner.loss(decoded, target_BCHW).total
        self.steps += 1
        if self.bad is not None and self.steps >= self.bad:
            total = total * self.spoil
        return Losses(total, {"pixels": total})


def test_terms_of_the_loss_are_logged(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny()
    model = build_model(spec)
    model.objective = WithTerms(model.objective)
    train(open_engine(spec), model, noise_loader(), run)
    assert all(line["loss/pixels"] == pytest.approx(line["loss"]) for line in run.read_log())


@pytest.mark.parametrize("spoil", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_training(
    tiny: Specs, noise_loader: Loaders, run: RunFolder, spoil: float
) -> None:
    spec = tiny(training={"phases": [{"epochs": 4, "lr": 0.01}]})
    model = build_model(spec)
    model.objective = WithTerms(model.objective, bad=5, spoil=spoil)
    with pytest.raises(SlotlabError) as error:
        train(open_engine(spec), model, noise_loader(), run)
    assert str(error.value) == (
        f"the loss is {spoil} at step 5; it began in the objective; the checkpoint of step 3 is kept, "
        f"and {run.failure} names the images. {ADVICE}"
    )
    assert run.load_weights().step == 3


def test_an_exploding_loss_stops_training(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny(training={"phases": [{"epochs": 4, "lr": 1e-9}], "explosion": 50})
    model = build_model(spec)
    model.objective = WithTerms(model.objective, bad=5, spoil=1000.0)
    with pytest.raises(SlotlabError) as error:
        train(open_engine(spec), model, noise_loader(), run)
    facts = json.loads(run.failure.read_text())
    assert str(error.value).startswith("the loss has exploded to ")
    assert f" at step 5, more than 50 times the lowest, {min_loss(run):.4g}; " in str(error.value)
    order = permutation(5, seed=0, epoch=1)
    assert (facts["step"], facts["epoch"], facts["checkpoint"]) == (5, 1, 3)
    assert facts["positions"] == order[2:4]
    assert facts["images"] == [f"n{position}" for position in order[2:4]]


def min_loss(run: RunFolder) -> float:
    return min(float(line["loss"]) for line in run.read_log())


class Spoiling(torch.nn.Module):
    """A module around another whose output is spoiled from call `bad` on."""

    def __init__(self, inner: Any, bad: int):
        super().__init__()
        self.inner, self.bad, self.calls = inner, bad, 0
        self.channels, self.grid = inner.channels, inner.grid

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.calls += 1
        features_BCHW: Tensor = self.inner(images_BCHW)
        return features_BCHW * (math.nan if self.calls >= self.bad else 1.0)


def test_the_component_in_which_it_began_is_named(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny(training={"phases": [{"epochs": 2, "lr": 0.01}]})
    model = build_model(spec)
    model.encoder = Spoiling(model.encoder, bad=4)
    with pytest.raises(SlotlabError) as error:
        train(open_engine(spec), model, noise_loader(), run)
    assert str(error.value).startswith("the loss is nan at step 4; it began in the encoder; ")
    assert json.loads(run.failure.read_text())["component"] == "encoder"


def test_spoiled_weights_are_never_saved(tiny: Specs, noise_loader: Loaders, run: RunFolder) -> None:
    spec = tiny(training={"phases": [{"epochs": 4, "lr": 0.01}], "log_every": 1000})
    model = build_model(spec)
    model.objective = WithTerms(model.objective, bad=5)
    with pytest.raises(SlotlabError) as error:
        train(open_engine(spec), model, noise_loader(), run)
    name = next(name for name, tensor in model.state_dict().items() if not tensor.isfinite().all())
    assert str(error.value) == (
        f"{name} holds values that are not finite at step 6; it began in the objective; "
        f"the checkpoint of step 3 is kept, and {run.failure} names the images. {ADVICE}"
    )
    saved = run.load_weights()
    assert saved.step == 3
    assert all(tensor.isfinite().all() for tensor in saved.model.values())
