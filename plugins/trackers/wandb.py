"""Weights & Biases: files in RUN/wandb, sent to the server at once, later or never.

Source: `wandb.init`. Offline runs are sent by `wandb sync --append RUN/wandb/offline-run-*`: each
resume adds a folder under the same id, with the steps that the earlier folders lack.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from slotlab.framework.contracts import TrackerContext
from slotlab.registry import Component, ComponentConfig, hookimpl
from slotlab.registry.optional import require

PRIVATE = {"x_disable_meta": True, "x_disable_machine_info": True, "host": "", "username": "", "email": ""}
"""Settings that keep the machine, its user and the command line out of the data that is sent."""


class WandbConfig(ComponentConfig):
    """Settings of Weights & Biases."""

    project: str = "slotlab"
    """The project that the run is put under."""
    entity: str | None = None
    """The user or team; null for the logged-in user."""
    group: str | None = None
    """Runs that belong together, such as the seeds of one spec."""
    mode: Literal["offline", "online", "disabled"] = "offline"
    """Send to the server (`online`), or only write files, which `wandb sync` sends later (`offline`)."""


class WandbTracker:
    """Numbers as history, settings as config, figures as images."""

    forgets = False

    def __init__(self, config: WandbConfig, context: TrackerContext):
        require("wandb", "slotlab[wandb]")
        self.config = config
        self.context = context
        self.step = context.resumed_from or 0

    @cached_property
    def run(self) -> Any:
        """The run, begun or resumed on first use."""
        import wandb  # slow to import, and starts a process

        private = {name: value for name, value in PRIVATE.items() if name in wandb.Settings.model_fields}
        quiet = wandb.Settings(console="off", silent=True, disable_git=True, **private)
        return wandb.init(
            dir=str(self.context.folder),
            id=self.context.run_id,
            name=self.context.name,
            config=dict(self.context.settings),
            project=self.config.project,
            entity=self.config.entity,
            group=self.config.group,
            mode=self.config.mode,
            resume="allow" if self.config.mode == "online" else None,  # W&B cannot, offline
            reinit="create_new",
            settings=quiet,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add to the history."""
        self.step = step
        self.run.log(dict(values), step=step)

    def figure(self, name: str, path: Path) -> None:
        """Add a picture."""
        import wandb

        self.run.log({name: wandb.Image(str(path))}, step=self.step)

    def image(self, name: str, step: int, path: Path) -> None:
        """Add a picture to the history of its step."""
        import wandb

        self.run.log({name: wandb.Image(str(path))}, step=step)

    def close(self, *, failed: bool) -> None:
        """Send or write what remains, if the run was begun."""
        if "run" in vars(self):
            self.run.finish(exit_code=int(failed))


@hookimpl
def slotlab_trackers() -> Iterable[Component[WandbConfig]]:
    """Provide `wandb`."""
    yield Component(
        name="wandb",
        config=WandbConfig,
        build=WandbTracker,
        summary="Weights & Biases, offline unless told to send",
        install="slotlab[wandb]",
    )
