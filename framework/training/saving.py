"""When a checkpoint is due, and what is done when a training is asked to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.checkpoints import Checkpoints, Value
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.runs.metrics_log import MetricsLog
from slotlab.framework.spec.training import CheckpointSpec
from slotlab.framework.system.interruptions import StopRequest
from slotlab.framework.training.rates import rates
from slotlab.framework.training.state import Trainee
from slotlab.framework.training.validation import Validation


@dataclass
class Keeper:
    """Decides when a checkpoint is due, and ends the training when it was asked to."""

    engine: Engine
    run: RunFolder
    stop: StopRequest
    total_steps: int
    validation: Validation | None = None
    check: Callable[[Trainee], None] = lambda trainee: None
    """Raises if the training is not in a state that may be saved."""
    saved_at: float = field(default_factory=time.monotonic)
    epochs: int = 0
    """Epochs since the last checkpoint."""
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self.checkpoints = self.run.checkpoints

    def after_step(self, trainee: Trainee) -> None:
        """Save in the middle of an epoch if it is time, or the training was asked to stop."""
        agreed = self._agreed(self._is_time() or self.stop.signal is not None, trainee)
        if agreed or self._is_step(trainee):
            self._save(trainee)
        if agreed:
            self.stop.obey(self.run.path)

    def after_epoch(self, trainee: Trainee, value: float | None) -> None:
        """Save at the end of an epoch if it is time.

        `value` is what checkpoints are compared by; None if the model was not validated.
        """
        self.epochs += 1
        last = trainee.step == self.total_steps
        enough = self.settings.every_epochs is not None and self.epochs >= self.settings.every_epochs
        best = self.engine.from_first(self._best(value))
        wanted = last or enough or best is not None or self._is_time() or self.stop.signal is not None
        if not self._agreed(wanted or self._is_step(trainee), trainee, always=True):
            return
        self._save(trainee, best)
        if not last:
            self.stop.obey(self.run.path)

    @property
    def settings(self) -> CheckpointSpec:
        """When the spec wants checkpoints."""
        return self.engine.spec.training.checkpoint

    def _best(self, value: float | None) -> Value | None:
        """Return the value by which checkpoints are compared if it is the best so far."""
        if value is None or self.settings.best is None or self.validation is None:
            return None
        new = Value(self.settings.best, value)
        better = self.checkpoints.is_better(new, higher=self.validation.higher_is_better)
        return new if better else None

    def _is_step(self, trainee: Trainee) -> bool:
        # All processes count alike: they need not agree.
        every = self.settings.every_steps
        return every is not None and trainee.step % every == 0

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

    def _save(self, trainee: Trainee, best: Value | None = None) -> None:
        self.check(trainee)
        # All processes have the same state; the first writes it, and the others wait.
        if self.engine.is_first:
            state = trainee.state() | {"rates": rates(self.engine.spec, trainee.phase)}
            state |= MetricsLog(self.run.metrics).saved()
            one = self.checkpoints.save(state, keep=self.settings.keep, best=best)
            self.run.note_checkpoint(one.step)
        self.engine.wait()
        self.saved_at, self.epochs = time.monotonic(), 0
