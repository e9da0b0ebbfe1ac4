"""Detect NaN or infinite losses and weights, and find the part of the model that first produced them."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Batch, Model
from slotlab.framework.data.loader import Loader
from slotlab.framework.model.anneal import load_state
from slotlab.framework.model.engine import Engine
from slotlab.framework.model.start import initial_model
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.json_files import write_json
from slotlab.framework.training.state import Step, Trainee
from slotlab.framework.training.validation import forward_loss
from slotlab.registry import SlotlabError

Saved = Mapping[str, Any] | None
"""The state of a checkpoint; None if there is none."""
ADVICE = (
    "Try a lower lr, a warm-up, or training.clip_norm; "
    "--allow training.phases and --allow training.clip_norm go on with another"
)


@dataclass(frozen=True)
class Guard:
    """Records each step's loss without waiting for the device, and checks the losses at each log line."""

    engine: Engine
    run: RunFolder
    loader: Loader

    def note(self, loss: Tensor, batch: Batch, order: Sequence[int], trainee: Trainee) -> None:
        """Record the loss of the step just done."""
        size = self.loader.batch_size
        positions = list(order[(trainee.batch - 1) * size : trainee.batch * size])
        trainee.pending.append(Step(trainee.step, trainee.epoch, positions, loss * batch.share))
        trainee.meter.images += len(positions) * batch.frames

    def judge(self, trainee: Trainee) -> tuple[float, float]:
        """Return the mean loss over the images since the last log line, and images per second.

        Raises:
            SlotlabError: if a loss is NaN or infinite or has exploded, with the step, the component and
                the images where it began.
        """
        steps, trainee.pending = trainee.pending, []
        losses = self._losses(steps)
        speed = trainee.meter.read()
        for step, loss in zip(steps, losses, strict=True):
            if not isfinite(loss):
                self._fail(trainee, step, f"the loss is {loss} at step {step.number}", loss)
        images = [len(step.positions) for step in steps]
        mean = math.fsum(loss * count for loss, count in zip(losses, images, strict=True)) / sum(images)
        factor = self.engine.spec.training.explosion
        if mean > factor * trainee.lowest_loss > 0:
            text = f"the loss has exploded to {mean:.4g} at step {trainee.step}, "
            text += f"more than {factor:g} times the lowest, {trainee.lowest_loss:.4g}"
            self._fail(trainee, steps[-1], text, mean)
        trainee.lowest_loss = min(trainee.lowest_loss, mean)
        return mean, speed

    def check_weights(self, trainee: Trainee) -> None:
        """Refuse to save weights, averages, moments or losses that are NaN or infinite.

        Raises:
            SlotlabError: as `judge` does.
        """
        name = first_bad(values_of(trainee))
        losses = self._losses(trainee.pending)
        bad = next((i for i, loss in enumerate(losses) if not isfinite(loss)), None)
        if name is None and bad is None:
            return
        step = None if bad is None else trainee.pending[bad]
        if name is not None:
            text = f"{name} holds values that are not finite at step {trainee.step}"
        else:  # float16 skips such a step: the weights are finite, and the loss is not
            assert step is not None
            text = f"the loss is {losses[bad or 0]} at step {step.number}"
        self._fail(trainee, step, text, None if bad is None or name is not None else losses[bad])

    def _losses(self, steps: Sequence[Step]) -> list[float]:
        # The only place that waits for the device.
        if not steps:
            return []
        losses: list[float] = self.engine.total(torch.stack([step.loss for step in steps])).tolist()
        return losses

    def _fail(self, trainee: Trainee, step: Step | None, text: str, loss: float | None) -> NoReturn:
        saved, _ = self.run.checkpoints.newest()
        origin, images = Origin(None, HIDDEN if loss is not None else SPOILED), []
        if step is not None:
            size = len(step.positions)
            whole = replace(self.loader, batch_size=size, rank=0, processes=1)
            batch = next(whole.epoch(step.positions, epoch=step.epoch))
            images = list(batch.ids)
            origin = find_origin(trainee, batch, step.number, saved, processes=self.engine.processes)
        facts = {
            "reason": text,
            "step": trainee.step if step is None else step.number,
            "epoch": trainee.epoch if step is None else step.epoch,
            "component": origin.component,
            "loss": None if loss is None or not isfinite(loss) else loss,
            "positions": [] if step is None else list(step.positions),
            "images": images,
            "checkpoint": None if saved is None else saved["step"],
        }
        if self.engine.is_first:
            write_json(self.run.failure, facts)
        kept = f"the checkpoint of step {saved['step']} is kept" if saved else "there is no checkpoint yet"
        exploded = loss is not None and isfinite(loss)  # no single value that could be traced
        where = "" if exploded and origin.component is None else f"; {origin.words}"
        raise SlotlabError(f"{text}{where}; {kept}, and {self.run.failure} names the images. {ADVICE}")


def values_of(trainee: Trainee) -> Iterator[tuple[str, Tensor]]:
    """Yield the learned tensors of a checkpoint by name: weights, their mean, the optimizer's moments."""
    yield from trainee.model.state_dict().items()
    if trainee.average is not None:
        for name, tensor in trainee.average.module.state_dict().items():
            yield f"the mean of {name}", tensor
    if trainee.optimizer is not None:
        names = {id(weight): name for name, weight in trainee.model.named_parameters()}
        for weight, moments in trainee.optimizer.state.items():
            for key, value in moments.items():
                if isinstance(value, Tensor):
                    yield f"the optimizer's {key} of {names[id(weight)]}", value


def first_bad(tensors: Any) -> str | None:
    """Return the name of the first tensor with a value that is not finite."""
    return next((name for name, tensor in tensors if not tensor.isfinite().all()), None)


@dataclass(frozen=True)
class Origin:
    """Where values that are not finite began, as found by passing the batch through once more."""

    component: str | None
    """The part of the model; None if unknown."""
    words: str
    """The same, as the end of a message."""


SPOILED = (
    "where it began cannot be told: the weights are spoiled already, and the last good ones show nothing"
)
HIDDEN = "where it began cannot be told: passed through again, the images give finite values"


def find_origin(trainee: Trainee, batch: Batch, step: int, saved: Saved, *, processes: int = 1) -> Origin:
    """Find the part of the model in which the first value that is not finite appears.

    The batch of step number `step` is passed through again, with that step's noise and annealed values:
    with the last good weights (the checkpoint's, or the initial ones before there is a checkpoint), and
    then with the present ones, unless they are not finite themselves, which would blame the first part
    that has weights.
    """
    spec = trainee.spec
    good = initial_model(spec).state_dict() if saved is None else saved["model"]
    present = trainee.model.state_dict()
    for weights in (good, present):
        model = copy.deepcopy(trainee.model)
        fits = weights.keys() == present.keys() and all(weights[k].shape == present[k].shape for k in present)
        if not fits or first_bad(weights.items()) is not None:
            continue
        load_state(spec, model, weights, step - 1)
        try:
            for part, noise in shares(trainee, batch, step, processes):
                component = replay(spec, model, part, noise)
                if component is not None:
                    return Origin(component.removeprefix(GRADIENT), f"it began in the {component}")
        except Exception:  # of any part, or a lack of memory: the failure itself must still be reported
            continue
    return Origin(None, HIDDEN if first_bad(present.items()) is None else SPOILED)


def shares(trainee: Trainee, batch: Batch, step: int, processes: int) -> Iterator[tuple[Batch, Generator]]:
    """Yield the parts of a batch that are passed through at once, with their noise, over all processes."""
    for rank in range(processes):
        noise = trainee.noise_of(step - 1, rank)
        for part in batch.at(slice(rank, None, processes)).chunk(trainee.spec.training.accumulate):
            yield part, noise


GRADIENT = "gradient of the "
LOSS = "objective"
"""What messages call that which computes targets and losses, if it is no part of the model itself."""


def replay(spec: ExperimentSpec, model: Model, batch: Batch, noise: Generator) -> str | None:
    """Pass a batch forward and backward; return the part with the first value that is not finite."""
    model.train()
    model.zero_grad(set_to_none=True)
    seen: list[str] = []
    handles = [handle for name, part in parts(model) for handle in watch(part, name, seen)]
    total = forward_loss(model, batch, noise, precision=spec.training.precision).total
    for handle in handles:
        handle.remove()
    if seen or not total.isfinite():
        return seen[0] if seen else LOSS
    total.backward()  # type: ignore[no-untyped-call]
    for name, part in reversed(list(parts(model))):  # gradients go from the last part to the first
        if first_bad((key, p.grad) for key, p in part.named_parameters() if p.grad is not None):
            return f"{GRADIENT}{name}"
    return None


def parts(model: Model) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a model that are modules, in the order in which data passes them."""
    for name, part in model.named_children():
        if isinstance(part, nn.ModuleDict):
            yield from ((f"{name}.{key}", item) for key, item in part.items())
        else:
            yield name, part


def watch(part: nn.Module, name: str, seen: list[str]) -> Iterator[Any]:
    """Add `name` to `seen` when the part returns a value that is not finite.

    A target with such a value, which no part has returned, comes from the objective.
    """

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if any(not tensor.isfinite().all() for tensor in tensors_of(output)):
            seen.append(name)

    def look_before(module: nn.Module, inputs: Any, options: Any) -> None:
        if any(not tensor.isfinite().all() for tensor in tensors_of(options.get("target_BCHW"))):
            seen.append(LOSS)

    yield part.register_forward_hook(look)
    yield part.register_forward_pre_hook(look_before, with_kwargs=True)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors of a part's output: a tensor, a dict, a tuple or a dataclass."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from tensors_of(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_of(getattr(value, name))
