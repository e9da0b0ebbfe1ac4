"""Folders of pictures that belong together by their names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from slotlab.framework.contracts import DataProblem

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files that are taken for pictures, in small or capital letters."""


def by_stem(folder: Path, *, recursive: bool) -> dict[str, list[Path]]:
    """Return the pictures in a folder by their path in it without the ending; hidden ones are left out."""
    found: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in ENDINGS and not name.startswith("."):
                found.setdefault(str(path.relative_to(folder).with_suffix("")), []).append(path)
    return found


def repeated(found: Mapping[str, Sequence[Path]]) -> list[DataProblem]:
    """Return the pictures that have the name of another one but for the ending."""
    return [
        DataProblem(str(path), f"it has the name of {paths[0]} but for the ending; which is meant?")
        for paths in found.values()
        for path in paths[1:]
    ]


def not_png(found: Mapping[str, Sequence[Path]]) -> list[DataProblem]:
    """Return the masks that are no PNG; those whose name is not theirs alone are left to `repeated`."""
    return [
        DataProblem(str(paths[0]), "a mask must be a PNG: other kinds may change its labels")
        for paths in found.values()
        if len(paths) == 1 and paths[0].suffix.lower() != ".png"
    ]
