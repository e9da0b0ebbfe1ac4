"""Requests to stop: Ctrl-C and SIGTERM are noted, and the training loop checks for them where it can save."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from slotlab.registry import SlotlabError


class TrainingStopped(SlotlabError):  # noqa: N818 - the user's wish, not a mistake
    """The user ended a training by Ctrl-C. The command exits with 130, as a shell expects."""

    exit_code = 130


class TrainingPreempted(SlotlabError):  # noqa: N818 - the scheduler's wish, not a mistake
    """SIGTERM ended a training, which was saved. Exit code 75: try again later (sysexits.h)."""

    exit_code = 75


class TrainingHalted(SlotlabError):  # noqa: N818 - the user's wish, not a mistake
    """A training reached the step until which it was asked for, and was saved."""

    exit_code = 0


@dataclass
class StopRequest:
    """The signal that asked the training to stop; None if there was none."""

    signal: int | None = None
    until: int | None = None
    """The step after which the training is saved and ends; None for its last."""

    def is_halt(self, step: int) -> bool:
        """Return whether the training was asked for until this step, or an earlier one."""
        return self.until is not None and step >= self.until

    def halt(self, run: Path, step: int) -> None:
        """End the training of `run`, which is saved, if it was asked for until this step.

        Raises:
            TrainingHalted: if it was.
        """
        if self.is_halt(step):
            raise TrainingHalted(f"trained until step {step} and saved, as asked; it can go on ({run})")

    def obey(self, run: Path) -> None:
        """End the training of `run`, which has just been saved, if it was asked to.

        Raises:
            TrainingStopped: after Ctrl-C.
            TrainingPreempted: after SIGTERM.
        """
        again = f"the same command goes on from here ({run})"
        if self.signal == signal.SIGINT:
            raise TrainingStopped(f"training stopped and saved; {again}")
        if self.signal is not None:
            raise TrainingPreempted(f"training was asked to end by SIGTERM, and saved; {again}")


def heeded(*numbers: signal.Signals) -> tuple[signal.Signals, ...]:
    """Return those signals that this process does not ignore.

    Started by `nohup` it ignores SIGHUP, and started by a script with `&` it ignores Ctrl-C: that stays so.
    """
    return tuple(number for number in numbers if signal.getsignal(number) != signal.SIG_IGN)


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Note Ctrl-C and SIGTERM instead of stopping at once; a second Ctrl-C stops at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = number

    before = {number: signal.signal(number, note) for number in heeded(signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
