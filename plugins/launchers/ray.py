"""Start runs on a Ray cluster, which queues them: a running cluster, or a new one on this machine.

Source: Ray's tasks (docs.ray.io/en/latest/ray-core/tasks.html). A task only starts the command
on its machine. All machines have the same Python environment and see the same files.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import NonNegativeFloat

from slotlab.framework.study.launching import RETRY, Job, LauncherContext
from slotlab.registry import Component, ComponentConfig, SlotlabError, hookimpl
from slotlab.registry.optional import require


class RayConfig(ComponentConfig):
    """Settings of the launcher on a Ray cluster."""

    address: str | None = None
    """Address of the cluster's head; None for $RAY_ADDRESS or a cluster that runs on this machine, and
    if there is none, for a new one on this machine."""
    cpus: Annotated[float, Ge(0.1)] = 1.0
    """Cores per run."""
    gpus: NonNegativeFloat | None = None
    """GPUs per run, possibly a fraction; None for one if the cluster has any."""


@dataclass
class RayTask:
    """A task of the cluster."""

    reference: Any
    stopped: bool = False

    def poll(self) -> int | None:
        """Return the exit code; None while it runs; `RETRY` if its machine or process was lost."""
        import ray

        ready, _ = ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        try:
            return int(ray.get(self.reference))
        except (ray.exceptions.RayError, ray.exceptions.TaskCancelledError):
            return RETRY

    def stop(self) -> None:
        """Cancel it: a running task is interrupted, and ends its command by SIGTERM."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.cancel(self.reference, force=False)


class RayLauncher:
    """Hands every job to the cluster at once."""

    at_once: int | None = None

    def __init__(self, config: RayConfig, context: LauncherContext):
        require("ray", "slotlab[ray]")
        self.config = config
        self.namespace = f"slotlab-{context.name}"
        self.remote: Any = None
        self.ours = False
        """Whether this launcher connected to the cluster."""

    def start(self, job: Job) -> RayTask:
        """Queue a job."""
        if self.remote is None:
            self.remote = self._connect()
        return RayTask(self.remote.remote(job.command, str(job.log), str(Path.cwd())))

    def _connect(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            try:
                ray.init(
                    address=self.config.address,
                    namespace=self.namespace,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise SlotlabError(f"no Ray cluster can be used: {error}") from error
            self.ours = True
        gpus = self.config.gpus
        if gpus is None:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            gpus = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
        # Ray must not retry: the study checks the run's folder before it starts a run again.
        return ray.remote(num_cpus=self.config.cpus, num_gpus=gpus, max_retries=0)(_command())

    def close(self) -> None:
        """Leave the cluster, if this launcher joined it."""
        if self.ours:
            import ray

            ray.shutdown()
            self.ours = False


def _command() -> Any:
    # Defined here so that it is pickled by value: importing this module on the other machine would be slow.
    def run(command: tuple[str, ...], log: str, folder: str) -> int:
        import ctypes
        import signal
        import subprocess
        import sys
        from contextlib import suppress

        # A cancellation comes as Ctrl-C, once or more often, at any line. It is only recorded, so that it
        # cannot be lost at any line, and the command has all the time it needs to save and end.
        cancellations: list[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: cancellations.append(number))

        def end_with_parent() -> None:  # a worker that is killed leaves no training behind
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)

        with open(log, "ab") as output:  # noqa: PTH123 - no imports of ours here
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )
            signaled = False
            while process.poll() is None:
                if cancellations and not signaled:
                    process.send_signal(signal.SIGTERM)
                    signaled = True
                with suppress(subprocess.TimeoutExpired):  # short waits, between which cancellations are seen
                    process.wait(0.2)
        return int(process.returncode)

    return run


@hookimpl
def slotlab_launchers() -> Iterable[Component[RayConfig]]:
    """Provide `ray`."""
    yield Component(
        name="ray",
        config=RayConfig,
        build=RayLauncher,
        summary="a Ray cluster of many machines, or of this one",
        install="slotlab[ray]",
    )
