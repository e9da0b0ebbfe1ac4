"""What slotlab writes into a run's folder, and how it is cleared: never a file of somebody else."""

import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from slotlab.framework.system.atomic import leavings

STATUS = "status.json"
BEGINNING = "beginning"
"""The state of a run's folder that is being made, or cleared to be made again: its first file, and the last
that goes. Whoever finds it makes the run anew."""

WRITTEN = (
    "spec.yaml",
    "plugins",
    "provenance.json",
    STATUS,
    "metrics.jsonl",
    "cost.json",
    "trackers.json",
    "tensorboard",
    "mlruns",
    "wandb",
    "failure.json",
    "checkpoints",
    "compositions",
    "cache",
    "evaluation",
    "figures",
)
"""Everything in a run's folder that is slotlab's own."""

_OTHERS = ("tensorboard", "mlruns", "wandb")
"""Folders in which programs of others have files of their own."""


def run_leavings(path: Path) -> Iterator[Path]:
    """Yield the temporary files of ours in a run's folder."""
    for name in WRITTEN:
        yield from leavings(path, of=name)
        if name not in _OTHERS:
            for folder, _, _ in os.walk(path / name):
                yield from leavings(Path(folder))


def clear_run(path: Path, *, keep: Container[str]) -> None:
    """Remove what a run writes, and nothing that a user may have put beside it.

    The status stays, which says that the folder is ours, and what the command may itself be reading until
    it is replaced: the run's own spec, and those of its plugins that are to be kept, by their paths in the
    folder, such as `plugins/mine.py`.
    """
    for name in WRITTEN:
        entry = path / name
        if name in ("spec.yaml", "plugins", STATUS):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    for folder, _, files in os.walk(path / "plugins", topdown=False):
        for file in (Path(folder, name) for name in files):
            if file.relative_to(path).as_posix() not in keep:
                file.unlink()
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()
