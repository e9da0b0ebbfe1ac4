"""What optimizers, schedules and trackers are told, and what a tracker does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch


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
    """For trackers: the run that is told about."""

    folder: Path
    """The run's folder."""
    name: str
    """The experiment's name."""
    run_id: str
    """Names this training and no other; the same after each resume."""
    settings: Mapping[str, Any]
    """The whole spec, as data that JSON can hold."""
    resumed_from: int | None = None
    """The step that the training goes on from; None at its beginning."""


class Tracker(Protocol):
    """Passes on what a training logs: to a server, or to files of another shape.

    Each name comes at rising steps and at no step twice, also over resumes. A call that
    raises ends the tracker, not the training. Only the first of several processes has one.
    """

    forgets: bool
    """Whether what was told after the step that a training goes on from is forgotten: it is
    told again then, and otherwise not."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by name (`train/loss`, `validation/ari`), all finite, of one step."""

    def figure(self, name: str, path: Path) -> None:
        """Take a picture (PNG) of the step that was told last."""

    def close(self, *, failed: bool) -> None:
        """Write out what is held back; `failed` if the training did not come to its end."""
