"""Results for people on the terminal, or as JSON for programs."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from slotlab.framework.api.console import PlainConsole
from slotlab.registry.errors import SlotlabError

PIPED_WIDTH = 140
"""Width of tables, in characters, where output goes to a file or another program."""


def console() -> Console:
    """Return a console on stdout."""
    return PlainConsole(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def emit(result: Any, target: str | None, show: Callable[[Any], None]) -> None:
    """Show a result. With a target, also write it as JSON: to a file, or instead to stdout for `-`."""
    if target is None:
        show(result)
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    if show is not print:  # first, so that the result is shown even if the file cannot be written
        show(result)
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def check_target(option: str, target: str | None) -> str | None:
    """Return the file for a result, checked before the work begins, which would else be lost.

    Raises:
        SlotlabError: if it is a folder or cannot be written.
    """
    if target is None:
        return None
    if not target:
        raise SlotlabError(f"{option} names no file")
    path = Path(target)
    if path.is_dir():
        raise SlotlabError(f"{option} {target}: it is a folder; name a file in it")
    known = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not (known.is_dir() or known == path):
        raise SlotlabError(f"{option} {target}: {known} is no folder")
    if not os.access(known, os.W_OK):
        raise SlotlabError(f"{option} {target}: {known} cannot be written; choose another file")
    return target
