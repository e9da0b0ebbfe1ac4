"""Entry point of the command: checks that it can run on this system before importing anything else."""

import sys
from importlib import import_module

NEEDED = ("fcntl", "resource")
"""Modules of Python that exist on POSIX systems only: file locks, and memory usage."""


def main() -> None:
    """Run the command, or say in one line that it does not run on this system."""
    missing = [name for name in NEEDED if not is_there(name)]
    if missing:
        text = f"slotlab runs on Linux and macOS; this Python lacks {' and '.join(missing)}"
        sys.exit(f"error: {text} (on Windows, use slotlab inside WSL)")
    from slotlab.framework.cli.main import main as run

    run()


def is_there(name: str) -> bool:
    """Return whether a module can be imported."""
    try:
        import_module(name)
    except ImportError:
        return False
    return True
