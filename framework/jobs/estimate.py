"""Estimate the cost of a training on this device by a few steps on random images, without reading data."""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from slotlab.framework.contracts import Batch, Field
from slotlab.framework.cost.device import free_memory, peak_memory, wait
from slotlab.framework.cost.tally import operations_of, planned_images
from slotlab.framework.data.pixels import normalize
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.needs import blank_fields
from slotlab.framework.runs.provenance import describe_device
from slotlab.framework.system.allocator import keeping_memory
from slotlab.framework.training.loop import begin_phase, train_step
from slotlab.framework.training.plan import Plan
from slotlab.framework.training.state import Trainee, seeded
from slotlab.registry import SlotlabError

BUDGET = 30.0
"""Seconds that the timed steps may take; on a CPU a smaller batch is timed if necessary."""
_STEPS = 3
OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)


@dataclass(frozen=True)
class Trial:
    """The time and memory of a few steps at one batch size."""

    batch_size: int
    step_seconds: float
    memory: int
    """Peak memory in bytes."""


@dataclass
class TrialTraining:
    """Training steps of a spec's model on random images, at any batch size."""

    engine: Engine
    trainee: Trainee
    step: Callable[[Batch], None]

    @classmethod
    def of(cls, engine: Engine) -> "TrialTraining":
        """Build the model and its first phase's optimizer, as a training does."""
        spec = engine.spec
        model = engine.place(build_model(spec))
        trainee = Trainee.of(spec, model, engine.device)
        wrapped = engine.wrap(model)
        plan = Plan.of(spec, spec.training.batch_size)
        trainee.optimizer, trainee.schedule = begin_phase(engine, model, None, plan, 0)
        optimizer = engine.wrap_optimizer(trainee.optimizer)
        model.train()
        return cls(
            engine, trainee, lambda batch: void(train_step(engine, trainee, wrapped, optimizer, batch))
        )

    def run(self, batch_size: int, *, steps: int = _STEPS) -> Trial:
        """Time some steps, after one step to warm up.

        Raises:
            OutOfMemoryError, MemoryError: if the batch does not fit.
        """
        device = self.engine.device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        batch = random_batch(self.engine, batch_size, self.trainee.model.fields)
        seconds = []
        for _ in range(1 + steps):
            begun = time.perf_counter()
            self.step(batch)
            wait(device)
            seconds.append(time.perf_counter() - begun)
        return Trial(batch_size, min(seconds[1:] or seconds), peak_memory(device))

    def attempt(self, batch_size: int, *, steps: int = _STEPS) -> Trial | None:
        """Do the same, and return None if the batch does not fit."""
        try:
            return self.run(batch_size, steps=steps)
        except OUT_OF_MEMORY:
            pass  # and release the error, which references the step's tensors
        self.trainee.model.zero_grad(set_to_none=True)
        return None

    def fits(self, batch_size: int) -> bool:
        """Return whether the memory suffices for one step at a batch size."""
        return self.attempt(batch_size, steps=0) is not None

    def checkpoint_bytes(self) -> int:
        """Return the size of a checkpoint, after the first step."""
        buffer = io.BytesIO()
        torch.save(self.trainee.state(), buffer)
        return buffer.tell()


def void(value: object) -> None:
    """Drop the result of a step, so that its memory is free for the next one."""


def random_batch(engine: Engine, batch_size: int, fields: Sequence[Field] = ()) -> Batch:
    """Return random images, or clips, float in the spec's value range, on the engine's device.

    Those of the `fields` that losses read are zeros.
    """
    device, frames = engine.device, engine.spec.data.frames
    stream = torch.Generator(device).manual_seed(0)
    shape = (batch_size * frames, 3, *engine.spec.data.size)
    raw_BCHW = torch.randint(0, 256, shape, generator=stream, device=device, dtype=torch.uint8)
    images_BCHW = normalize(raw_BCHW, engine.spec.data.bounds)
    images_BCHW = images_BCHW.contiguous(memory_format=engine.memory_format)
    masks_BHW = torch.zeros(len(raw_BCHW), *engine.spec.data.size, dtype=torch.int64, device=device)
    return Batch(
        images_BCHW=images_BCHW,
        masks_BHW=masks_BHW,
        ids=("random",) * batch_size,
        frames=frames,
        fields=blank_fields(fields, images_BCHW),
    )


def largest(fits: Callable[[int], bool], below: int) -> int:
    """Return the largest batch size below `below` (which does not fit) that fits; 0 if none does."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class StepCost:
    """The cost of a step at the spec's batch size, measured or scaled up from a smaller batch."""

    trial: Trial | None
    """What was measured; None if not even one image fits."""
    step_seconds: float | None
    memory: int | None
    checkpoint_bytes: int
    largest_batch: int | None = None
    """The largest batch that fits into memory, if the spec's does not."""


def measure(engine: Engine, *, budget: float = BUDGET) -> StepCost:
    """Time a few training steps of a new model, which is discarded."""
    spec, wanted = engine.spec, engine.spec.training.batch_size
    kept = keeping_memory(engine.device, enabled=spec.training.speed.keep_memory)
    with precise(spec), kept, seeded(spec.seed):
        trials = TrialTraining.of(engine)
        if engine.device.type == "cpu":
            return measure_growing(trials, wanted, budget)
        trial, most = trials.attempt(wanted), None
        if trial is None:
            most = largest(trials.fits, wanted)
            trial = trials.run(most) if most else None
        return scaled(trial, wanted, trials.checkpoint_bytes(), most)


def measure_growing(trials: TrialTraining, wanted: int, budget: float) -> StepCost:
    """Double the batch, from one image on, as long as time and memory allow; extrapolate the rest.

    A system that overcommits memory kills a process that uses too much, so that memory is
    extrapolated from smaller batches instead of tried.
    """
    begun, empty = time.perf_counter(), peak_memory(trials.engine.device)
    trial = trials.run(1, steps=1)
    each = trial.memory - empty
    while trial.batch_size < wanted:
        size = min(2 * trial.batch_size, wanted)
        ahead = trial.step_seconds * size / trial.batch_size * (1 + _STEPS)
        room = free_memory(trials.engine.device)
        if time.perf_counter() - begun + ahead > budget:
            break
        if room is not None and each * (size - trial.batch_size) > room / 2:
            break
        trial = trials.run(size)
        each = (trial.memory - empty) // trial.batch_size
    memory = trial.memory + each * (wanted - trial.batch_size)
    most, room = None, free_memory(trials.engine.device)
    if room is not None and each and memory - trial.memory > room:
        most = trial.batch_size + room // each
    found = scaled(trial, wanted, trials.checkpoint_bytes(), most)
    return StepCost(found.trial, found.step_seconds, memory, found.checkpoint_bytes, most)


def scaled(trial: Trial | None, wanted: int, checkpoint_bytes: int, most: int | None) -> StepCost:
    """Scale a trial's time to the wanted batch size; memory is as measured."""
    if trial is None:
        return StepCost(None, None, None, checkpoint_bytes, most)
    seconds = trial.step_seconds * wanted / trial.batch_size
    return StepCost(trial, seconds, trial.memory, checkpoint_bytes, most)


def estimate(engine: Engine, num_images: int, *, budget: float = BUDGET) -> dict[str, Any]:
    """Return the estimated cost of training a spec on `num_images` images, as JSON-ready data.

    The time does not include reading data, validation and checkpoints.
    """
    spec = engine.spec
    plan, images = Plan.of(spec, num_images), planned_images(spec, num_images)
    found = measure(engine, budget=budget)
    operations = operations_of(spec)
    each, batch = operations["flops_per_image"], spec.training.batch_size
    speed = None if found.step_seconds is None else batch * spec.data.frames / found.step_seconds
    return {
        "name": spec.name,
        "device": describe_device(engine.device),
        "precision": spec.training.precision,
        "training_images": num_images,
        "steps": plan.total,
        "images": images,
        "batch_size": batch,
        "measured_batch_size": None if found.trial is None else found.trial.batch_size,
        "images_per_second": speed,
        "seconds": None if speed is None else images / speed,
        "memory": found.memory,
        "memory_of": "tensors on the GPU" if engine.device.type == "cuda" else "the process",
        "checkpoint_bytes": found.checkpoint_bytes,
        **operations,
        "flops": None if each is None else each * images,
        "largest_batch": found.largest_batch,
        "warnings": warnings(found, batch),
    }


def warnings(found: StepCost, batch: int) -> list[str]:
    """Return warnings: a batch that does not fit, and a time that was extrapolated."""
    texts = []
    if found.largest_batch is not None:
        hint = "lower training.batch_size, or set training.accumulate or training.speed.recompute"
        most = f"{found.largest_batch} at most" if found.largest_batch else "not even one image"
        texts.append(f"a batch of {batch} does not fit into memory ({most}); {hint}")
    if found.trial is not None and found.trial.batch_size < batch:
        size = found.trial.batch_size
        texts.append(f"measured at a batch of {size} and scaled to {batch}; larger batches are often faster")
    return texts


def count_images(given: int | None, opened: Callable[[], int]) -> int:
    """Return the number of training images: the given one, or that of the data.

    Raises:
        SlotlabError: if none is given and the data cannot be opened.
    """
    if given is not None:
        return given
    try:
        return opened()
    except (SlotlabError, OSError) as error:
        text = f"the number of training images is not known without the data; give --images N ({error})"
        raise SlotlabError(text) from None
