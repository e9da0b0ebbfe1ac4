"""Files that are written whole or not at all, folders that one process has for itself, the user's cache."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slotlab.registry import SlotlabError


def user_cache() -> Path:
    """Return the folder for what slotlab can make again: in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # Its specification: a relative path is to be ignored.
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "slotlab"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            error.filename = str(path)  # the name that the user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; an empty mapping where there is none.

    Raises:
        SlotlabError: if it is no JSON, or holds no mapping.
    """
    if not path.is_file():
        return {}
    data = load_json(path)
    if not isinstance(data, dict):
        raise SlotlabError(f"{path}: expected a JSON object {{...}}, and it holds none")
    return data


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        SlotlabError: if it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SlotlabError(f"{path}: {fault(error)}") from None


def fault(error: Exception) -> str:
    """Say in words why JSON cannot be understood: what was raised while it was read and taken apart."""
    if isinstance(error, KeyError):
        return f"it has no '{error.args[0]}'"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid JSON: byte {error.start} is no UTF-8"
    if isinstance(error, RecursionError):
        return "not valid JSON: it is nested too deeply"
    if isinstance(error, ValueError):
        return f"not valid JSON: {error}"
    return "what it holds is not in the form that slotlab writes"


@contextmanager
def exclusive(folder: Path, taken: str) -> Iterator[None]:
    """Lock a folder while the block runs; the system lets go of it when the process ends.

    Raises:
        SlotlabError: with the text `taken`, if another process holds it.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise SlotlabError(taken) from None
    except OSError:  # a file system without locks: better unguarded than not at all
        pass
    try:
        yield
    finally:
        os.close(number)


def is_held(folder: Path) -> bool:
    """Return whether a process has a folder for itself."""
    try:
        with exclusive(folder, "held"):
            return False
    except SlotlabError:
        return True
    except OSError:  # gone
        return False
