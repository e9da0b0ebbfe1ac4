"""Everything that changes during a training, and how it is saved and restored bit by bit."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slotlab.framework.contracts import Model
from slotlab.framework.model.anneal import anneal, load_state
from slotlab.framework.randomness.seeds import mix
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.learning_rates import take_over

_NOISE = 0x510
"""Separates the slots' noise from other streams of the same seed."""


@dataclass
class Meter:
    """Measures the speed since the last reading."""

    images: int = 0
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block from the speed."""
        before = time.perf_counter()
        yield
        self.started += time.perf_counter() - before

    def read(self) -> float:
        """Return images per second since the last reading, and start again."""
        seconds = time.perf_counter() - self.started
        speed = self.images / max(seconds, 1e-9)
        self.images, self.started = 0, time.perf_counter()
        return speed


@dataclass(frozen=True)
class Step:
    """One step: the images it was trained on, and its loss, still on the device."""

    number: int
    epoch: int
    positions: list[int]
    """The positions of the batch's images in the training split, over all processes."""
    loss: Tensor
    """This process's part of the batch's mean loss, which is the sum of the parts."""


@dataclass
class Trainee:
    """A model in training: weights, optimizer, schedule, random streams and progress.

    Annealed attributes, of the model and of its averaged copy, always have the values of the next step.
    """

    spec: ExperimentSpec
    model: Model
    noise: Generator
    """Draws the slots' noise."""
    average: AveragedModel | None = None
    """The exponential moving average (EMA) of the weights, if the spec asks for one."""
    optimizer: Optimizer | None = None
    schedule: LRScheduler | None = None
    scaler: Any = None
    """The `GradScaler` of float16 (`Engine.scaler`); None in other precisions."""
    step: int = 0
    """Optimizer steps done."""
    phase: int = 0
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done in the current epoch."""
    lowest_loss: float = float("inf")
    """The lowest mean loss that was logged."""
    pending: list["Step"] = field(default_factory=list)
    """The steps since the last log line."""
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, spec: ExperimentSpec, model: Model, device: torch.device) -> "Trainee":
        """Return the state before the first step."""
        anneal(spec, model, 0)
        average = None
        if spec.training.ema_decay is not None:
            mean: Any = get_ema_multi_avg_fn(spec.training.ema_decay)  # type: ignore[no-untyped-call]
            average = AveragedModel(model, multi_avg_fn=mean)
        return cls(spec, model, Generator(device).manual_seed(spec.seed), average)

    @property
    def measured(self) -> Model:
        """The model to validate, with averaged weights if there are any."""
        measured: Any = self.model if self.average is None else self.average.module
        found: Model = measured
        return found

    def advance(self) -> None:
        """Count a step of the optimizer, and update the averaged weights and annealed attributes."""
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self.batch += 1
        anneal(self.spec, self.model, self.step)
        if self.average is not None:
            anneal(self.spec, self.measured, self.step)

    def seed_noise(self, rank: int) -> None:
        """Seed the noise of the next step, which depends on seed, step and process only."""
        self.noise.manual_seed(noise_seed(self.spec.seed, self.step, rank))

    def noise_of(self, step: int, rank: int) -> Generator:
        """Return the noise of the step after `step` steps again."""
        return Generator(self.noise.device).manual_seed(noise_seed(self.spec.seed, step, rank))

    def state(self) -> dict[str, Any]:
        """Return everything, as tensors and plain data."""
        assert self.optimizer is not None
        assert self.schedule is not None
        return {
            "step": self.step,
            "phase": self.phase,
            "epoch": self.epoch,
            "batch": self.batch,
            "lowest_loss": self.lowest_loss,
            "pending": [asdict(replace(step, loss=step.loss.cpu())) for step in self.pending],
            "model": self.model.state_dict(),
            "ema": None if self.average is None else self.average.module.state_dict(),
            "ema_updates": 0 if self.average is None else int(self.average.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "random": random_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state, except optimizer and schedule, which the phase must build first."""
        self.step, self.phase = state["step"], state["phase"]
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.lowest_loss = state["lowest_loss"]
        device = self.noise.device
        self.pending = [Step(**{**step, "loss": step["loss"].to(device)}) for step in state["pending"]]
        load_state(self.spec, self.model, state["model"], self.step)
        if self.average is not None:
            load_state(self.spec, self.measured, state["ema"], self.step)
            self.average.n_averaged.fill_(state["ema_updates"])

    def restore_phase(self, state: Mapping[str, Any]) -> None:
        """Restore the saved optimizer, schedule and scaler, and the streams of torch, numpy and Python.

        With `new_rates` the saved optimizer had other settings: only its moments are restored.
        """
        assert self.optimizer is not None
        assert self.schedule is not None
        if state.get("new_rates"):
            take_over(self.optimizer, self.schedule, state)
        else:
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
        if self.scaler is not None and state.get("scaler") is not None:  # older checkpoints have none
            self.scaler.load_state_dict(state["scaler"])
        set_random_state(state["random"])


def noise_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed of the noise in the step after `step` steps, for one process."""
    return mix(mix(mix(seed, _NOISE), step), rank)


def random_state() -> dict[str, Any]:
    """Return the state of every global random stream that a plugin may draw from."""
    state: Any = np.random.get_state(legacy=True)
    _, keys, position, has_gauss, gauss = state
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(words), spare],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the state of every global random stream."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():  # not on another machine
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, spare = state["python"]
    random.setstate((version, tuple(words), spare))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every global random stream that plugins may draw from, and restore them afterwards."""
    before = random_state()
    torch.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        set_random_state(before)
