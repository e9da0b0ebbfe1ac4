"""Calls into components: what a component's code raises is told with its name, file and line."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

import torch

from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

BETWEEN = ("slotlab.framework.", "torch.", "contextlib", "functools")
"""Modules that call a component's code, or wrap it; the component is looked for beyond them."""


@contextmanager
def called(component: str) -> Iterator[None]:
    """Name the component, such as `metric 'ari'`, that is called in the block, should it raise.

    Raises:
        SlotlabError: the component's own as it is; one that tells exception, file and line for any other.
        MemoryError, OutOfMemoryError: as they are; they are no mistake of a component.
    """
    try:
        yield
    except (SlotlabError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # SystemExit: else the command would end as if all were done
        raise SlotlabError(f"{component} failed: {describe(error)} ({place_of(error)})") from error


def place_of(error: BaseException) -> str:
    """Return file and line of the component's code that led to an exception."""
    frames = list(walk_tb(error.__traceback__))
    beyond = [frame for frame, _ in frames if not str(frame.f_globals.get("__name__")).startswith(BETWEEN)]
    file = (beyond or [frames[-1][0]])[0].f_code.co_filename
    line = [line for frame, line in frames if frame.f_code.co_filename == file][-1]
    return f"{file}, line {line}"
