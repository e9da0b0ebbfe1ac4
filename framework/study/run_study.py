"""Bring every run of a study to its end: start missing runs, and resume those that were stopped.

Run folders say what is done; this process only decides what to start next, and may be killed
at any time. It waits for a run that another study is training, and never trains it twice: a
study that starts a run holds its claim, and a training holds its folder.
"""

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from slotlab.framework.runs.folder import MODEL, RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.study.folder import StudyFolder
from slotlab.framework.study.launching import RETRY, Job, Launcher, Task
from slotlab.framework.study.run_status import Glance, WantedEvaluation, glance, reached
from slotlab.framework.system.locks import exclusive, is_held
from slotlab.framework.system.stop_signals import StopRequest, TrainingPreempted, TrainingStopped, listening
from slotlab.registry import SlotlabError

PATIENCE = 60.0
"""Seconds that runs have to save when the study is asked to end."""


class Startable(Protocol):
    """A run that can be started: one of an arm with a seed, or one that is trained before the arms."""

    @property
    def name(self) -> str:
        """The name that is shown to users."""

    @property
    def run_id(self) -> str:
        """Its identity."""

    @property
    def folder(self) -> Path:
        """Its folder, absolute."""

    @property
    def spec(self) -> ExperimentSpec:
        """What is trained."""

    @property
    def wanted(self) -> WantedEvaluation:
        """How it is to be evaluated."""


@dataclass
class Ticket:
    """A run on its way to its end."""

    run: Startable
    task: Task | None = None
    claim: ExitStack = field(default_factory=ExitStack)
    failures: int = 0
    step: int = 0
    """The step of the run when it was last started."""
    log_bytes: int = 0
    """Size of its log at that time, in bytes."""
    look_at: float = 0.0
    """When to check again whether another process has released it, in seconds of `time.monotonic`."""


@dataclass
class Conductor:
    """Starts the runs of one study through its launcher."""

    study: StudyFolder
    launcher: Launcher
    retries: int
    say: Callable[[str], None] = lambda text: None
    device: str = "auto"
    until: int | None = None
    """The step after which runs are saved and end; None for their last."""
    every: float = 0.2
    """Seconds between two checks."""
    queue: deque[Ticket] = field(default_factory=deque)
    running: list[Ticket] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Reasons of runs that failed for good, by run id."""

    def conduct(self, runs: Sequence[Startable]) -> None:
        """Bring runs to their end; those that fail for good are recorded, and the rest go on.

        Raises:
            TrainingStopped, TrainingPreempted: after Ctrl-C or SIGTERM, when all runs have saved.
        """
        self.queue = deque(Ticket(run) for run in runs)
        with listening() as stop:
            try:
                while (self.queue or self.running) and stop.signal is None:
                    self.start_some()
                    self.look()
                    time.sleep(self.every)
                if stop.signal is not None:
                    self.stop_all()
            except KeyboardInterrupt:  # the second Ctrl-C
                stop.signal = signal.SIGINT
            finally:
                for ticket in self.running:
                    if ticket.task is not None:
                        ticket.task.stop()
                    ticket.claim.close()
                self.launcher.close()
        self._obey(stop)

    def _obey(self, stop: StopRequest) -> None:
        again = f"the same command goes on from here ({self.study.path})"
        if stop.signal is not None:
            kind = TrainingStopped if stop.signal == signal.SIGINT else TrainingPreempted
            raise kind(f"the study was asked to end; {again}")

    def start_some(self) -> None:
        """Start runs from the queue while there is room; those that another process holds go to its end."""
        for _ in range(len(self.queue)):
            if self.launcher.at_once is not None and len(self.running) >= self.launcher.at_once:
                return
            ticket = self.queue.popleft()
            if ticket.look_at > time.monotonic() or not self.start(ticket):
                self.queue.append(ticket)

    def start(self, ticket: Ticket) -> bool:
        """Start a run, or find it done; return False if another process has it."""
        run = ticket.run
        try:
            claims = run.folder.parent / ".claims" / run.run_id
            claims.mkdir(parents=True, exist_ok=True)
            ticket.claim.enter_context(exclusive(claims, "claimed"))
        except SlotlabError:
            return self.wait_for(ticket)
        now = glance(run.folder, run.wanted)
        if now.state == "done" or (self.until is not None and reached(now, self.until)):
            ticket.claim.close()
            self.say(f"{run.name}: done by another study")
            return True
        if now.state == "running":  # by a process whose study was killed
            ticket.claim.close()
            return self.wait_for(ticket)
        log = self.study.log(run.run_id)
        ticket.step, ticket.log_bytes = now.step, log.stat().st_size if log.is_file() else 0
        ticket.task = self.launcher.start(self.job(run))
        self.running.append(ticket)
        self.say(f"{run.name}: {started(now)} ({run.run_id})")
        return True

    def wait_for(self, ticket: Ticket) -> bool:
        """Check a run again later, because another process has it."""
        if not ticket.look_at:
            self.say(f"{ticket.run.name}: another process has this run; waiting")
        ticket.look_at = time.monotonic() + 5 * self.every
        return False

    def job(self, run: Startable) -> Job:
        """Return the command that trains a run, resumes it, or evaluates it if it is trained."""
        spec = self.study.spec(run.run_id).absolute()
        words: tuple[str, ...] = ("train", str(spec), "--run", str(run.folder), "--device", self.device)
        words += () if self.until is None else ("--until", str(self.until))
        command = (sys.executable, "-m", "slotlab.framework.cli", *words)
        return Job(name=run.name, command=command, log=self.study.log(run.run_id).absolute())

    def look(self) -> None:
        """Deal with runs that have ended."""
        for ticket in list(self.running):
            assert ticket.task is not None
            code = ticket.task.poll()
            if code is not None:
                self.running.remove(ticket)
                self.ended(ticket, code)
                ticket.claim.close()

    def ended(self, ticket: Ticket, code: int) -> None:
        """Count a run as done, put it back into the queue, or record that it failed."""
        run = ticket.run
        now = glance(run.folder, run.wanted)
        if code == 0:
            self.say(f"{run.name}: {standing(now, self.until)}{measured(now)}")
            return
        if is_held(run.folder):  # someone trains it by hand: this is not a failure
            ticket.look_at = 0.0
            self.queue.append(ticket)
            return
        if code != RETRY or now.step <= ticket.step:
            ticket.failures += 1
        reason = why(now, code, self.study.log(run.run_id), ticket.log_bytes)
        if ticket.failures > self.retries:
            self.failures[run.run_id] = reason
            with suppress(OSError, SlotlabError):  # of a folder that cannot be written
                record_failure(run, now, reason)
            self.say(f"{run.name}: failed; {reason}")
        else:
            self.queue.append(ticket)
            self.say(
                f"{run.name}: {'asked to end' if code == RETRY else reason}; goes on from step {now.step}"
            )

    def stop_all(self) -> None:
        """Ask all runs to save and end, and wait for them."""
        self.say("saving; a second Ctrl-C ends at once")
        for ticket in self.running:
            assert ticket.task is not None
            ticket.task.stop()
        deadline = time.monotonic() + PATIENCE
        left = [ticket.task for ticket in self.running if ticket.task is not None]
        while left and time.monotonic() < deadline:
            left = [task for task in left if task.poll() is None]
            time.sleep(self.every)


def record_failure(run: Startable, now: Glance, reason: str) -> None:
    """Note in a run's folder that it failed, which a killed process could not do itself."""
    folder = RunFolder(run.folder)
    if now.state == "waiting" and not folder.spec.is_file():
        RunFolder.create(run.folder, run.spec)
    if now.state not in ("failed", "trained", "done"):
        folder.write_status("failed", reason)


def why(now: Glance, code: int, log: Path, start: int) -> str:
    """Return why a run ended: the reason in its folder, else its message in the log, else its exit code."""
    if now.state == "failed" and now.reason:
        return now.reason
    printed = log.read_bytes()[start:].decode(errors="replace") if log.is_file() else ""
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    if code > 0 and code != RETRY and errors:
        return errors[-1].removeprefix("error: ")
    how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{how}; see {log}"


def started(now: Glance) -> str:
    """Return how a run is started, in words."""
    if now.state == "trained":
        return "is evaluated"
    return f"goes on from step {now.step}" if now.step else "starts"


def standing(now: Glance, until: int | None) -> str:
    """Return where a run stands that was trained until a step, or to its end, in words."""
    return "done" if until is None or now.state == "done" else f"trained until step {until}"


def measured(now: Glance) -> str:
    """Return the means of a finished run's metrics, in words."""
    if now.summary is None:
        return ""
    means = {name: one.get("mean") for name, one in now.summary["methods"][MODEL].items()}
    return ": " + ", ".join(f"{name} {mean:.3f}" for name, mean in means.items() if mean is not None)
