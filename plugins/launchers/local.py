"""Start runs on this machine, several at a time: each on its own GPU, or sharing the processor's cores."""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import PositiveInt

from slotlab.framework.study.launching import Job, LauncherContext
from slotlab.framework.system.cores import shares
from slotlab.registry import Component, ComponentConfig, hookimpl


class LocalConfig(ComponentConfig):
    """Settings of the launcher on this machine."""

    jobs: PositiveInt | None = None
    """How many runs at a time; None for one per GPU, or a single one on a machine without GPUs."""
    gpus: tuple[str, ...] | None = None
    """Numbers of the GPUs to use, as in CUDA_VISIBLE_DEVICES; None for all, empty for the CPU. With
    more jobs than GPUs, some share one."""


@dataclass
class LocalTask:
    """A process, and the place that it occupies."""

    process: "subprocess.Popen[bytes]"
    place: int
    free: list[int]
    """The places that are free."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        code = self.process.poll()
        if code is not None and self.place >= 0:
            self.free.append(self.place)
            self.place = -1
        return code

    def stop(self) -> None:
        """Send SIGTERM."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class LocalLauncher:
    """Starts processes in this process's group, so that Ctrl-C in a terminal reaches them too."""

    at_once: int | None

    def __init__(self, config: LocalConfig, context: LauncherContext):
        self.gpus = visible_gpus(os.environ) if config.gpus is None else list(config.gpus)
        self.at_once = config.jobs or max(len(self.gpus), 1)
        self.free = list(range(self.at_once))

    def start(self, job: Job) -> LocalTask:
        """Start a process on the next free GPU, or with its share of the cores."""
        place = self.free.pop(0)
        environment = os.environ | surroundings(os.environ, place, self.at_once or 1, self.gpus)
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                job.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return LocalTask(process, place, self.free)

    def close(self) -> None:
        """Do nothing: the launcher holds nothing open."""


def surroundings(
    environment: Mapping[str, str], place: int, places: int, gpus: Sequence[str]
) -> dict[str, str]:
    """Return the environment variables of one of several processes: its GPU and its share of the cores."""
    gpu = gpus[place % len(gpus)] if gpus else ""
    return {"CUDA_VISIBLE_DEVICES": gpu} | (shares(environment, places) if places > 1 else {})


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@hookimpl
def slotlab_launchers() -> Iterable[Component[LocalConfig]]:
    """Provide `local`."""
    yield Component(
        name="local",
        config=LocalConfig,
        build=LocalLauncher,
        summary="this machine: one run a GPU, or some that share the cores",
    )
