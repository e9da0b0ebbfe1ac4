"""What starts, optimizers, schedules and trackers receive when they are built, and what a tracker does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch


@dataclass(frozen=True, kw_only=True)
class StartContext:
    """For starts: the model that gets the weights."""

    shapes: Mapping[str, tuple[int, ...]]
    """The shape of each weight and buffer of the model, by its name in `model.state_dict()`."""


@dataclass(frozen=True, kw_only=True)
class OptimizerContext:
    """For optimizers: the parameters and the phase's learning rate."""

    params: Sequence[torch.nn.Parameter] | Sequence[dict[str, Any]]
    """Parameters, or groups of them as torch's optimizers take: `{"params": [...], "lr": ...}`."""
    lr: float
    fused: bool = False
    """Whether to run in one kernel, where the optimizer can."""


@dataclass(frozen=True, kw_only=True)
class ScheduleContext:
    """For schedules: the optimizer to drive, and how often it will be stepped in the phase."""

    optimizer: torch.optim.Optimizer
    total_steps: int


@dataclass(frozen=True, kw_only=True)
class TrackerContext:
    """For trackers: the run that is tracked."""

    folder: Path
    """The run's folder."""
    name: str
    """The experiment's name."""
    run_id: str
    """Identifies this training alone; the same after each resume."""
    settings: Mapping[str, Any]
    """The whole spec, as data that JSON can hold."""
    resumed_from: int | None = None
    """The step that the training resumes from; None at its beginning."""


class Tracker(Protocol):
    """Passes on what a training logs: to a server, or to files in another format.

    The steps of each name rise and never repeat, resumes included. A call that raises ends
    the tracker, not the training. Only the first of several processes has a tracker.
    """

    forgets: bool
    """Whether the tracker forgets, on a resume, what was logged after the step that the training resumes
    from: it is then logged again, and otherwise not."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by name (`train/loss`, `validation/ari`), all finite, of one step."""

    def figure(self, name: str, path: Path) -> None:
        """Take a picture (PNG) of the last logged step."""

    def close(self, *, failed: bool) -> None:
        """Write out what is buffered; `failed` if the training did not reach its end."""


@runtime_checkable
class TakesImages(Tracker, Protocol):
    """A tracker that shows how a picture changes during a training. Others are told nothing of these."""

    def image(self, name: str, step: int, path: Path) -> None:
        """Take a picture (PNG) of one step, by a name that stays the same: `watch/pictures`."""
