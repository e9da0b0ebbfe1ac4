"""TensorBoard's event files, in RUN/tensorboard: `tensorboard --logdir runs` shows all runs.

Source: `torch.utils.tensorboard.SummaryWriter`, whose `purge_step` hides what was logged after the step
of a resume.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from slotlab.framework.contracts import TrackerContext
from slotlab.registry import Component, ComponentConfig, hookimpl
from slotlab.registry.optional import require


class TensorBoardConfig(ComponentConfig):
    """TensorBoard has no settings."""


class TensorBoardTracker:
    """Numbers as scalars, figures as images."""

    forgets = True

    def __init__(self, config: TensorBoardConfig, context: TrackerContext):
        require("tensorboard", "tensorboard")
        self.context = context
        self.step = context.resumed_from or 0

    @cached_property
    def writer(self) -> Any:
        """The event file, created on first use."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        start = self.context.resumed_from
        purge = None if start is None else start + 1
        with without_host():
            return SummaryWriter(str(self.context.folder / "tensorboard"), purge_step=purge)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars and flush them: a killed process would lose buffered ones."""
        self.step = step
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def figure(self, name: str, path: Path) -> None:
        """Write a picture."""
        self._add(name, self.step, path)

    def image(self, name: str, step: int, path: Path) -> None:
        """Write a picture of one step."""
        self._add(name, step, path)
        self.writer.flush()

    def _add(self, name: str, step: int, path: Path) -> None:
        with Image.open(path) as picture:
            image_HWC = np.asarray(picture.convert("RGB"))
        self.writer.add_image(name, image_HWC, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """Close the event file, if there is one."""
        if "writer" in vars(self):
            self.writer.close()


@contextmanager
def without_host() -> Iterator[None]:
    """Keep the machine's name out of the event file's name, where TensorBoard puts it and never reads it."""
    from tensorboard.summary.writer import event_file_writer

    before: Any = event_file_writer.socket
    event_file_writer.socket = SimpleNamespace(gethostname=lambda: "host")
    try:
        yield
    finally:
        event_file_writer.socket = before


@hookimpl
def slotlab_trackers() -> Iterable[Component[TensorBoardConfig]]:
    """Provide `tensorboard`."""
    yield Component(
        name="tensorboard",
        config=TensorBoardConfig,
        build=TensorBoardTracker,
        summary="TensorBoard's event files in the run's folder",
    )
