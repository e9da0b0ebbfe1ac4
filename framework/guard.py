"""Watching for losses and weights that are no finite numbers, and finding out where it began."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.atomic import write_json
from slotlab.framework.contracts import Batch
from slotlab.framework.data import Loader
from slotlab.framework.model import SlotModel
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.trainee import Trainee
from slotlab.framework.validation import forward_loss
from slotlab.registry import SlotlabError

PARTS = ("encoder", "projection", "initializer", "grouping", "decoder", "objective")
ADVICE = "Try a lower lr, a warm-up, or training.clip_norm"


@dataclass(frozen=True)
class Step:
    """One step since the last log line: what it was trained on, and its loss, still on the device."""

    number: int
    epoch: int
    positions: Sequence[int]
    loss: Tensor


@dataclass
class Guard:
    """Notes each step's loss without waiting for the device, and judges them at each log line."""

    spec: ExperimentSpec
    run: RunFolder
    loader: Loader
    steps: list[Step] = field(default_factory=list)

    def note(self, loss: Tensor, order: Sequence[int], trainee: Trainee) -> None:
        """Note the loss of the step just done."""
        size = self.loader.batch_size
        positions = order[(trainee.batch - 1) * size : trainee.batch * size]
        self.steps.append(Step(trainee.step, trainee.epoch, positions, loss.detach()))

    def check_losses(self, mean: float, trainee: Trainee) -> None:
        """Stop a training whose loss is no finite number, or has exploded.

        Raises:
            SlotlabError: with the step, the component and the images where it began.
        """
        steps, self.steps = self.steps, []
        if not isfinite(mean):
            losses = torch.stack([step.loss for step in steps]).tolist()
            at, loss = next((i, loss) for i, loss in enumerate(losses) if not isfinite(loss))
            self._fail(trainee, steps[at], f"the loss is {loss} at step {steps[at].number}", loss)
        limit = self.spec.training.explosion * trainee.lowest_loss
        if mean > limit > 0:
            text = f"the loss has exploded to {mean:.4g} at step {trainee.step}"
            text += (
                f", more than {self.spec.training.explosion:g} times the lowest, {trainee.lowest_loss:.4g}"
            )
            self._fail(trainee, steps[-1], text, mean)
        trainee.lowest_loss = min(trainee.lowest_loss, mean)

    def check_weights(self, trainee: Trainee) -> None:
        """Stop before weights that are no finite numbers are saved over good ones."""
        name = first_bad(trainee.model.state_dict().items())
        if name is not None:
            losses = torch.stack([step.loss for step in self.steps]).tolist() if self.steps else []
            bad = [i for i, loss in enumerate(losses) if not isfinite(loss)]
            text = f"{name} holds values that are not finite at step {trainee.step}"
            self._fail(trainee, self.steps[bad[0]] if bad else None, text, None)

    def _fail(self, trainee: Trainee, step: Step | None, text: str, loss: float | None) -> None:
        saved, _ = self.run.checkpoints.newest()
        component = None
        ids: Sequence[str] = ()
        if step is not None:
            batch = next(self.loader.epoch(step.positions, epoch=step.epoch))
            ids = batch.ids
            component = find_component(self.spec, trainee, batch, None if saved is None else saved["model"])
        facts = {
            "reason": text,
            "step": trainee.step if step is None else step.number,
            "epoch": trainee.epoch if step is None else step.epoch,
            "component": component,
            "loss": None if loss is None or not isfinite(loss) else loss,
            "positions": [] if step is None else list(step.positions),
            "images": list(ids),
            "checkpoint": None if saved is None else saved["step"],
        }
        write_json(self.run.failure, facts)
        kept = f"the checkpoint of step {saved['step']} is kept" if saved else "there is no checkpoint yet"
        where = f"; it began in the {component}" if component else ""
        raise SlotlabError(f"{text}{where}; {kept}, and {self.run.failure} names the images. {ADVICE}")


def first_bad(tensors: Any) -> str | None:
    """Return the name of the first tensor with a value that is not finite."""
    return next((name for name, tensor in tensors if not tensor.isfinite().all()), None)


def find_component(
    spec: ExperimentSpec, trainee: Trainee, batch: Batch, good: dict[str, Tensor] | None
) -> str | None:
    """Return the part of the model in which the first value that is not finite appears.

    The batch is passed through again with the weights of the last checkpoint, or, where it
    does no harm to those, with today's; None if neither shows it.
    """
    model = copy.deepcopy(trainee.model)
    for weights in (good, trainee.model.state_dict()):
        if weights is None:
            continue
        model.load_state_dict(weights)
        model.train()
        generator = torch.Generator(trainee.noise.device).manual_seed(0)
        seen: list[str] = []
        handles = [watch(part, name, seen) for name, part in parts(model)]
        total = forward_loss(spec, model, batch, generator).total
        for handle in handles:
            handle.remove()
        if seen:
            return seen[0]
        if not total.isfinite():
            return "objective"
    return None


def parts(model: SlotModel) -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a model that are modules, in the order in which data passes them."""
    for name in PARTS:
        part = getattr(model, name)
        if isinstance(part, nn.Module):
            yield name, part


def watch(part: nn.Module, name: str, seen: list[str]) -> Any:
    """Add `name` to `seen` when the part returns a value that is not finite."""

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if any(not tensor.isfinite().all() for tensor in tensors_of(output)):
            seen.append(name)

    return part.register_forward_hook(look)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the floating tensors of a part's output: a tensor, or a dataclass of such."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_of(getattr(value, name))
