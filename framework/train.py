"""Training, from top to bottom: phases, epochs, steps. Nothing else decides what happens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import Any

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from slotlab.framework.contracts import Batch, Losses, OptimizerContext, ScheduleContext
from slotlab.framework.data import Loader
from slotlab.framework.model import Noise, SlotModel
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec, PhaseSpec
from slotlab.framework.streams import epoch_order, streams
from slotlab.registry import SlotlabError


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


@dataclass
class Meter:
    """Mean loss and speed since the last reading, read from the device only then."""

    total: Tensor | None = None
    images: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, loss: Tensor, images: int) -> None:
        """Add one step."""
        self.total = loss.detach() * images + (0 if self.total is None else self.total)
        self.images += images

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of what is done meanwhile out of the speed."""
        before = time.perf_counter()
        yield
        self.started += time.perf_counter() - before

    def read(self) -> tuple[float, float]:
        """Return (mean loss over images, images per second) and start anew."""
        loss = float("nan") if self.total is None else float(self.total) / self.images
        seconds = time.perf_counter() - self.started
        speed = self.images / max(seconds, 1e-9)
        self.total, self.images, self.started = None, 0, time.perf_counter()
        return loss, speed


def train(
    spec: ExperimentSpec,
    model: SlotModel,
    loader: Loader,
    run: RunFolder,
    *,
    validation: Loader | None = None,
    report: Report = lambda progress: None,
) -> None:
    """Train all phases, log to the run's metrics and save the weights after each epoch.

    Raises:
        SlotlabError: if the loss or a weight stops being a finite number.
    """
    plan = Plan.of(spec, len(loader.dataset))
    device = loader.device
    noise = Generator(device).manual_seed(spec.seed)
    meter = Meter()
    step = epoch = 0
    optimizer: Optimizer | None = None
    for number, phase in enumerate(spec.training.phases):
        optimizer, schedule = begin_phase(spec, phase, model, optimizer, plan, number)
        end = step + plan.phases[number]
        while step < end:
            model.train()
            order = epoch_order(loader.dataset, seed=spec.seed, epoch=epoch)
            for batch in loader.epoch(order, epoch=epoch):
                losses = train_step(spec, model, batch, optimizer, noise)
                meter.add(losses.total, len(batch.ids))
                step += 1
                if step % spec.training.log_every == 0 or step == plan.total:
                    loss, speed = meter.read()
                    check_loss(loss, step)
                    rate = optimizer.param_groups[0]["lr"]
                    run.log(log_line(step, number, epoch, loss, losses, rate, speed))
                    report(Progress(step, plan.total, number, epoch, loss, speed))
                else:
                    report(Progress(step, plan.total, number, epoch, None, None))
                if phase.interval == "step":
                    schedule.step()
                if step == end:
                    break
            epoch += 1
            if phase.interval == "epoch":
                schedule.step()
            check_weights(model, step)
            run.save_weights(model.state_dict(), step=step)
            if validation is not None and (epoch % spec.training.validate_every == 0 or step == plan.total):
                with meter.paused():
                    loss = validate(spec, model, validation)
                run.log({"kind": "validation", "step": step, "epoch": epoch, "loss": loss})


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


def train_step(
    spec: ExperimentSpec, model: SlotModel, batch: Batch, optimizer: Optimizer, noise: Generator
) -> Losses:
    """Do one optimizer step."""
    optimizer.zero_grad(set_to_none=True)
    losses = forward_loss(spec, model, batch, noise)
    losses.total.backward()  # type: ignore[no-untyped-call]
    if spec.training.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.training.clip_norm)
    optimizer.step()
    return losses


def forward_loss(spec: ExperimentSpec, model: SlotModel, batch: Batch, noise: Noise) -> Losses:
    """Compute the loss of a batch, in the spec's precision."""
    mixed = spec.training.precision == "bfloat16"
    with torch.autocast(batch.images_BCHW.device.type, dtype=torch.bfloat16, enabled=mixed):
        output = model(batch.images_BCHW, generator=noise)
        return model.objective.loss(output.decoded, output.target_BCHW)


@torch.no_grad()
def validate(spec: ExperimentSpec, model: SlotModel, loader: Loader) -> float:
    """Return the mean loss over the images of the evaluation split, each with its own fixed slot noise."""
    model.eval()
    total, images = 0.0, 0
    for batch in first_images(loader, spec.evaluation.max_images):
        noise = streams(spec.seed, range(images, images + len(batch.ids)), loader.device)
        total += float(forward_loss(spec, model, batch, noise).total) * len(batch.ids)
        images += len(batch.ids)
    return total / images


def first_images(loader: Loader, limit: int | None) -> Iterator[Batch]:
    """Yield the batches of the first `limit` images in the dataset's own order."""
    count = len(loader.dataset) if limit is None else min(limit, len(loader.dataset))
    return loader.epoch(list(range(count)))


ADVICE = "the last good checkpoint, if any, is kept. Try a lower lr, a warm-up, or training.clip_norm"


def check_loss(loss: float, step: int) -> None:
    """Stop a training whose loss is no finite number."""
    if not isfinite(loss):
        raise SlotlabError(f"the loss is {loss} at step {step}; {ADVICE}")


def check_weights(model: SlotModel, step: int) -> None:
    """Stop before weights that are no finite numbers are saved over good ones."""
    bad = [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]
    if bad:
        raise SlotlabError(f"{bad[0]} holds values that are not finite at step {step}; {ADVICE}")


def log_line(
    step: int, phase: int, epoch: int, loss: float, losses: Losses, rate: float, speed: float
) -> dict[str, Any]:
    """Return one line of the log; `loss` is the mean since the line before."""
    terms = {f"loss/{name}": float(term.detach()) for name, term in losses.terms.items()}
    line = {"kind": "train", "step": step, "epoch": epoch, "phase": phase, "loss": loss}
    return {**line, **terms, "lr": rate, "images_per_second": round(speed, 2)}
