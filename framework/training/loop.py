"""The training loop, to be read from top to bottom: phases, epochs, steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slotlab.framework.contracts import Batch, Model, OptimizerContext, ScheduleContext
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.loss_step import Sealed
from slotlab.framework.model.parameter_groups import parameter_groups
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.training import PhaseSpec
from slotlab.framework.system.stop_signals import StopRequest
from slotlab.framework.training.learning_rates import hold
from slotlab.framework.training.nan_guard import Guard
from slotlab.framework.training.plan import Plan, Progress
from slotlab.framework.training.saving import Keeper
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.trackers import Trackers, journal
from slotlab.framework.training.validation import Validation
from slotlab.framework.training.watching import Look, Watch, steps_between

ReportProgress = Callable[[Progress], None]
WriteRecord = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Training:
    """One training: the loop below drives its parts."""

    engine: Engine
    loader: Loader
    plan: Plan
    trainee: Trainee
    step_losses: nn.Module
    """The loss step of the model, set up for precision and processes."""
    guard: Guard
    keeper: Keeper
    validation: Validation | None
    watch: Watch
    log: WriteRecord
    report: ReportProgress


def train(
    engine: Engine,
    model: Model,
    loader: Loader,
    run: RunFolder,
    *,
    validation: Validation | None = None,
    report: ReportProgress = lambda progress: None,
    saved: Mapping[str, Any] | None = None,
    stop: StopRequest | None = None,
    trackers: Trackers | None = None,
    look: Look | None = None,
) -> None:
    """Train all phases, log to the run's metrics and write its checkpoints.

    Args:
        engine: the spec, the device and the processes.
        model: on the engine's device.
        loader: of the training split.
        run: receives the log and the checkpoints.
        validation: measures the model after epochs; None for no validation.
        report: called after each step.
        saved: the state of a checkpoint to resume from; None starts at the beginning.
        stop: checked after each step; once it holds a signal, the training is saved and ends.
        trackers: receive what is logged; they do not affect the training.
        look: looks at the model between steps, as `training.watch` says; None for no look.

    Raises:
        SlotlabError: if the loss or a weight becomes NaN or infinite, or the disk is full.
        TrainingStopped, TrainingPreempted, TrainingHalted: if `stop` requested it.
    """
    trackers = trackers or Trackers()
    log = journal(run, trackers, first=engine.is_first)
    every = steps_between(engine.spec.training.watch, Plan.of(engine.spec, loader.total).total)
    watch = Watch(run, every, look if engine.is_first else None, trackers, log, engine.warn)
    training = assemble(engine, model, loader, run, validation, watch, stop or StopRequest(), log, report)
    trainee = training.trainee
    if saved is not None:
        trainee.restore(saved)
        if trainee.step < training.plan.total:
            training.keeper.stop.halt(run.path, trainee.step)
    for number in range(trainee.phase, len(engine.spec.training.phases)):
        optimizer = enter_phase(training, number, saved)
        while trainee.step < training.plan.end(number):
            train_epoch(training, optimizer)
            end_epoch(training)


def assemble(
    engine: Engine,
    model: Model,
    loader: Loader,
    run: RunFolder,
    validation: Validation | None,
    watch: Watch,
    stop: StopRequest,
    log: WriteRecord,
    report: ReportProgress,
) -> Training:
    """Return a training that has not begun."""
    spec = engine.spec
    plan = Plan.of(spec, loader.total)
    trainee = Trainee.of(spec, model, engine.device)
    trainee.scaler = engine.scaler
    step_losses = engine.wrap(model)
    guard = Guard(engine, run, loader)
    higher = validation is not None and validation.higher_is_better
    keeper = Keeper(engine, run, stop, plan.total, higher, guard.check_weights)
    return Training(engine, loader, plan, trainee, step_losses, guard, keeper, validation, watch, log, report)


def enter_phase(training: Training, number: int, saved: Mapping[str, Any] | None) -> Optimizer:
    """Build a phase's optimizer and schedule, restored if the checkpoint is of this phase."""
    engine, trainee = training.engine, training.trainee
    trainee.phase = number
    trainee.optimizer, trainee.schedule = begin_phase(
        engine, trainee.model, trainee.optimizer, training.plan, number
    )
    optimizer = engine.wrap_optimizer(trainee.optimizer)
    if saved is not None and number == saved["phase"]:
        trainee.restore_phase(saved)
    return optimizer


def train_epoch(training: Training, optimizer: Optimizer) -> None:
    """Train the rest of an epoch, or of the phase if that ends first: step, log, schedule, save."""
    engine, trainee, plan = training.engine, training.trainee, training.plan
    settings, end = engine.spec.training, plan.end(trainee.phase)
    phase = settings.phases[trainee.phase]
    trainee.model.train()
    order = training.loader.order(seed=engine.spec.seed, epoch=trainee.epoch)
    for batch in training.loader.epoch(order, epoch=trainee.epoch, skip=trainee.batch):
        losses = train_step(engine, trainee, training.step_losses, optimizer, batch)
        training.guard.note(losses["total"], batch, order, trainee)
        if trainee.step % settings.log_every == 0 or trainee.step == plan.total:
            log_step(training, losses)
        else:
            training.report(Progress(trainee.step, plan.total, trainee.phase, trainee.epoch, None, None))
        if phase.interval == "step":
            step_schedule(trainee, phase)
        with trainee.meter.paused():
            training.watch.after_step(trainee)
        if trainee.step == end or trainee.batch == plan.steps_per_epoch:
            return  # `end_epoch` saves, after the work at the end of an epoch
        training.keeper.after_step(trainee)


def end_epoch(training: Training) -> None:
    """Count the epoch, bring the schedule forward, check the weights, validate and save."""
    trainee, settings = training.trainee, training.engine.spec.training
    phase = settings.phases[trainee.phase]
    trainee.epoch, trainee.batch = trainee.epoch + 1, 0
    if phase.interval == "epoch":
        step_schedule(trainee, phase)
    training.guard.check_weights(trainee)
    value = None
    due = trainee.epoch % settings.validate_every == 0 or trainee.step == training.plan.total
    if training.validation is not None and due:
        with trainee.meter.paused():
            value = log_validation(training, training.validation)
    training.keeper.after_epoch(trainee, value)


def begin_phase(
    engine: Engine, model: Model, before: Optimizer | None, plan: Plan, number: int
) -> tuple[Optimizer, LRScheduler]:
    """Return the phase's optimizer, new or with the moments of the phase before, and its schedule."""
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
    hold(optimizer)
    return optimizer, schedule


def step_schedule(trainee: Trainee, phase: PhaseSpec) -> None:
    """Set the learning rate of the next step or epoch."""
    assert trainee.optimizer is not None
    assert trainee.schedule is not None
    with called(f"schedule '{phase.schedule.name}'"):
        trainee.schedule.step()
    hold(trainee.optimizer)


def train_step(
    engine: Engine, trainee: Trainee, step_losses: nn.Module, optimizer: Optimizer, batch: Batch
) -> dict[str, Tensor]:
    """Do one optimizer step, count it, and return the losses before it, on the device."""
    training = engine.spec.training
    trainee.seed_noise(engine.rank)
    optimizer.zero_grad(set_to_none=True)
    losses: dict[str, Tensor] = {}
    parts = batch.chunk(training.accumulate)
    for number, part in enumerate(parts, start=1):
        weight = len(part.images_BCHW) / len(batch.images_BCHW)
        with engine.no_sync(step_losses, enabled=number < len(parts)):
            found = step_losses(Sealed(part), generator=trainee.noise)
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


def log_step(training: Training, losses: Mapping[str, Tensor]) -> None:
    """Read the losses since the last line back from the device, check them and write a line."""
    trainee, plan = training.trainee, training.plan
    assert trainee.optimizer is not None
    loss, speed = training.guard.judge(trainee)
    terms = {name: float(term) for name, term in losses.items() if name != "total"}
    facts = {"step": trainee.step, "epoch": trainee.epoch, "phase": trainee.phase, "loss": loss}
    rate = trainee.optimizer.param_groups[0]["lr"]
    with trainee.meter.paused():  # a tracker may be slow
        training.log({"kind": "train", **facts, **terms, "lr": rate, "images_per_second": round(speed, 2)})
    training.report(Progress(trainee.step, plan.total, trainee.phase, trainee.epoch, loss, speed))


def log_validation(training: Training, validation: Validation) -> float | None:
    """Validate, write a line, and return the value by which checkpoints are compared."""
    engine, trainee = training.engine, training.trainee
    values = validation.measure(engine.spec, trainee.measured, gather=engine.gather)
    training.log({"kind": "validation", "step": trainee.step, "epoch": trainee.epoch, **values})
    return values[engine.spec.training.checkpoint.best or "loss"]
