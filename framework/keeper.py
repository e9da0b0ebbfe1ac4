"""When a checkpoint is due, and what is done when a training is asked to stop."""

import time
from dataclasses import dataclass, field

from slotlab.framework.checkpoint import Checkpoint
from slotlab.framework.engine import Engine
from slotlab.framework.interruptions import StopRequest
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.training import CheckpointSpec
from slotlab.framework.trainee import Trainee
from slotlab.framework.validation import Validation


@dataclass
class Keeper:
    """Decides when a checkpoint is due, and ends the training when it was asked to."""

    engine: Engine
    run: RunFolder
    stop: StopRequest
    total_steps: int
    validation: Validation | None = None
    saved_at: float = field(default_factory=time.monotonic)
    epochs: int = 0
    """Epochs since the last checkpoint."""

    def after_step(self, trainee: Trainee) -> None:
        """Save in the middle of an epoch if it is time, or the training was asked to stop."""
        due = self.settings
        by_steps = due.every_steps is not None and trainee.step % due.every_steps == 0
        if self._agreed(by_steps or self._is_time() or self.stop.signal is not None, trainee):
            self._save(trainee)
            self.stop.obey(self.run.path)

    def after_epoch(self, trainee: Trainee, value: float | None) -> None:
        """Save at the end of an epoch if it is time.

        `value` is what checkpoints are compared by; None if the model was not validated.
        """
        self.epochs += 1
        last = trainee.step == self.total_steps
        enough = self.settings.every_epochs is not None and self.epochs >= self.settings.every_epochs
        better = self.engine.from_first(self._is_better(value))
        wanted = last or enough or better or self._is_time() or self.stop.signal is not None
        if not self._agreed(wanted, trainee, always=True):
            return
        one = self._save(trainee)
        if better and value is not None and self.settings.best is not None and one is not None:
            self.run.checkpoints.mark_best(one, self.settings.best, value)
        if not last:
            self.stop.obey(self.run.path)

    @property
    def settings(self) -> CheckpointSpec:
        """When the spec wants checkpoints."""
        return self.engine.spec.training.checkpoint

    def _is_better(self, value: float | None) -> bool:
        if value is None or self.settings.best is None or self.validation is None:
            return False
        higher = self.validation.higher_is_better
        return self.run.checkpoints.is_better(self.settings.best, value, higher=higher)

    def _is_time(self) -> bool:
        minutes = self.settings.every_minutes
        return minutes is not None and time.monotonic() - self.saved_at > 60 * minutes

    def _agreed(self, wanted: bool, trainee: Trainee, *, always: bool = False) -> bool:
        # Processes have clocks and signals of their own. They agree at every log line and epoch's
        # end only, since asking each step would hold up the devices.
        if self.engine.processes == 1:
            return wanted
        if not always and trainee.step % self.engine.spec.training.log_every:
            return False
        signals = self.engine.gather([self.stop.signal or 0])
        self.stop.signal = max(signals) or None
        return any(self.engine.gather([wanted or self.stop.signal is not None]))

    def _save(self, trainee: Trainee) -> Checkpoint | None:
        # All processes have the same state; the first writes it, and the others wait.
        one = None
        if self.engine.is_first:
            state = trainee.state() | {"log_bytes": self.run.log_bytes()}
            one = self.run.checkpoints.save(state, keep=self.settings.keep)
        self.engine.wait()
        self.saved_at, self.epochs = time.monotonic(), 0
        return one
