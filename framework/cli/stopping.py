"""Ctrl-C in commands that can be stopped at any time: they say what is left, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from slotlab.registry.errors import SlotlabError


class Stopped(SlotlabError):  # noqa: N818 - the user's wish, not a mistake
    """The user stopped a command with Ctrl-C. It exits with 130, as a shell expects."""

    exit_code = 130


@contextmanager
def stoppable(left: str) -> Iterator[None]:
    """Say what is left when Ctrl-C ends the block, such as `nothing was written`.

    Raises:
        Stopped: after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {left}") from None
