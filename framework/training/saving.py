"""When a checkpoint is due, and how a training ends that is asked to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.checkpoints import Checkpoints, Value
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.spec.training import CheckpointSpec
from slotlab.framework.system.stop_signals import StopRequest
from slotlab.framework.training.learning_rates import rates
from slotlab.framework.training.state import Trainee


@dataclass
class Keeper:
    """Writes a checkpoint when one is due, and ends the training once a stop was requested."""

    engine: Engine
    run: RunFolder
    stop: StopRequest
    total_steps: int
    higher_is_better: bool = False
    """Whether a greater value of the compared metric makes a better checkpoint."""
    check: Callable[[Trainee], None] = lambda trainee: None
    """Raises if the training is in a state that must not be saved."""
    saved_at: float = field(default_factory=time.monotonic)
    epochs: int = 0
    """Epochs since the last checkpoint."""
    agreed_signal: int | None = None
    """The signal that all processes knew of when they last agreed. A later one waits for the next time: a
    process that obeyed it now would leave the others waiting for it."""
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoints = self.run.checkpoints

    def after_step(self, trainee: Trainee) -> None:
        """Save in the middle of an epoch if a checkpoint is due, or a stop was requested."""
        agreed = self._agreed(self._is_time() or self.stop.signal is not None, trainee)
        if agreed or self._is_step(trainee):
            self._save(trainee)
        if self.agreed_signal is not None:
            self.stop.obey(self.run.path)
        self.stop.halt(self.run.path, trainee.step)

    def after_epoch(self, trainee: Trainee, value: float | None) -> None:
        """Save at the end of an epoch if a checkpoint is due.

        `value` is the value by which checkpoints are compared; None if there was no validation.
        """
        self.epochs += 1
        last = trainee.step == self.total_steps
        enough = self.settings.every_epochs is not None and self.epochs >= self.settings.every_epochs
        best = self.engine.from_first(self._best(value))
        wanted = last or enough or best is not None or self._is_time() or self.stop.signal is not None
        if not self._agreed(wanted or self._is_step(trainee), trainee, always=True):
            return
        self._save(trainee, best)
        if not last and self.agreed_signal is not None:
            self.stop.obey(self.run.path)
        if not last:
            self.stop.halt(self.run.path, trainee.step)

    @property
    def settings(self) -> CheckpointSpec:
        """The spec's settings of checkpoints."""
        return self.engine.spec.training.checkpoint

    def _best(self, value: float | None) -> Value | None:
        """Return a value with its metric if it is the best so far, else None."""
        if value is None or self.settings.best is None:
            return None
        new = Value(self.settings.best, value)
        better = self.checkpoints.is_better(new, higher=self.higher_is_better)
        return new if better else None

    def _is_step(self, trainee: Trainee) -> bool:
        # All processes have the same count, so they need not agree.
        every = self.settings.every_steps
        return self.stop.is_halt(trainee.step) or (every is not None and trainee.step % every == 0)

    def _is_time(self) -> bool:
        minutes = self.settings.every_minutes
        return minutes is not None and time.monotonic() - self.saved_at > 60 * minutes

    def _agreed(self, wanted: bool, trainee: Trainee, *, always: bool = False) -> bool:
        # Each process has its own clock and signals. They agree only at log lines and at the end of
        # epochs, since an exchange at each step would delay the devices.
        self.agreed_signal = None
        if self.engine.processes == 1:
            self.agreed_signal = self.stop.signal
            return wanted or self.agreed_signal is not None
        if not always and trainee.step % self.engine.spec.training.log_every:
            return False
        self.agreed_signal = max(self.engine.gather([self.stop.signal or 0])) or None
        if self.agreed_signal is not None:
            self.stop.signal = self.agreed_signal
        return any(self.engine.gather([wanted or self.agreed_signal is not None]))

    def _save(self, trainee: Trainee, best: Value | None = None) -> None:
        self.check(trainee)
        # All processes have the same state: the first writes it, and the others wait.
        if self.engine.is_first:
            state = trainee.state() | {"rates": rates(self.engine.spec, trainee.phase)}
            state |= MetricsLog(self.run.metrics).saved()
            one = self.checkpoints.save(state, keep=self.settings.keep, best=best)
            self.run.note_checkpoint(one.step)
        self.engine.wait()
        self.saved_at, self.epochs = time.monotonic(), 0
