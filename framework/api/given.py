"""What may be given as one or as several: names and paths."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from slotlab.registry.errors import SlotlabError

Names = str | Iterable[str]
"""One name, or several."""
Paths = str | Path | Iterable[str | Path]
"""One path, or several."""


def names_of(given: Names) -> tuple[str, ...]:
    """Return names as a tuple: a text is one name, and not a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def paths_of(given: Any, what: str) -> list[Path]:
    """Return paths as a list; what has a `path` of its own, such as a run, stands for it.

    Args:
        given: a path, something with a path, or several of these, also nested.
        what: what they are of, for messages: `a run`.

    Raises:
        SlotlabError: for anything else.
    """
    if isinstance(given, str | PathLike):
        return [Path(given)]
    if isinstance(own := getattr(given, "path", None), Path):
        return [own]
    if isinstance(given, Iterable):
        return [path for one in given for path in paths_of(one, what)]
    raise SlotlabError(f"expected the path of {what}, or several, not a {type(given).__name__}")
