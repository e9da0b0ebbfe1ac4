"""What a training would take on this device: a few steps on random images, before any data is read."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from slotlab.framework.contracts import Batch
from slotlab.framework.cost.device import free_memory, peak_memory, wait
from slotlab.framework.cost.tally import operations_of, planned_images
from slotlab.framework.data.loader import normalize
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.runs.provenance import describe_device
from slotlab.framework.system.allocator import keeping_memory
from slotlab.framework.training.loop import begin_phase, train_step
from slotlab.framework.training.plan import Plan
from slotlab.framework.training.state import Trainee, seeded
from slotlab.registry import SlotlabError

BUDGET = 30.0
"""Seconds that the timed steps may take; on a CPU the batch is made smaller until they do."""
_STEPS = 3
OUT_OF_MEMORY = (torch.cuda.OutOfMemoryError, MemoryError)


@dataclass(frozen=True)
class Trial:
    """What a few steps at one batch size took."""

    batch_size: int
    step_seconds: float
    memory: int
    """Most bytes held."""


@dataclass
class Bench:
    """Training steps of a spec's model on random images, at any batch size."""

    engine: Engine
    trainee: Trainee
    step: Callable[[Batch], None]

    @classmethod
    def of(cls, engine: Engine) -> "Bench":
        """Build the model and its first optimizer, as a training does."""
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
        """Time some steps after one that warms up.

        Raises:
            OutOfMemoryError, MemoryError: if the batch does not fit.
        """
        device = self.engine.device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        batch = random_batch(self.engine, batch_size)
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
            pass  # and let go of the error, which holds the step's tensors
        self.trainee.model.zero_grad(set_to_none=True)
        return None

    def fits(self, batch_size: int) -> bool:
        """Return whether one step at a batch size finds memory enough."""
        return self.attempt(batch_size, steps=0) is not None

    def checkpoint_bytes(self) -> int:
        """Return the size of a checkpoint, after the first step."""
        buffer = io.BytesIO()
        torch.save(self.trainee.state(), buffer)
        return buffer.tell()


def void(value: object) -> None:
    """Drop what a step returns, so that the next one finds its memory free."""


def random_batch(engine: Engine, batch_size: int) -> Batch:
    """Return random images of the size that the model sees."""
    side, device = engine.spec.data.image_size, engine.device
    stream = torch.Generator(device).manual_seed(0)
    shape = (batch_size, 3, side, side)
    raw_BCHW = torch.randint(0, 256, shape, generator=stream, device=device, dtype=torch.uint8)
    images_BCHW = normalize(raw_BCHW, engine.spec.data.bounds)
    images_BCHW = images_BCHW.contiguous(memory_format=engine.memory_format)
    return Batch(images_BCHW=images_BCHW, masks_BHW=None, ids=("random",) * batch_size)


def largest(fits: Callable[[int], bool], below: int) -> int:
    """Return the largest batch size under `below`, which does not fit, that does; 0 if none does."""
    low, high = 0, below
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Measured:
    """What the trials found, at the spec's batch size or brought up to it from a smaller one."""

    trial: Trial | None
    """None if not even one image fits."""
    step_seconds: float | None
    memory: int | None
    checkpoint_bytes: int
    largest_batch: int | None = None
    """The most images that fit into memory, where the spec's batch does not."""


def measure(engine: Engine, *, budget: float = BUDGET) -> Measured:
    """Time a few training steps; the model is thrown away."""
    spec, wanted = engine.spec, engine.spec.training.batch_size
    kept = keeping_memory(engine.device, enabled=spec.training.speed.keep_memory)
    with precise(spec), kept, seeded(spec.seed):
        bench = Bench.of(engine)
        if engine.device.type == "cpu":
            return measure_growing(bench, wanted, budget)
        trial, most = bench.attempt(wanted), None
        if trial is None:
            most = largest(bench.fits, wanted)
            trial = bench.run(most) if most else None
        return scaled(trial, wanted, bench.checkpoint_bytes(), most)


def measure_growing(bench: Bench, wanted: int, budget: float) -> Measured:
    """Double the batch from one image as long as time and memory allow; scale the rest.

    A system that lends more memory than it has ends a process that uses it, so that memory is
    reckoned from smaller batches instead of tried.
    """
    begun, empty = time.perf_counter(), peak_memory(bench.engine.device)
    trial = bench.run(1, steps=1)
    each = trial.memory - empty
    while trial.batch_size < wanted:
        size = min(2 * trial.batch_size, wanted)
        ahead = trial.step_seconds * size / trial.batch_size * (1 + _STEPS)
        room = free_memory(bench.engine.device)
        if time.perf_counter() - begun + ahead > budget:
            break
        if room is not None and each * (size - trial.batch_size) > room / 2:
            break
        trial = bench.run(size)
        each = (trial.memory - empty) // trial.batch_size
    memory = trial.memory + each * (wanted - trial.batch_size)
    most, room = None, free_memory(bench.engine.device)
    if room is not None and each and memory - trial.memory > room:
        most = trial.batch_size + room // each
    found = scaled(trial, wanted, bench.checkpoint_bytes(), most)
    return Measured(found.trial, found.step_seconds, memory, found.checkpoint_bytes, most)


def scaled(trial: Trial | None, wanted: int, checkpoint_bytes: int, most: int | None) -> Measured:
    """Bring a trial's time up to the wanted batch size; memory is as measured."""
    if trial is None:
        return Measured(None, None, None, checkpoint_bytes, most)
    seconds = trial.step_seconds * wanted / trial.batch_size
    return Measured(trial, seconds, trial.memory, checkpoint_bytes, most)


def estimate(engine: Engine, num_images: int, *, budget: float = BUDGET) -> dict[str, Any]:
    """Return what training a spec on `num_images` images would take, as JSON-ready data.

    Reading data, validation and checkpoints come on top of the time.
    """
    spec = engine.spec
    plan, images = Plan.of(spec, num_images), planned_images(spec, num_images)
    found = measure(engine, budget=budget)
    operations = operations_of(spec)
    each, batch = operations["flops_per_image"], spec.training.batch_size
    speed = None if found.step_seconds is None else batch / found.step_seconds
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


def warnings(found: Measured, batch: int) -> list[str]:
    """Say what will not do, and what was reckoned instead of measured."""
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
    """Return the number of training images: as given, or of the data itself.

    Raises:
        SlotlabError: if it is not given and the data cannot be opened.
    """
    if given is not None:
        return given
    try:
        return opened()
    except (SlotlabError, OSError) as error:
        text = f"the number of training images is not known without the data; give --images N ({error})"
        raise SlotlabError(text) from None
