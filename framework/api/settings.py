"""Settings that are given in Python, as the assignments that `--set` makes."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from slotlab.framework.spec.merge import Option
from slotlab.framework.spec.tree import dump
from slotlab.registry.errors import SlotlabError

Settings = Mapping[str, Any]
"""Values by dotted path, such as `{"training.batch_size": 8}`; a block may be a mapping of its own."""


def assignments(settings: Settings | None) -> list[Option]:
    """Return settings as assignments over a spec, in their order; mistakes name them as they were written.

    Raises:
        SlotlabError: for a value that no spec can hold.
    """
    found = []
    for path, value in (settings or {}).items():
        written = f"settings {{{path!r}: {value!r}}}"
        text = dump(as_written(value, written)).removesuffix("\n...\n")  # the end of a document
        found.append(Option(f"{path}={text}", written))
    return found


def as_written(value: Any, where: str) -> Any:
    """Return a value as a spec file would write it.

    Raises:
        SlotlabError: for what is no number, text, truth value, path, list or mapping, nor None.
    """
    single = getattr(value, "item", None)  # numbers of NumPy and torch
    if callable(single) and getattr(value, "ndim", None) == 0:
        return single()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): as_written(item, where) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [as_written(item, where) for item in value]
    kind = type(value).__name__
    raise SlotlabError(f"{where}: write a number, a text, true or false, a list or a mapping, not a {kind}")
