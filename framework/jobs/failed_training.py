"""How a training ends by an error: the status of its run, and what the user reads."""

from collections.abc import Iterator
from contextlib import contextmanager

from slotlab.framework.cost.tally import Tally
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.system.stop_signals import TrainingHalted, TrainingPreempted, TrainingStopped


@contextmanager
def noting_errors(engine: Engine, run: RunFolder, tally: Tally) -> Iterator[None]:
    """Write the time and energy so far, and the run's status, if an error ends the block.

    Raises:
        TrainingStopped: in place of KeyboardInterrupt, which the second Ctrl-C raises.
    """
    try:
        yield
    except BaseException as error:
        tally.note(always=True)
        note_end(engine, run, error)
        if isinstance(error, KeyboardInterrupt):
            raise TrainingStopped(stop_message(run)) from None
        raise


def note_end(engine: Engine, run: RunFolder, error: BaseException) -> None:
    """Write how an error ended a run. If several processes fail, the first to fail gives the reason."""
    state, reason = ending(error)
    first_to_fail = state == "failed" and run.read_status().get("state") == "running"
    if first_to_fail or (engine.is_first and state != "failed"):
        run.write_status(state, reason)


def ending(error: BaseException) -> tuple[str, str]:
    """Return the state of a run that ended by an error, and the reason."""
    if isinstance(error, KeyboardInterrupt | TrainingStopped):
        return "stopped", "by Ctrl-C"
    if isinstance(error, TrainingPreempted):
        return "stopped", "by SIGTERM"
    if isinstance(error, TrainingHalted):
        return "stopped", "at the step until which it was asked for"
    return "failed", str(error) or type(error).__name__


def stop_message(run: RunFolder) -> str:
    """Return what remains of a training that was stopped at once."""
    saved = run.checkpoints.all()
    if not saved:
        return f"training stopped before anything was saved in {run.path}"
    return f"training stopped at once; the same command goes on from step {saved[0].step} ({run.path})"
