"""When a checkpoint is due, and what is done when a training is asked to stop."""

import time
from dataclasses import dataclass, field

from slotlab.framework.checkpoint import Checkpoint
from slotlab.framework.interruptions import StopRequest
from slotlab.framework.run import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.trainee import Trainee


@dataclass
class Keeper:
    """Decides when a checkpoint is due, and ends the training when it was asked to."""

    spec: ExperimentSpec
    run: RunFolder
    stop: StopRequest
    total_steps: int
    higher_is_better: bool = False
    """Of the value that checkpoints are compared by."""
    saved_at: float = field(default_factory=time.monotonic)
    epochs: int = 0
    """Epochs since the last checkpoint."""

    def after_step(self, trainee: Trainee) -> None:
        """Save in the middle of an epoch if it is time, or the training was asked to stop."""
        due = self.spec.training.checkpoint
        by_steps = due.every_steps is not None and trainee.step % due.every_steps == 0
        if by_steps or self._is_time() or self.stop.signal is not None:
            self._save(trainee)
        self.stop.obey(self.run.path)

    def after_epoch(self, trainee: Trainee, value: float | None) -> None:
        """Save at the end of an epoch if it is time.

        `value` is what checkpoints are compared by; None if the model was not validated.
        """
        self.epochs += 1
        due = self.spec.training.checkpoint
        last = trainee.step == self.total_steps
        enough = due.every_epochs is not None and self.epochs >= due.every_epochs
        checkpoints = self.run.checkpoints
        better = (
            value is not None
            and due.best is not None
            and checkpoints.is_better(due.best, value, higher=self.higher_is_better)
        )
        if last or enough or better or self._is_time() or self.stop.signal is not None:
            one = self._save(trainee)
            if better and value is not None and due.best is not None:
                checkpoints.mark_best(one, due.best, value)
        if not last:
            self.stop.obey(self.run.path)

    def _is_time(self) -> bool:
        minutes = self.spec.training.checkpoint.every_minutes
        return minutes is not None and time.monotonic() - self.saved_at > 60 * minutes

    def _save(self, trainee: Trainee) -> Checkpoint:
        state = trainee.state() | {"log_bytes": self.run.log_bytes()}
        one = self.run.checkpoints.save(state, keep=self.spec.training.checkpoint.keep)
        self.saved_at, self.epochs = time.monotonic(), 0
        return one
