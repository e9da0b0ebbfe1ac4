"""Samples have names of their own: results, masks and packed rows are kept by them."""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from unicodedata import normalize

from slotlab.registry import SlotlabError


class Ids:
    """The ids of samples that were seen so far, with their positions."""

    def __init__(self, what: str):
        self.what = what
        self._seen: dict[str, int] = {}

    def add(self, placed: Iterable[tuple[int, str]]) -> None:
        """Take in positions and ids; one that comes again for the same position is no other sample.

        Raises:
            SlotlabError: if another sample has the same id.
        """
        for position, name in placed:
            first = self._seen.setdefault(name, position)
            if first != position:
                text = f"the samples at {first} and {position} have one id, {name!r}"
                raise SlotlabError(f"{self.what}: {text}; a dataset gives each sample an id of its own")


def shortest_names(file_names: Iterable[str]) -> dict[str, str]:
    """Return a name for each picture that no other has: as short as they all can be.

    That is the file's without ending, else with its folders, else with the ending too.
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
