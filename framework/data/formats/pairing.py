"""Match files by their names: pictures with their masks, and similar names for hints.

Names are compared in Unicode's composed form (NFC): some systems write `é` as one character, others as two.
"""

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from slotlab.framework.contracts import DataProblem

ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Endings of files that are taken for pictures, in lower or upper case."""
_MASK_WORDS = re.compile("mask|seg|label|gt|inst|annot|flat|panoptic", re.IGNORECASE)
"""Parts of names that suggest a mask."""
_LONGEST_SUFFIX = 40


def sounds_like_masks(name: str) -> bool:
    """Return whether a part of a name suggests masks."""
    return _MASK_WORDS.search(name) is not None


def by_stem(folder: Path, *, recursive: bool, endings: frozenset[str] = ENDINGS) -> dict[str, list[Path]]:
    """Return the pictures in a folder by their stem: the path in the folder without the ending.

    Hidden files and folders are left out.
    """
    found: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in endings and not name.startswith("."):
                stem = normalize("NFC", str(path.relative_to(folder).with_suffix("")))
                found.setdefault(stem, []).append(path)
    return found


def with_suffix(stems: Mapping[str, list[Path]], suffix: str) -> dict[str, list[Path]]:
    """Return the pictures whose stems end in `suffix`, by their stems without it."""
    suffix = normalize("NFC", suffix)
    chosen = ((stem.removesuffix(suffix), paths) for stem, paths in stems.items() if stem.endswith(suffix))
    return {stem: paths for stem, paths in chosen if stem and not stem.endswith("/")}


def repeated(found: Mapping[str, Sequence[Path]]) -> dict[str, list[DataProblem]]:
    """Return, by stem, a problem for each picture whose stem an earlier one has."""
    return {
        stem: [DataProblem(str(path), _repeats(path, paths[0])) for path in paths[1:]]
        for stem, paths in found.items()
        if len(paths) > 1
    }


def _repeats(path: Path, first: Path) -> str:
    if path.with_suffix("") == first.with_suffix(""):
        return f"it has the name of {first} but for the ending; which is meant?"
    text = "differ only in how Unicode writes one of their letters, as one character or as two"
    return f"its name and that of {first.name!a} {text}: {path.name!a}; rename one"


def not_png(
    found: Mapping[str, Sequence[Path]], also: frozenset[str] = frozenset()
) -> dict[str, list[DataProblem]]:
    """Return, by stem, a problem for each mask that is not a PNG.

    Stems of several files are left to `repeated`.
    """
    return {
        stem: [DataProblem(str(paths[0]), "a mask must be a PNG: other kinds may change its labels")]
        for stem, paths in found.items()
        if len(paths) == 1 and paths[0].suffix.lower() not in {".png", *also}
    }


class Nearby:
    """A set of stems, searched for one that is similar to another name."""

    def __init__(self, stems: Iterable[str]):
        self._sorted = sorted(stems)
        self._folded = {stem.casefold(): stem for stem in self._sorted}

    def hint(self, stem: str, setting: str) -> str:
        """Return a hint at the name that may have been meant by `stem`; an empty text if there is none.

        Args:
            stem: a name that is not in the set.
            setting: the setting that names the suffix, for the hint.
        """
        other = self._folded.get(stem.casefold())
        if other is not None:
            return f"; there is {other}, which differs in small and capital letters: rename one"
        longer = self._sorted[(at := bisect_left(self._sorted, stem)) : at + 2]
        longer = [name for name in longer if name.startswith(stem)]
        suffix = longer[0][len(stem) :] if len(longer) == 1 else ""
        return f"; there is {longer[0]}: if that is it, write {setting}: {suffix}" if suffix else ""


def paired_suffix(stems: Iterable[str]) -> tuple[str, int] | None:
    """Return the suffix of masks that lie beside their pictures, and their number; None if there are none.

    It is a suffix that suggests masks (`_mask`, `_seg`), or one with letters that half of the names have.
    """
    known = set(stems)
    counted: Counter[str] = Counter()
    for stem in known:
        for length in range(1, min(len(stem), _LONGEST_SUFFIX + 1)):
            suffix = stem[-length:]
            if "/" in suffix:
                break
            if stem[:-length] in known and re.search("[^0-9_. -]", suffix):
                counted[suffix] += 1
    for suffix, number in counted.most_common():
        if _MASK_WORDS.search(suffix) or (2 * number == len(known) and number > 1):
            return suffix, number
    return None


def twin_suffixes(stems: Iterable[str]) -> tuple[str, str] | None:
    """Return the suffixes of pictures and masks if all have one (`_rgb`, `_seg`), else None."""
    groups: dict[str, set[str]] = {}
    for stem in stems:
        match = re.fullmatch("(.+?)([_.-][^_./-]*)", stem)
        if match is None:
            return None
        groups.setdefault(match[1], set()).add(match[2])
    kinds = list(groups.values())
    if not kinds or len(kinds[0]) != 2 or any(kind != kinds[0] for kind in kinds):
        return None
    masks = [suffix for suffix in sorted(kinds[0]) if _MASK_WORDS.search(suffix)]
    if len(masks) != 1:
        return None
    [picture] = kinds[0] - set(masks)
    return picture, masks[0]


class Shelf:
    """Finds files by name in any Unicode form; each folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, Mapping[str, str]] = {}
        self._folded: dict[Path, Mapping[str, str]] = {}

    def find(self, folder: Path, name: str) -> Path | None:
        """Return the file of this name in a folder; None if there is none."""
        path = folder / name
        actual = self._names(path.parent).get(normalize("NFC", path.name))
        return None if actual is None else path.parent / actual

    def hint(self, folder: Path, name: str) -> str:
        """Return a hint at a file whose name differs only in case; an empty text if there is none."""
        path = folder / name
        if path.parent not in self._folded:
            self._folded[path.parent] = {one.casefold(): one for one in self._names(path.parent)}
        near = self._folded[path.parent].get(normalize("NFC", path.name).casefold())
        return "" if near is None else f"; there is {near}, which differs in small and capital letters"

    def _names(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._listed:
            try:
                names = [entry.name for entry in folder.iterdir()]
            except OSError:
                names = []
            self._listed[folder] = {normalize("NFC", one): one for one in names}
        return self._listed[folder]
