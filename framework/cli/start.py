"""Where the command begins: it says so where it cannot run, before anything else is imported."""

import sys
from importlib import import_module

NEEDED = ("fcntl", "resource")
"""Modules of Python that POSIX systems have: locks of folders, and how much memory was used."""


def main() -> None:
    """Run the command, or say in one line that this system is none that it runs on."""
    missing = [name for name in NEEDED if not is_there(name)]
    if missing:
        text = f"slotlab runs on Linux and macOS; this Python has no {' and no '.join(missing)}"
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
