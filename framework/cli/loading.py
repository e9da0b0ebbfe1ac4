"""What a terminal shows while a command loads its libraries, seconds before its first line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from slotlab.framework.api.console import PlainConsole
from slotlab.framework.system import processes


@contextmanager
def loading() -> Iterator[None]:
    """Say on stderr, if it is a terminal, that libraries are loaded; nothing of it is left afterwards."""
    if not (sys.stderr.isatty() and processes.is_first()):
        yield
        return
    with PlainConsole(stderr=True).status("loading PyTorch"):
        yield
