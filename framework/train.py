"""Training, from top to bottom: phases, epochs, steps. Nothing else decides what happens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slotlab.framework.contracts import Batch, Losses, OptimizerContext, ScheduleContext
from slotlab.framework.data import Loader
from slotlab.framework.guard import Guard
from slotlab.framework.interruptions import StopRequest
from slotlab.framework.keeper import Keeper
from slotlab.framework.model import SlotModel
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec, PhaseSpec
from slotlab.framework.streams import epoch_order
from slotlab.framework.trainee import Trainee
from slotlab.framework.validation import Validation, forward_loss


@dataclass(frozen=True)
class Progress:
    """What a progress display is told after each step."""

    step: int
    total_steps: int
    phase: int
    epoch: int
    loss: float | None
    """Mean training loss since the log line before; None before the first."""
    images_per_second: float | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Plan:
    """How many steps each phase has, for a training split of a given size."""

    steps_per_epoch: int
    phases: tuple[int, ...]

    @classmethod
    def of(cls, spec: ExperimentSpec, num_images: int) -> "Plan":
        """Count the steps; the last batch of an epoch may be smaller, and counts."""
        per_epoch = ceil(num_images / spec.training.batch_size)
        phases = (phase.steps or (phase.epochs or 0) * per_epoch for phase in spec.training.phases)
        return cls(per_epoch, tuple(phases))

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return sum(self.phases)

    def end(self, phase: int) -> int:
        """Return the step at which a phase ends."""
        return sum(self.phases[: phase + 1])


def train(
    spec: ExperimentSpec,
    model: SlotModel,
    loader: Loader,
    run: RunFolder,
    *,
    validation: Validation | None = None,
    report: Report = lambda progress: None,
    saved: Mapping[str, Any] | None = None,
    stop: StopRequest | None = None,
) -> None:
    """Train all phases, log to the run's metrics and write its checkpoints.

    Args:
        spec: what to train, and how.
        model: on the loader's device.
        loader: of the training split.
        run: where to.
        validation: how and on what the model is watched; None watches nothing.
        report: called after each step.
        saved: the state of a checkpoint to go on from; None starts at the beginning.
        stop: looked at after each step; once it holds a signal, the training is saved and ends.

    Raises:
        SlotlabError: if the loss or a weight stops being a finite number, or the disk is full.
        Interrupted: if `stop` asked to.
    """
    plan = Plan.of(spec, len(loader.dataset))
    trainee = Trainee.of(spec, model, loader.device)
    higher = validation is not None and validation.higher_is_better
    keeper = Keeper(spec, run, stop or StopRequest(), plan.total, higher)
    guard = Guard(spec, run, loader)
    if saved is not None:
        trainee.restore(saved)
        run.cut_log(saved["log_bytes"])
    for number in range(trainee.phase, len(spec.training.phases)):
        phase, end = spec.training.phases[number], plan.end(number)
        trainee.phase = number
        trainee.optimizer, trainee.schedule = begin_phase(spec, phase, model, trainee.optimizer, plan, number)
        if saved is not None and number == saved["phase"]:
            trainee.restore_phase(saved)
        while trainee.step < end:
            model.train()
            order = epoch_order(loader.dataset, seed=spec.seed, epoch=trainee.epoch)
            for batch in loader.epoch(order, epoch=trainee.epoch, skip=trainee.batch):
                losses = train_step(spec, trainee, batch)
                guard.note(losses.total, order, trainee)
                if trainee.step % spec.training.log_every == 0 or trainee.step == plan.total:
                    log_step(trainee, losses, run, guard, plan, report)
                else:
                    report(Progress(trainee.step, plan.total, number, trainee.epoch, None, None))
                if phase.interval == "step":
                    trainee.schedule.step()
                if trainee.step == end or trainee.batch == plan.steps_per_epoch:
                    break  # of a phase or an epoch: saved below, after what belongs to its end
                keeper.after_step(trainee)
            trainee.epoch, trainee.batch = trainee.epoch + 1, 0
            if phase.interval == "epoch":
                trainee.schedule.step()
            guard.check_weights(trainee)
            value = None
            due = trainee.epoch % spec.training.validate_every == 0 or trainee.step == plan.total
            if validation is not None and due:
                with trainee.meter.paused():
                    value = log_validation(spec, trainee, validation, run)
            keeper.after_epoch(trainee, value)


def begin_phase(
    spec: ExperimentSpec,
    phase: PhaseSpec,
    model: SlotModel,
    before: Optimizer | None,
    plan: Plan,
    number: int,
) -> tuple[Optimizer, LRScheduler]:
    """Return the phase's optimizer, fresh or with the moments of the phase before, and its schedule."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer: Optimizer = spec.training.optimizer.build(OptimizerContext(params=parameters, lr=phase.lr))
    if phase.optimizer_state == "kept" and before is not None:
        for parameter, moments in before.state.items():
            optimizer.state[parameter] = moments
    steps = plan.phases[number]
    total = ceil(steps / plan.steps_per_epoch) if phase.interval == "epoch" else steps
    schedule: LRScheduler = phase.schedule.build(ScheduleContext(optimizer=optimizer, total_steps=total))
    return optimizer, schedule


def train_step(spec: ExperimentSpec, trainee: Trainee, batch: Batch) -> Losses:
    """Do one optimizer step and count it."""
    optimizer, model = trainee.optimizer, trainee.model
    assert optimizer is not None
    optimizer.zero_grad(set_to_none=True)
    losses = forward_loss(spec, model, batch, trainee.noise)
    losses.total.backward()  # type: ignore[no-untyped-call]
    if spec.training.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.training.clip_norm)
    optimizer.step()
    if trainee.average is not None:
        trainee.average.update_parameters(model)
    trainee.step += 1
    trainee.batch += 1
    trainee.meter.add(losses.total, len(batch.ids))
    return losses


def log_step(
    trainee: Trainee, losses: Losses, run: RunFolder, guard: Guard, plan: Plan, report: Report
) -> None:
    """Read the losses since the last line back from the device, judge them and write a line."""
    assert trainee.optimizer is not None
    loss, speed = trainee.meter.read()
    guard.check_losses(loss, trainee)
    terms = {f"loss/{name}": float(term.detach()) for name, term in losses.terms.items()}
    facts = {"step": trainee.step, "epoch": trainee.epoch, "phase": trainee.phase, "loss": loss}
    rate = trainee.optimizer.param_groups[0]["lr"]
    run.log({"kind": "train", **facts, **terms, "lr": rate, "images_per_second": round(speed, 2)})
    report(Progress(trainee.step, plan.total, trainee.phase, trainee.epoch, loss, speed))


def log_validation(
    spec: ExperimentSpec, trainee: Trainee, validation: Validation, run: RunFolder
) -> float | None:
    """Validate, write a line, and return the value by which checkpoints are compared."""
    values = validation.measure(spec, trainee.measured)
    run.log({"kind": "validation", "step": trainee.step, "epoch": trainee.epoch, **values})
    return values[spec.training.checkpoint.best or "loss"]
