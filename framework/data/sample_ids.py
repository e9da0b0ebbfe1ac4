"""Unique ids of samples, by which results, masks and packed rows are stored."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from unicodedata import normalize

from slotlab.registry import SlotlabError


class Ids:
    """The ids of samples that were added so far, with their positions."""

    def __init__(self, what: str):
        self.what = what
        self._seen: dict[str, int] = {}

    def add(self, placed: Iterable[tuple[int, str]]) -> None:
        """Add samples by position and id; the same sample may be added again.

        Raises:
            SlotlabError: if a sample at another position has the same id.
        """
        for position, name in placed:
            first = self._seen.setdefault(name, position)
            if first != position:
                text = f"the samples at {first} and {position} have one id, {name!r}"
                raise SlotlabError(f"{self.what}: {text}; a dataset gives each sample an id of its own")


def shortest_names(file_names: Iterable[str]) -> dict[str, str]:
    """Return a unique name for each file, in the shortest form that makes all of them unique.

    The forms are: the file's name without ending, with its folders, and with its folders and ending.
    """
    paths = {name: PurePosixPath(normalize("NFC", name)) for name in file_names}
    plain = {
        name: PurePosixPath(*(p for p in path.parts if p not in ("/", ".."))) for name, path in paths.items()
    }
    shapes: tuple[Callable[[PurePosixPath], str], ...] = (
        lambda path: path.stem,
        lambda path: str(path.with_suffix("")) if path.name else str(path),
        str,
    )
    for shape in shapes:
        found = {name: shape(path) for name, path in plain.items()}
        if len(set(found.values())) == len(found):
            return found
    return {name: str(path) for name, path in paths.items()}
