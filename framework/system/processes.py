"""Several processes that train one model together: started, watched and ended from one command.

`slotlab train --devices N` starts N processes with the environment that `torchrun` gives, which
is all that `Engine.open` reads, and ends with the exit code of the first. Lightning's own launcher
is not used: five seconds after any process it started ends with an error it kills the first
one, and with that the exit code that asks a scheduler to start the training again.
Nothing here imports torch.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from slotlab.framework.system.stop_signals import heeded
from slotlab.framework.system.terminal import visible
from slotlab.registry import SlotlabError

REPORT = "SLOTLAB_REPORT"
"""Environment variable: the file in which a process other than the first writes why it failed."""
STOPS = (75, 130)
"""Exit codes of a training that was asked to stop: all processes agreed on it."""
PATIENCE = 20.0
"""Seconds that the others have to end by themselves after one has failed."""


def is_first() -> bool:
    """Return whether this process is the only one, or the one of several that prints."""
    return os.environ.get("RANK", "0") == "0"


def several() -> bool:
    """Return whether this process works together with others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def wanted(devices: int | None) -> bool:
    """Return whether this command has to start several processes, for `--devices`.

    Raises:
        SlotlabError: if another number of processes was started already.
    """
    running = os.environ.get("WORLD_SIZE")
    if running is not None and devices is not None and int(running) != devices:
        raise SlotlabError(
            f"--devices {devices}: {running} processes were started already (by torchrun?); "
            f"leave --devices out"
        )
    return running is None and devices is not None and devices > 1


class ProcessFailed(SlotlabError):  # noqa: N818 - says what happened to a process
    """A process other than the first failed, and the first could not report it."""

    def __init__(self, rank: int, lines: Sequence[str]):
        self._lines = [f"process {rank}: {line}" for line in lines]
        super().__init__("\n".join(self._lines))

    def lines(self) -> list[str]:
        """One line for each mistake."""
        return self._lines


@dataclass(frozen=True)
class Child:
    """One process, the leader of a group that its own workers belong to."""

    rank: int
    process: "subprocess.Popen[bytes]"
    report: Path
    errors: Path
    """What a process other than the first wrote on stderr."""

    @classmethod
    def start(cls, rank: int, number: int, port: int, folder: Path) -> "Child":
        """Start this process's own command again, as rank `rank` of `number` processes."""
        report, errors = folder / f"{rank}.report", folder / f"{rank}.errors"
        facts = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "GROUP_RANK": 0,
            "WORLD_SIZE": number,
            "LOCAL_WORLD_SIZE": number,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "slotlab",  # Lightning then asks no other cluster's variables
            REPORT: report,
        }
        environment = os.environ | {name: str(value) for name, value in facts.items()}
        command = [sys.executable, "-m", "slotlab.framework.cli", *sys.argv[1:]]
        if rank == 0:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, process_group=0)
        else:
            with errors.open("wb") as stderr:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    process_group=0,
                )
        return cls(rank, process, report, errors)

    @property
    def ended(self) -> bool:
        """Whether it has exited, or has reported a failure and waits to be killed."""
        return self.process.poll() is not None or self.report.is_file()

    @property
    def failed(self) -> bool:
        """Whether it has ended with a failure."""
        return self.ended and self.process.returncode not in (0, *STOPS)

    def reason(self) -> list[str]:
        """Return why it failed, as lines of a message."""
        if self.report.is_file():
            return self.report.read_text().splitlines()
        code = self.process.returncode
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return [how, *self.errors.read_text(errors="replace").splitlines()[-20:]]

    def tell(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it and its workers at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def launch(number: int) -> int:
    """Run this command in `number` processes, and return the exit code of the first.

    Signals are passed on to all of them.

    Raises:
        ProcessFailed: if another one failed, and the first had to be ended.
    """
    with tempfile.TemporaryDirectory(prefix="slotlab-") as folder:
        port = free_port()
        children: list[Child] = []
        try:
            with passing_on(children):
                children += (Child.start(rank, number, port, Path(folder)) for rank in range(number))
                return watch(children)
        finally:
            for child in children:
                child.kill()


def watch(children: Sequence[Child]) -> int:
    """Wait until the first process has ended, or another one has failed alone."""
    first, *others = children
    while True:
        failed = next((child for child in others if child.failed), None)
        if failed is not None:
            # Most often all fail with the same mistake, and the first reports it. One that was killed
            # wrote no report: there is nothing to wait for.
            alike = failed.report.is_file()
            if alike:
                wait_for([first])
            if not alike or first.process.poll() in (None, 0):
                raise ProcessFailed(failed.rank, failed.reason())
        if first.process.poll() is not None:
            wait_for(others)
            code = first.process.returncode
            return code if code >= 0 else 128 - code
        time.sleep(0.05)


def wait_for(children: Sequence[Child]) -> None:
    """Wait until processes have ended, at most `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not all(child.ended for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)


@contextmanager
def passing_on(children: Sequence[Child]) -> Iterator[None]:
    """Pass Ctrl-C, SIGTERM and SIGHUP on to processes, which run in groups of their own."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.tell(signal.SIGTERM if number == signal.SIGHUP else number)

    numbers = heeded(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def fail(lines: Sequence[str], code: int) -> NoReturn:
    """Exit with a message, which is printed once for all processes that `launch` started."""
    report = os.environ.get(REPORT)
    if not is_first() and code not in STOPS and report is not None:
        hand_over(Path(report), lines)
    if is_first() or (report is None and code not in STOPS):  # under torchrun nobody else would report it
        for line in lines:
            where = "" if is_first() else f"process {os.environ['RANK']}: "
            print(visible(f"error: {where}{line}"), file=sys.stderr)
    sys.exit(code)


def hand_over(report: Path, lines: Sequence[str]) -> None:
    """Write to `report` why this process failed, and wait to be killed.

    A process that exits at once breaks its connections, and the others would fail over those.
    """
    whole = report.with_suffix(".new")
    whole.write_text("\n".join(lines))
    whole.replace(report)
    time.sleep(2 * PATIENCE)


def free_port() -> int:
    """Return the number of a free TCP port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
