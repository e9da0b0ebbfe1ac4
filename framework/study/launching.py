"""What launchers receive and return: the contract of their kind.

Kept apart from `contracts`, which imports torch: a launcher's helper that starts a training on
another machine needs neither the time nor the memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class LauncherContext:
    """For launchers: the study whose runs they start."""

    folder: Path
    """The study's folder, for the launcher's own files."""
    name: str
    """The study's name."""


RETRY = 75
"""Exit code of a command that was asked to end, or whose machine went away: it can be started again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command that trains one run. Started again, it resumes from the run's checkpoint."""

    name: str
    """The name that is shown to users."""
    command: tuple[str, ...]
    """Program and arguments; paths are absolute."""
    log: Path
    """The file to which the command's output is appended."""


class Task(Protocol):
    """A job that a launcher has started or queued."""

    def poll(self) -> int | None:
        """Return the exit code; None while the job waits or runs, `RETRY` if its machine went away.

        Codes below zero are signals, as in `subprocess`.
        """

    def stop(self) -> None:
        """Ask the job to save and end (SIGTERM), or never to start. Returns at once."""


class Launcher(Protocol):
    """Starts commands somewhere, and reports when they have ended. All machines see the same files."""

    at_once: int | None
    """How many jobs to start at a time; None for all, where the launcher has a queue itself."""

    def start(self, job: Job) -> Task:
        """Start a job, or queue it.

        Raises:
            SlotlabError: if nothing can be started at all.
        """

    def close(self) -> None:
        """Release what was opened; all jobs have ended or were stopped."""
