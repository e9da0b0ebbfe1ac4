"""The entries of COCO's JSON: reading the file, and ids of images, categories and annotations."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco import checked
from slotlab.framework.data.formats.coco_fields import Id
from slotlab.framework.data.formats.pictures import natural_key

Entry = Mapping[str, Any]
"""One image, category, annotation or segment of the JSON."""
_LISTS = ("images", "annotations", "categories")
_NEEDED = {"images": ("id", "file_name"), "videos": ("id", "file_names", "height", "width")}
"""What entries of a list need, if it is more than an id and a name."""


def read_json(path: Path, lists: Sequence[str] = _LISTS) -> dict[str, Any]:
    """Return the content of a JSON in COCO's format, or in one like it that has other lists.

    Raises:
        ValueError: if the file cannot be read or lacks a list.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; give a JSON in COCO's format") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    lacking = [key for key in lists if not isinstance(data, dict) or not isinstance(data.get(key), list)]
    if lacking:
        raise ValueError(f"{path} has no list {', no list '.join(lacking)}; it is not in COCO's format")
    found: dict[str, Any] = data
    return found


def entries_by_id(
    what: str, entries: Sequence[Any], note: Callable[[str], None]
) -> Iterator[tuple[Id, Entry]]:
    """Yield the valid entries of a list of the JSON by their ids; equal entries with the same id are one.

    Args:
        what: the list's key, `images`, `videos` or `categories`.
        entries: the list.
        note: receives what is wrong with an entry, as a sentence.
    """
    found: dict[Id, tuple[int, Entry]] = {}
    again: set[Id] = set()
    needed = _NEEDED.get(what, ("id", "name"))
    for place, entry in enumerate(entries):
        lacking = [key for key in needed if not isinstance(entry, dict) or key not in entry]
        if lacking:
            note(f"{what}[{place}] lacks {' and '.join(lacking)}")
            continue
        try:
            number = checked(f"{what}[{place}]", "id", entry["id"], fields.identifier)
        except ValueError as error:
            note(str(error))
            continue
        first = found.setdefault(number, (place, entry))
        if first[0] != place and first[1] != entry:
            again.add(number)
            text = f"{what}[{place}]: its id {fields.shown(number)} is that of {what}[{first[0]}]"
            note(f"{text}; neither is used")
    yield from ((number, entry) for number, (_, entry) in found.items() if number not in again)


def own_id(entry: Any) -> Id | None:
    """Return the id of an entry; None if it has no valid one."""
    try:
        return fields.identifier(entry.get("id"))
    except (AttributeError, ValueError):
        return None


def title_of(what: str, entry: Any, where: str) -> str:
    """Return the name of an entry for messages: with its id, or its place if it has no valid id."""
    number = own_id(entry)
    return where if number is None else f"{what} {fields.shown(number)}"


def id_order(number: Id) -> tuple[bool, Any]:
    """Return a sort key of ids: numbers by value, then texts naturally."""
    return (True, natural_key(number)) if isinstance(number, str) else (False, number)
