"""Calls into components: their exceptions are raised again with the component's name, file and line."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import torch

from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

BETWEEN = ("slotlab.framework.", "torch.", "contextlib", "functools")
"""Modules that call or wrap a component's code; they are skipped when its line is looked up."""


@contextmanager
def called(component: str) -> Iterator[None]:
    """Raise exceptions of the block again with the name of the component, such as `metric 'ari'`.

    Raises:
        SlotlabError: the component's own unchanged; in place of any other exception one with its type,
            text, file and line.
        MemoryError, OutOfMemoryError: unchanged; they are not the component's mistake.
    """
    try:
        yield
    except (SlotlabError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # SystemExit: the command would end as if it had succeeded
        raise SlotlabError(f"{component} failed: {describe(error)} ({place_of(error)})") from error


def place_of(error: BaseException) -> str:
    """Return the file and line of the component's code that led to an exception."""
    frames = list(walk_tb(error.__traceback__))
    beyond = [frame for frame, _ in frames if not str(frame.f_globals.get("__name__")).startswith(BETWEEN)]
    file = (beyond or [frames[-1][0]])[0].f_code.co_filename
    line = [line for frame, line in frames if frame.f_code.co_filename == file][-1]
    return f"{file}, line {line}"
