"""All that changes while a model is trained, and how it is saved and restored to the bit."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from slotlab.framework.model import SlotModel
from slotlab.framework.spec.schema import ExperimentSpec


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


@dataclass
class Trainee:
    """A model in training: weights, optimizer, schedule, random streams and how far it is."""

    model: SlotModel
    noise: Generator
    """Where the slots' noise comes from."""
    average: AveragedModel | None = None
    """The running mean of the weights (EMA), if the spec wants one."""
    optimizer: Optimizer | None = None
    schedule: LRScheduler | None = None
    step: int = 0
    """Optimizer steps done."""
    phase: int = 0
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches of the present epoch done."""
    lowest_loss: float = float("inf")
    """The lowest mean loss that was logged."""
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, spec: ExperimentSpec, model: SlotModel, device: torch.device) -> "Trainee":
        """Make one that has not begun."""
        average = None
        if spec.training.ema_decay is not None:
            average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(spec.training.ema_decay))
        return cls(model, Generator(device).manual_seed(spec.seed), average)

    @property
    def measured(self) -> SlotModel:
        """The model to validate: with averaged weights if there are such."""
        measured: Any = self.model if self.average is None else self.average.module
        found: SlotModel = measured
        return found

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
            "meter": {"total": self.meter.total, "images": self.meter.images},
            "model": self.model.state_dict(),
            "ema": None if self.average is None else self.average.module.state_dict(),
            "ema_updates": 0 if self.average is None else int(self.average.n_averaged),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "noise": self.noise.get_state(),
            "random": random_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state, all but optimizer and schedule, which the phase makes first."""
        self.step, self.phase = state["step"], state["phase"]
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.lowest_loss = state["lowest_loss"]
        total = state["meter"]["total"]
        device = self.noise.device
        self.meter = Meter(None if total is None else total.to(device), state["meter"]["images"])
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["ema"])
            self.average.n_averaged.fill_(state["ema_updates"])
        self.noise.set_state(state["noise"])

    def restore_phase(self, state: Mapping[str, Any]) -> None:
        """Take over the saved optimizer and schedule, and torch's, numpy's and Python's own streams."""
        assert self.optimizer is not None
        assert self.schedule is not None
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        set_random_state(state["random"])


def random_state() -> dict[str, Any]:
    """Return the state of every global random stream, which a plugin may draw from."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(words), spare],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put every global random stream back where it was."""
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():  # another machine has other streams
        torch.cuda.set_rng_state_all(state["cuda"])
    keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, spare = state["python"]
    random.setstate((version, tuple(words), spare))
