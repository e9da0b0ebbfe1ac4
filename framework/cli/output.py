"""Results for people on the terminal, or as JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from slotlab.framework.processes import is_first

PIPED_WIDTH = 140
"""Columns of tables that go to a file or another program, which have no width of their own."""


def console() -> Console:
    """Return a console on stdout."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def emit(result: Any, target: str | None, show: Callable[[Any], None]) -> None:
    """Show a result, or write it as JSON: to stdout for `-`, else to a file and show it too."""
    if target is None:
        show(result)
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if show is not print:
        show(result)


def warn(warnings: Iterable[object]) -> None:
    """Print warnings on stderr, in the first of several processes."""
    for warning in warnings if is_first() else ():
        print(f"warning: {warning}", file=sys.stderr)
