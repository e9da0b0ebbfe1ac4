"""JSON files of runs and studies: written atomically, and read with every fault explained in words."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from slotlab.framework.system.atomic import write_atomically
from slotlab.registry import SlotlabError

MOST_BYTES = 256 * 2**20
"""Largest size of a small file of a run or a study."""
MOST_LEVELS = 64
"""Deepest nesting of lists and mappings."""
LARGEST = 1e100
"""Largest absolute value of a number: measured values are far below, and their squares finite."""


def to_json(data: Any) -> bytes:
    """Return indented JSON as it is written into files."""
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, to_json(data))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; return an empty mapping where there is none.

    Raises:
        SlotlabError: if it cannot be read, is not JSON, or does not hold a mapping.
    """
    data = load_json(path, missing={})
    if not isinstance(data, dict):
        raise SlotlabError(f"{path}: expected a JSON object {{...}}, and it holds none")
    return data


def load_json(path: Path, *, missing: Any = None) -> Any:
    """Read a JSON file; return `missing` where there is none, unless that is None.

    Raises:
        SlotlabError: if it cannot be read, or is not JSON.
    """
    content = read_file(path)
    if content is None:
        if missing is None:
            raise SlotlabError(f"{path}: {os.strerror(errno.ENOENT)}")
        return missing
    try:
        return parse_json(content)
    except (ValueError, RecursionError) as error:
        raise SlotlabError(f"{path}: {fault(error)}") from None


def read_file(path: Path, most: int = MOST_BYTES) -> bytes | None:
    """Read a file of a run or a study; return None where there is none.

    Raises:
        SlotlabError: if it cannot be read, has more than `most` bytes, or is not a regular file (reading a
            pipe would wait forever).
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise SlotlabError(f"{path}: this is {what}, and should be a file")
        if found.st_size > most:
            raise SlotlabError(f"{path}: {found.st_size:,} bytes, and at most {most:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except NotADirectoryError:  # something above it is a file
        return None
    except OSError as error:
        raise SlotlabError(f"{path}: {error.strerror or error}") from None


def parse_json(content: bytes | str) -> Any:
    """Read JSON as slotlab writes it: finite numbers, text that can be written again, few levels.

    Raises:
        ValueError: for anything else.
        RecursionError: if it is nested far too deeply.
    """
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
    data = json.loads(text, parse_constant=_no_number, parse_float=_real, parse_int=_whole)
    if text.count("[") + text.count("{") > MOST_LEVELS:
        _refuse_depth(data)
    if "\\u" in text:
        written = json.dumps(data, ensure_ascii=False)
        if "\\u0000" in written:
            raise ValueError("a text holds the character U+0000")
        written.encode()  # UnicodeEncodeError, a ValueError, for half a character
    return data


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _real(text: str) -> float:
    value = float(text)
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"the number {text[:40]} is larger than anything that is measured")
    return value


def _whole(text: str) -> int:
    if len(text) > 18 and abs(int(text[:100])) >= 2**63:
        raise ValueError(f"the number {text[:40]} is beyond the whole numbers of 64 bits")
    return int(text)


def _refuse_depth(data: Any) -> None:
    level = [data]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise RecursionError


def fault(error: Exception) -> str:
    """Explain in words an exception that was raised while JSON was parsed or its content was read."""
    if isinstance(error, KeyError):
        return f"it has no '{error.args[0]}'"
    if isinstance(error, UnicodeEncodeError):
        return "not valid JSON: a text holds half a character (a lone surrogate)"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid JSON: byte {error.start} is not UTF-8"
    if isinstance(error, RecursionError):
        return "not valid JSON: it is nested too deeply"
    if isinstance(error, ValueError):
        return f"not valid JSON: {error}"
    return "what it holds is not in the form that slotlab writes"
