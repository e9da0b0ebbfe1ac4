"""Start runs as jobs of Slurm, through submitit, or as processes of this machine for a trial.

Source: submitit (github.com/facebookincubator/submitit). Before the time limit of a job the training
is asked to save, and the job is queued again. All machines see the same files.
"""

import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from slotlab.framework.study.launching import RETRY, Job, LauncherContext
from slotlab.registry import Component, ComponentConfig, SlotlabError, hookimpl
from slotlab.registry.optional import require


class SlurmConfig(ComponentConfig):
    """Settings of the launcher through Slurm."""

    cluster: Literal["slurm", "local"] = "slurm"
    """Slurm, or processes of this machine for a trial."""
    minutes: PositiveFloat = 240
    """Time limit of a job. A longer training continues in another job."""
    cpus: PositiveInt = 4
    """Cores of a job."""
    gpus: NonNegativeInt = 1
    """GPUs of a job."""
    memory_gb: PositiveFloat | None = None
    """Memory of a job in GB; None for the cluster's default."""
    partition: str | None = None
    """The partition; None for the cluster's default."""
    account: str | None = None
    """The account that is charged; None for the cluster's default."""
    options: Mapping[str, Any] = {}
    """Further options of sbatch, such as `{constraint: a100}`."""
    save_seconds: PositiveInt = 120
    """Seconds before a job's time limit at which its training is asked to save."""
    queued: PositiveInt | None = None
    """Most jobs in the queue at a time; None for all."""


@dataclass
class Command:
    """The content of a job: start a training, and ask it to save at the job's time limit."""

    words: tuple[str, ...]
    log: str
    process: Any = field(default=None, repr=False)

    def __call__(self) -> int:
        """Run the command, and return its exit code."""
        with open(self.log, "ab") as output:  # noqa: PTH123
            self.process = subprocess.Popen(
                self.words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
            try:
                return int(self.process.wait())
            except BaseException:  # the job is being cancelled
                self.process.send_signal(signal.SIGTERM)
                raise

    def checkpoint(self) -> Any:
        """Let the training save, and queue the same command again. Called by submitit."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()
        return DelayedSubmission(Command(self.words, self.log))


@dataclass
class SlurmTask:
    """A job in the queue."""

    job: Any

    def poll(self) -> int | None:
        """Return the exit code; None while it runs; `RETRY` if it ended without one (a machine failed)."""
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception:  # submitit raises any error that it finds in place of a result
            return RETRY

    def stop(self) -> None:
        """Cancel it: Slurm sends SIGTERM first."""
        self.job.cancel(check=False)


class SlurmLauncher:
    """Submits jobs at once, up to the setting `queued`."""

    at_once: int | None

    def __init__(self, config: SlurmConfig, context: LauncherContext):
        require("submitit", "slotlab[slurm]")
        self.config, self.context = config, context
        self.at_once = config.queued
        self.executor: Any = None

    def start(self, job: Job) -> SlurmTask:
        """Submit a job."""
        if self.executor is None:
            self.executor = self._open()
        return SlurmTask(self.executor.submit(Command(job.command, str(job.log))))

    def _open(self) -> Any:
        import submitit

        config = self.config
        try:
            executor = submitit.AutoExecutor(self.context.folder / "slurm", cluster=config.cluster)
        except RuntimeError as error:
            raise SlotlabError(f"jobs cannot be submitted here: {error}") from error
        executor.update_parameters(
            name=f"slotlab-{self.context.name}",
            timeout_min=int(-(-config.minutes // 1)),
            cpus_per_task=config.cpus,
            gpus_per_node=config.gpus,
        )
        own = {
            "mem_gb": config.memory_gb,
            "slurm_partition": config.partition,
            "slurm_account": config.account,
        }
        executor.update_parameters(**{key: value for key, value in own.items() if value is not None})
        if config.cluster == "slurm":
            executor.update_parameters(
                slurm_signal_delay_s=config.save_seconds, slurm_additional_parameters=dict(config.options)
            )
        return executor

    def close(self) -> None:
        """Do nothing: the jobs stay in the queue."""


@hookimpl
def slotlab_launchers() -> Iterable[Component[SlurmConfig]]:
    """Provide `slurm`."""
    yield Component(
        name="slurm",
        config=SlurmConfig,
        build=SlurmLauncher,
        summary="jobs of Slurm, through submitit",
        install="slotlab[slurm]",
    )
