"""What launchers are told and what they give: the contract of their kind.

Apart from `contracts`, which imports torch: a launcher's helper that starts a training on
another machine needs neither the time nor the memory.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class LauncherContext:
    """For launchers: the study whose runs they start."""

    folder: Path
    """The study's folder, for files of the launcher's own."""
    name: str
    """The study's name."""


RETRY = 75
"""Exit code of a command that was asked to end, or whose machine went away: it can be given again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command that trains one run. Given again, it goes on from the run's checkpoint."""

    name: str
    """Names it for people."""
    command: tuple[str, ...]
    """Program and words; paths are absolute."""
    log: Path
    """What the command prints is added to this file."""


class Task(Protocol):
    """A job that was handed to a launcher."""

    def poll(self) -> int | None:
        """Return the exit code, None while the job waits or runs; `RETRY` for a machine that went away.

        Codes below zero are signals, as in `subprocess`.
        """

    def stop(self) -> None:
        """Ask the job to save and end (SIGTERM), or never to start. Returns at once."""


class Launcher(Protocol):
    """Starts commands somewhere, and says when they have ended. All machines see the same files."""

    at_once: int | None
    """How many jobs to hand over at a time; None for all: it has a queue of its own."""

    def start(self, job: Job) -> Task:
        """Start a job, or queue it.

        Raises:
            SlotlabError: if nothing can be started at all.
        """

    def close(self) -> None:
        """Let go of whatever was opened; jobs have ended or were stopped."""
