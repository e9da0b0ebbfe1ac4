"""What saves memory changes no step: recomputed parts, parts of a batch; and float16 goes on where it was."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.precision.amp import MixedPrecision
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Batch, Decoded, Grouped, Slots
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.loss_step import Sealed
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import begin_phase, train, train_step
from slotlab.framework.training.plan import Plan, Progress
from slotlab.framework.training.state import Trainee

CPU = torch.device("cpu")
Specs = Callable[..., ExperimentSpec]
Loaders = Callable[..., Loader]


def open_engine(spec: ExperimentSpec) -> Engine:
    return Engine.open(spec, CPU, warn=print)


def images(number: int) -> Tensor:
    return torch.rand(number, 3, 8, 8, generator=Generator().manual_seed(0))


# --- recomputed parts ----------------------------------------------------------------------


class Drawing(nn.Module):
    """A part around another that draws from the stream it is given: before and after the other's work."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner

    def forward(self, first: Any, second: Any = None, **options: Any) -> Any:
        generator = options["generator"]
        if second is None:  # a decoder
            decoded: Decoded = self.inner(first, **options)
            noise_BCHW = torch.randn(decoded.prediction_BCHW.shape, generator=generator)
            return replace(decoded, prediction_BCHW=decoded.prediction_BCHW * noise_BCHW)
        slots = Slots(second.vectors_BKD * torch.rand(second.vectors_BKD.shape, generator=generator))
        grouped: Grouped = self.inner(first, slots, **options)
        scale_BKD = torch.randn(grouped.slots.vectors_BKD.shape, generator=generator)
        return replace(grouped, slots=Slots(grouped.slots.vectors_BKD * scale_BKD.exp()))


def sealed(images_BCHW: Tensor) -> Sealed:
    """A batch without truth, as the loss step takes it."""
    return Sealed(Batch(images_BCHW=images_BCHW, masks_BHW=None, ids=("x",) * len(images_BCHW)))


def drawing_gradients(spec: ExperimentSpec, *, accumulate: int = 1) -> tuple[dict[str, Tensor], Tensor]:
    """The gradients of a model whose grouping and decoder draw, and the next draw of its stream."""
    engine = open_engine(spec)
    model: Any = engine.place(build_model(spec))
    model.grouping, model.decoder = Drawing(model.grouping), Drawing(model.decoder)
    step, noise = engine.wrap(model), Generator().manual_seed(1)
    for part_BCHW in images(4).chunk(accumulate):
        engine.backward(step(sealed(part_BCHW), generator=noise)["total"])
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found, torch.rand(3, generator=noise)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("parts", [["grouping"], ["decoder"], ["encoder", "grouping", "decoder"]])
def test_a_recomputed_part_draws_the_same_again(tiny: Specs, parts: list[str], accumulate: int) -> None:
    plain, after = drawing_gradients(tiny(), accumulate=accumulate)
    spec = tiny(training={"speed": {"recompute": parts}})
    again, after_again = drawing_gradients(spec, accumulate=accumulate)
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert torch.equal(after, after_again), "the stream goes on where it was"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_and_recomputed_parts_draw_the_same_again(tiny: Specs) -> None:
    plain, after = drawing_gradients(tiny())
    spec = tiny(training={"speed": {"recompute": ["grouping", "decoder"], "compile": "default"}})
    again, after_again = drawing_gradients(spec)
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)
    assert torch.equal(after, after_again)


def test_a_whole_training_is_the_same_with_recomputed_parts(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path
) -> None:
    weights = []
    for number, parts in enumerate(([], ["encoder", "grouping", "decoder"])):
        spec = tiny(training={"speed": {"recompute": parts}, "phases": [{"steps": 4, "lr": 0.01}]})
        model: Any = build_model(spec)
        model.grouping, model.decoder = Drawing(model.grouping), Drawing(model.decoder)
        train(open_engine(spec), model, noise_loader(), RunFolder.create(tmp_path / f"run{number}", spec))
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_recomputed_part_can_be_copied(tiny: Specs) -> None:
    spec = tiny(training={"speed": {"recompute": ["decoder"]}})
    engine = open_engine(spec)
    model = engine.place(build_model(spec))
    engine.wrap(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    slots = Slots(torch.rand(2, 3, 8, generator=Generator().manual_seed(0)))
    assert model.decode(slots).prediction_BCHW.any()
    assert not copied.decode(slots).prediction_BCHW.any(), "it has weights of its own"


# --- parts of a batch ----------------------------------------------------------------------


def after_steps(spec: ExperimentSpec, sizes: tuple[int, ...]) -> tuple[dict[str, Tensor], list[float]]:
    """Weights and losses after a step with a batch of each size."""
    engine = open_engine(spec)
    model = engine.place(build_model(spec))
    trainee, step = Trainee.of(spec, model, CPU), engine.wrap(model)
    trainee.optimizer, trainee.schedule = begin_phase(engine, model, None, Plan(1, (9,)), 0)
    optimizer = engine.wrap_optimizer(trainee.optimizer)
    losses = []
    for size in sizes:
        batch = Batch(images_BCHW=images(size), masks_BHW=None, ids=("a",) * size)
        losses.append(float(train_step(engine, trainee, step, optimizer, batch)["total"]))
    assert trainee.step == len(sizes)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, losses


@pytest.mark.parametrize("clip", [None, 1e-3])
@pytest.mark.parametrize("parts", [2, 3, 4, 7, 50])
def test_parts_of_a_batch_make_the_step_of_the_whole(tiny: Specs, parts: int, clip: float | None) -> None:
    """Batches of 7, 5 and 1: parts of unlike sizes, and fewer images than parts.

    All slots' mask logits have one bias, which a softmax over slots does not see: its gradient is rounding
    alone, of which Adam would make whole steps but for a larger `eps`.
    """
    optimizer = {"name": "adam", "eps": 1e-5}
    training = {"clip_norm": clip, "phases": [{"steps": 9, "lr": 1e-3}], "optimizer": optimizer}
    found = []
    for accumulate in (1, parts):
        spec = tiny(model={"initializer": "learnable"}, training={**training, "accumulate": accumulate})
        found.append(after_steps(spec, (7, 5, 1)))
    (whole, losses), (split, split_losses) = found
    assert split_losses == pytest.approx(losses, rel=1e-5)
    for name, tensor in whole.items():
        torch.testing.assert_close(split[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("kind", "order"), [(2, 2.0), ("inf", float("inf"))])
@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_gradient_is_scaled_to_its_greatest_norm(
    tiny: Specs, kind: Any, order: float, factor: float
) -> None:
    """All weights by one factor, max_norm over the norm of all of them together, and never up."""
    engine = open_engine(tiny())
    model = engine.place(build_model(engine.spec))
    step = engine.wrap(model)
    engine.backward(step(sealed(images(4)), generator=Generator().manual_seed(1))["total"])
    plain = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    whole = torch.cat([gradient.flatten() for gradient in plain.values()])
    norm = whole.abs().max() if order > 2 else whole.square().sum().sqrt()
    limit = float(norm) * factor
    clipping = replace(engine, spec=tiny(training={"clip_norm": limit, "clip_norm_type": kind}))
    optimizer = engine.wrap_optimizer(torch.optim.SGD(model.parameters(), lr=0.1))
    clipping.clip(step, optimizer, limit)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, plain[name] * min(1.0, factor), rtol=1e-4, atol=1e-9)


def test_the_two_norms_make_other_steps(tiny: Specs) -> None:
    """The largest value is the smaller of the two norms, so that a limit on it clips less."""
    training = {
        "clip_norm": 1e-3,
        "optimizer": {"name": "adam", "eps": 1.0},
        "phases": [{"steps": 9, "lr": 1.0}],
    }
    spec = tiny(model={"initializer": "learnable"}, training=training)
    before = build_model(spec).state_dict()
    moved = []
    for kind in (2, "inf"):
        spec = tiny(model={"initializer": "learnable"}, training={**training, "clip_norm_type": kind})
        weights, _ = after_steps(spec, (4,))
        moved.append(sum(float((weights[name] - before[name]).abs().sum()) for name in before))
    assert 0 < moved[0] < moved[1]


def test_parts_of_unlike_sizes_count_by_their_images(tiny: Specs) -> None:
    """The gradient of 5 images in parts of 3 and 2, and the loss that is logged, by hand."""
    spec = tiny(model={"initializer": "learnable"}, training={"accumulate": 2, "optimizer": "adam"})
    engine = open_engine(spec)
    model = engine.place(build_model(spec))
    trainee, step = Trainee.of(spec, model, CPU), engine.wrap(model)
    trainee.optimizer, trainee.schedule = begin_phase(engine, model, None, Plan(1, (9,)), 0)
    whole = copy.deepcopy(model)
    output = whole(images(5), generator=Generator())
    loss = whole.objective.loss(output.decoded, output.target_BCHW).total
    loss.backward()
    batch = Batch(images_BCHW=images(5), masks_BHW=None, ids=("a",) * 5)
    losses = train_step(engine, trainee, step, engine.wrap_optimizer(trainee.optimizer), batch)
    assert float(losses["total"]) == pytest.approx(float(loss.detach()), rel=1e-6)
    for (name, parameter), other in zip(model.named_parameters(), whole.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_the_mean_of_the_processes_gradients_is_that_of_the_whole_batch(
    tiny: Specs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `ddp` averages them: 5 images, of which one process has 3 and another 2."""

    def gradients(images_BCHW: Tensor, processes: int) -> dict[str, Tensor]:
        monkeypatch.setattr(Engine, "processes", processes)
        engine = open_engine(spec)
        model = engine.place(build_model(spec))
        trainee, step = Trainee.of(spec, model, CPU), engine.wrap(model)
        trainee.optimizer, trainee.schedule = begin_phase(engine, model, None, Plan(1, (9,)), 0)
        size = len(images_BCHW)
        batch = Batch(images_BCHW=images_BCHW, masks_BHW=None, ids=("a",) * size, share=size / 5)
        train_step(engine, trainee, step, engine.wrap_optimizer(trainee.optimizer), batch)
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    spec = tiny(model={"initializer": "learnable"})
    whole, shares = gradients(images(5), 1), [gradients(images(5)[rank::2], 2) for rank in range(2)]
    for name, gradient in whole.items():
        mean = (shares[0][name] + shares[1][name]) / 2
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-7, msg=name)


# --- float16 -------------------------------------------------------------------------------


def half_engine(spec: ExperimentSpec) -> Engine:
    """An engine that computes in float16 on the CPU, with a scale that moves often."""
    engine = open_engine(spec)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    engine.fabric.strategy._precision = MixedPrecision("16-mixed", "cpu", scaler)
    return engine


class Killed(Exception):  # noqa: N818 - stands for a power cut
    """The training ends here."""


def trained_in_half(
    spec: ExperimentSpec, loader: Loader, run: RunFolder, *, kill_at: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    def report(progress: Progress) -> None:
        if progress.step == kill_at:
            raise Killed

    engine, model = half_engine(spec), build_model(spec)
    saved, _ = run.checkpoints.newest()
    train(engine, model, loader, run, report=report, saved=saved)
    return model.state_dict(), engine.scaler.state_dict()


@pytest.mark.parametrize("kill_at", [2, 4, 5, 7])
def test_a_float16_training_goes_on_with_its_scale(
    tiny: Specs, noise_loader: Loaders, tmp_path: Path, kill_at: int
) -> None:
    phases = [{"steps": 5, "lr": 0.01}, {"steps": 3, "lr": 0.01, "optimizer_state": "kept"}]
    checkpoint = {"every_steps": 1, "every_epochs": None}
    spec = tiny(training={"phases": phases, "checkpoint": checkpoint, "log_every": 1})
    whole = RunFolder.create(tmp_path / "whole", spec)
    weights, scale = trained_in_half(spec, noise_loader(), whole)
    assert scale["scale"] == 2.0**14
    run = RunFolder.create(tmp_path / "run", spec)
    with pytest.raises(Killed):
        trained_in_half(spec, noise_loader(), run, kill_at=kill_at)
    assert run.checkpoints.all()
    again, scale_again = trained_in_half(spec, noise_loader(), run)
    assert scale_again == scale
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    saved, _ = run.checkpoints.newest()
    assert saved is not None
    assert saved["scaler"] == scale


def test_a_checkpoint_without_a_scale_is_read(tiny: Specs) -> None:
    """Older ones have none, nor have those of other precisions."""
    spec = tiny()
    engine = half_engine(spec)
    trainee = Trainee.of(spec, build_model(spec), CPU)
    trainee.optimizer, trainee.schedule = begin_phase(engine, trainee.model, None, Plan(1, (9,)), 0)
    plain = trainee.state()
    assert plain["scaler"] is None
    trainee.scaler = engine.scaler
    trainee.restore_phase(plain)
    del plain["scaler"]
    trainee.restore_phase(plain)
    assert engine.scaler.get_scale() == 2.0**10
