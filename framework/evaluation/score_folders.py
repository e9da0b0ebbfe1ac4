"""The folders of files for `slotlab score`, whose files are matched by name without ending."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.formats.pairing import ENDINGS, by_stem, not_png, repeated
from slotlab.framework.data.formats.pictures import natural_key
from slotlab.framework.evaluation.score_reading import ARRAY, MASK_OPTIONS, File, open_file
from slotlab.registry import SlotlabError

Stems = Mapping[str, Sequence[Path]]
"""The files of a folder by their names without ending."""


class ScoredFiles(Protocol):
    """Masks and images to score, in files or in memory."""

    def match(self) -> tuple[list[tuple[str, Mapping[str, Path]]], list[DataProblem]]:
        """Return names with a path by option, and what is wrong; a path names an image in messages."""

    def open(self, path: Path, option: str) -> File:
        """Return the picture, or the mask's array, that a path stands for."""


@dataclass(frozen=True, kw_only=True)
class ScoredFolders:
    """The folders of masks, images and reconstructions to score."""

    true: Path
    pred: Path
    images: Path | None = None
    recon: Path | None = None
    """Either both `images` and `recon` are given, or neither."""

    def named(self) -> dict[str, Path]:
        """Return the given folders, by the command-line option."""
        every = {"--true": self.true, "--pred": self.pred, "--images": self.images, "--recon": self.recon}
        return {option: folder for option, folder in every.items() if folder is not None}

    def match(self) -> tuple[list[tuple[str, Mapping[str, Path]]], list[DataProblem]]:
        """Return the names that all folders have, each with its files by option, img2 before img10.

        Returns:
            The names and files, and what is wrong with single files.

        Raises:
            SlotlabError: for folders that do not exist or are empty, or have no name in common.
        """
        named = self.named()
        found = files_by_stem(named)
        common = set.intersection(*(set(stems) for stems in found.values()))
        if not common:
            one, other = (min(found[option]) for option in ("--true", "--pred"))
            every = ", ".join(f"{option} {folder}" for option, folder in named.items())
            raise SlotlabError(
                f"no name is in all of {every}; "
                f"files are matched by name without ending, such as '{one}' and '{other}'"
            )
        problems = [problem for option in found for problem in _ambiguous(option, found[option])]
        problems += _alone(found, named)
        names = sorted(common, key=natural_key)
        return [(name, {option: found[option][name][0] for option in named}) for name in names], problems

    def open(self, path: Path, option: str) -> File:
        """Return a decoded picture, or a mask's array (H, W) or (H, W, 3).

        Raises:
            DataError: if it cannot be read, or is not a mask.
        """
        return open_file(path, option)


def files_by_stem(named: Mapping[str, Path]) -> dict[str, Stems]:
    """Return, by option, the files of its folder by their names without ending.

    Raises:
        SlotlabError: for folders that do not exist or are empty.
    """
    missing = [
        f"{option} {folder}: there is no such folder"
        for option, folder in named.items()
        if not folder.is_dir()
    ]
    if missing:
        raise SlotlabError("; ".join(missing))
    found = {
        option: by_stem(folder, recursive=True, endings=endings(option)) for option, folder in named.items()
    }
    empty = [
        f"{option} {named[option]}: {_nothing(option, named[option])}"
        for option in named
        if not found[option]
    ]
    if empty:
        raise SlotlabError("; ".join(empty))
    return {**found}


def endings(option: str) -> frozenset[str]:
    """Return the endings of an option's files; masks may be NumPy arrays."""
    return ENDINGS | {ARRAY} if option in MASK_OPTIONS else ENDINGS


def _nothing(option: str, folder: Path) -> str:
    """Return that a folder has no files for an option, and what it has instead."""
    wanted = f"masks (PNG, or {ARRAY})" if option in MASK_OPTIONS else "pictures"
    kinds = Counter(path.suffix or "without an ending" for path in folder.rglob("*") if path.is_file())
    there = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common(4))
    return f"there are no {wanted} in it" + (f"; it holds {there}" if there else "")


def _ambiguous(option: str, stems: Stems) -> list[DataProblem]:
    """Return the files of an option that share a name, or are masks of a wrong kind."""
    wrong = [repeated(stems)]
    if option in MASK_OPTIONS:
        wrong.append(not_png(stems, frozenset({ARRAY})))
    return [problem for by_file in wrong for problems in by_file.values() for problem in problems]


def _alone(found: Mapping[str, Stems], named: Mapping[str, Path]) -> Iterator[DataProblem]:
    """Yield the files whose name another folder lacks."""
    for stems in found.values():
        for other, theirs in found.items():
            for stem in sorted(stems.keys() - theirs.keys(), key=natural_key):
                yield DataProblem(str(stems[stem][0]), f"there is no {stem} in {other} {named[other]}")
