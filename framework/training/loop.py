"""Training, from top to bottom: phases, epochs, steps. Nothing else decides what happens."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slotlab.framework.contracts import Batch, OptimizerContext, ScheduleContext
from slotlab.framework.contracts.calling import called
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.parameter_groups import parameter_groups
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.randomness.seeds import epoch_order
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.training import PhaseSpec
from slotlab.framework.system.interruptions import StopRequest
from slotlab.framework.training.nan_guard import Guard
from slotlab.framework.training.plan import Plan, Progress
from slotlab.framework.training.saving import Keeper
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.trackers import Trackers, journal
from slotlab.framework.training.validation import Validation

Report = Callable[[Progress], None]
Log = Callable[[Mapping[str, Any]], None]


def train(
    engine: Engine,
    model: SlotModel,
    loader: Loader,
    run: RunFolder,
    *,
    validation: Validation | None = None,
    report: Report = lambda progress: None,
    saved: Mapping[str, Any] | None = None,
    stop: StopRequest | None = None,
    trackers: Trackers | None = None,
) -> None:
    """Train all phases, log to the run's metrics and write its checkpoints.

    Args:
        engine: the spec, and what it is trained on.
        model: on the engine's device.
        loader: of the training split.
        run: where to.
        validation: how and on what the model is watched; None watches nothing.
        report: called after each step.
        saved: the state of a checkpoint to go on from; None starts at the beginning.
        stop: looked at after each step; once it holds a signal, the training is saved and ends.
        trackers: told what is logged; they change nothing.

    Raises:
        SlotlabError: if the loss or a weight stops being a finite number, or the disk is full.
        TrainingStopped, TrainingPreempted: if `stop` asked to.
    """
    spec = engine.spec
    plan = Plan.of(spec, len(loader.dataset))
    trainee = Trainee.of(spec, model, engine.device)
    trainee.scaler = engine.scaler
    step_losses = engine.wrap(model)
    guard = Guard(engine, run, loader)
    keeper = Keeper(engine, run, stop or StopRequest(), plan.total, validation, guard.check_weights)
    log = journal(run, trackers or Trackers(), first=engine.is_first)
    if saved is not None:
        trainee.restore(saved)
    for number in range(trainee.phase, len(spec.training.phases)):
        phase, end = spec.training.phases[number], plan.end(number)
        trainee.phase = number
        trainee.optimizer, trainee.schedule = begin_phase(engine, model, trainee.optimizer, plan, number)
        optimizer = engine.wrap_optimizer(trainee.optimizer)
        if saved is not None and number == saved["phase"]:
            trainee.restore_phase(saved)
        while trainee.step < end:
            model.train()
            order = epoch_order(loader.dataset, seed=spec.seed, epoch=trainee.epoch)
            for batch in loader.epoch(order, epoch=trainee.epoch, skip=trainee.batch):
                losses = train_step(engine, trainee, step_losses, optimizer, batch)
                guard.note(losses["total"], batch, order, trainee)
                if trainee.step % spec.training.log_every == 0 or trainee.step == plan.total:
                    log_step(trainee, losses, log, guard, plan, report)
                else:
                    report(Progress(trainee.step, plan.total, number, trainee.epoch, None, None))
                if phase.interval == "step":
                    step_schedule(trainee.schedule, phase)
                if trainee.step == end or trainee.batch == plan.steps_per_epoch:
                    break  # of a phase or an epoch: saved below, after what belongs to its end
                keeper.after_step(trainee)
            trainee.epoch, trainee.batch = trainee.epoch + 1, 0
            if phase.interval == "epoch":
                step_schedule(trainee.schedule, phase)
            guard.check_weights(trainee)
            value = None
            due = trainee.epoch % spec.training.validate_every == 0 or trainee.step == plan.total
            if validation is not None and due:
                with trainee.meter.paused():
                    value = log_validation(engine, trainee, validation, log)
            keeper.after_epoch(trainee, value)


def begin_phase(
    engine: Engine, model: SlotModel, before: Optimizer | None, plan: Plan, number: int
) -> tuple[Optimizer, LRScheduler]:
    """Return the phase's optimizer, fresh or with the moments of the phase before, and its schedule."""
    training, phase = engine.spec.training, engine.spec.training.phases[number]
    groups = parameter_groups(engine.spec, model, phase.lr)
    context = OptimizerContext(params=groups, lr=phase.lr, fused=engine.fused)
    optimizer: Optimizer = training.optimizer.build(context)
    if phase.optimizer_state == "kept" and before is not None:
        for parameter, moments in before.state.items():
            optimizer.state[parameter] = moments
    steps = plan.phases[number]
    total = ceil(steps / plan.steps_per_epoch) if phase.interval == "epoch" else steps
    schedule: LRScheduler = phase.schedule.build(ScheduleContext(optimizer=optimizer, total_steps=total))
    return optimizer, schedule


def step_schedule(schedule: LRScheduler, phase: PhaseSpec) -> None:
    """Bring the learning rate to the next step or epoch."""
    with called(f"schedule '{phase.schedule.name}'"):
        schedule.step()


def train_step(
    engine: Engine, trainee: Trainee, step_losses: nn.Module, optimizer: Optimizer, batch: Batch
) -> dict[str, Tensor]:
    """Do one optimizer step, count it, and return the losses before it, on the device."""
    training = engine.spec.training
    trainee.seed_noise(engine.rank)
    optimizer.zero_grad(set_to_none=True)
    losses: dict[str, Tensor] = {}
    parts = batch.images_BCHW.chunk(training.accumulate)
    for number, images_BCHW in enumerate(parts, start=1):
        weight = len(images_BCHW) / len(batch.images_BCHW)
        with engine.no_sync(step_losses, enabled=number < len(parts)):
            found = step_losses(images_BCHW, generator=trainee.noise)
            # The processes' gradients are averaged: a smaller share of the batch counts less.
            with called("the backward pass"):
                engine.backward(found["total"] * (weight * batch.share * engine.processes))
        for name, loss in found.items():
            losses[name] = losses.get(name, 0) + loss.detach() * weight
    if training.clip_norm is not None:
        engine.clip(step_losses, optimizer, training.clip_norm)
    with called(f"optimizer '{training.optimizer.name}'"):
        optimizer.step()
    trainee.advance()
    return losses


def log_step(
    trainee: Trainee,
    losses: Mapping[str, Tensor],
    log: Log,
    guard: Guard,
    plan: Plan,
    report: Report,
) -> None:
    """Read the losses since the last line back from the device, judge them and write a line."""
    assert trainee.optimizer is not None
    loss, speed = guard.judge(trainee)
    terms = {name: float(term) for name, term in losses.items() if name != "total"}
    facts = {"step": trainee.step, "epoch": trainee.epoch, "phase": trainee.phase, "loss": loss}
    rate = trainee.optimizer.param_groups[0]["lr"]
    with trainee.meter.paused():  # a tracker may take its time
        log({"kind": "train", **facts, **terms, "lr": rate, "images_per_second": round(speed, 2)})
    report(Progress(trainee.step, plan.total, trainee.phase, trainee.epoch, loss, speed))


def log_validation(engine: Engine, trainee: Trainee, validation: Validation, log: Log) -> float | None:
    """Validate, write a line, and return the value by which checkpoints are compared."""
    values = validation.measure(engine, trainee.measured)
    log({"kind": "validation", "step": trainee.step, "epoch": trainee.epoch, **values})
    return values[engine.spec.training.checkpoint.best or "loss"]
