"""Which files in a run's folder slotlab writes, and how they are cleared without touching others."""

import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from slotlab.framework.system.atomic import leavings

STATUS = "status.json"
BEGINNING = "beginning"
"""The state of a run's folder while it is created, or cleared to be created again: the status is the first
file to come and the last to go. A folder in this state may be created anew."""

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
    "watch",
    "failure.json",
    "checkpoints",
    "compositions",
    "cache",
    "evaluation",
    "probe",
    "figures",
    "manifest.json",
)
"""Everything in a run's folder that slotlab writes."""

_OTHERS = ("tensorboard", "mlruns", "wandb")
"""Folders in which other programs write files."""


def run_leavings(path: Path) -> Iterator[Path]:
    """Yield slotlab's temporary files in a run's folder."""
    for name in WRITTEN:
        yield from leavings(path, of=name)
        if name not in _OTHERS:
            for folder, _, _ in os.walk(path / name):
                yield from leavings(Path(folder))


def clear_run(path: Path, *, keep: Container[str]) -> None:
    """Remove what a run writes, and no file that a user may have put beside it.

    The status stays, which marks the folder as slotlab's. So do files that the command may be reading until
    they are replaced: the run's spec, and the plugins in `keep`, by their paths in the folder, such as
    `plugins/mine.py`.
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
