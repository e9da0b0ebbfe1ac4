"""Find the scenes of a CLEVRTex variant, in the official tree or in the archives as downloaded.

    <root>/clevrtex_<variant>/<index // 1000>/CLEVRTEX_<variant>_<index:06d>.png and its siblings
    <root>/clevrtex_full_part1.tar.gz ... part5, <root>/clevrtex_outd.tar.gz, ...

Order is by index, as in `clevrtex_eval.py` (github.com/karazijal/clevrtex-generation).
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.formats.archives import ReportArchive, open_archive
from slotlab.framework.data.formats.clevrtex_scene import FILE, IMAGE, MASK, METADATA, Scene, stem
from slotlab.framework.data.formats.pictures import Blob
from slotlab.registry import ComponentError

PUBLISHED = {
    "full": 50_000,
    "outd": 10_000,
    "camo": 20_000,
    "pbg": 20_000,
    "vbg": 20_000,
    "grassbg": 20_000,
}
"""The number of published scenes of each variant."""
COUNTED = ("full", "outd")
"""Variants whose number is certain, because published loaders check it; the others were not counted."""
PARTS = {"full": 5}
"""The number of archives of variants that are published in more than one."""
SET_ROOT = "--set data.dataset.root=DIR"
_ARCHIVE = re.compile(r"(clevrtex_[a-z]+?)(?:_part([0-9]+))?\.(tar|tar\.gz|tgz)")
_NAMED = re.compile(r"clevrtex_([a-z]+?)(?:_part[0-9]+)?(?:\.tar|\.tar\.gz|\.tgz)?")
_SCENE = re.compile(r"CLEVRTEX_([a-z]+)_[0-9]{6}.*")
_SHOWN = 3
_FAR = 0.1
"""If a greater part is missing at the start, the data is taken for an excerpt that begins later."""


@dataclass(frozen=True)
class Found:
    """The complete scenes of a variant by index, the problems of others, and warnings."""

    scenes: Sequence[Scene]
    problems: Sequence[DataProblem]
    cautions: Sequence[str]
    root: Path
    """The folder that the files' names are relative to."""
    extent: range
    """The indices of all scenes, including those that are left out or missing."""
    archives: Sequence[Path] = ()
    """The archives that were read; empty for a tree."""


def find_scenes(root: Path, variant: str, report: ReportArchive | None = None) -> Found:
    """Find all scenes: in `root` if it is an archive, in the tree, or in the archives in `root`.

    Scenes that lack a file or exist twice are left out and reported as problems.

    Raises:
        ComponentError: if there are no files of the variant.
    """
    name = f"clevrtex_{variant}"
    if root.is_file():
        return _from_archives([root], root.parent, variant, report)
    folder = root if root.name == name else root / name
    blobs = list(list_tree(folder, variant)) if folder.is_dir() else []
    places = [place for place in (folder, root) if place.is_dir()]
    archives = next(filter(None, (find_archives(place, variant) for place in places)), [])
    if not blobs and archives:
        return _from_archives(archives, archives[0].parent, variant, report)
    if not blobs:
        raise ComponentError(_nothing(root, folder, variant), field="root")
    scenes, problems = gather(blobs, variant)
    extent = _extent(scenes, problems, variant)
    cautions = [_caution(scenes, variant, extent)]
    if cautions[0] and archives:
        cautions.append(f"the archives in {archives[0].parent} are not read, because {folder} is there")
    return Found(scenes, _placed(problems, extent), tuple(filter(None, cautions)), folder, extent)


def variants_in(path: Path) -> list[str]:
    """Return the published variants that a path holds, or whose folder or archive it is, by names alone."""
    here = _NAMED.fullmatch(path.name)
    if here is not None and here[1] in PUBLISHED:
        return [here[1]]
    names = [entry.name for entry in path.iterdir()] if path.is_dir() else [path.name]
    matches = [pattern.fullmatch(name) for pattern in (_NAMED, _SCENE) for name in names]
    found = {match[1] for match in matches if match is not None}
    return [variant for variant in PUBLISHED if variant in found]


def list_tree(folder: Path, variant: str) -> Iterator[Blob]:
    """Yield the files of the variant's scenes under `folder`, following links, without opening them."""
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        facts = os.stat(place)  # noqa: PTH116
        if (facts.st_dev, facts.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for file in names:
            match = FILE.fullmatch(file)
            if match is not None and match[1] == variant:
                path = f"{place}{os.sep}{file}"
                yield Blob(path, path)


def find_archives(folder: Path, variant: str) -> list[Path]:
    """Return the variant's archives in a folder, by part; an uncompressed one is preferred."""
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):  # .tar comes before .tar.gz
        match = _ARCHIVE.fullmatch(path.name)
        if match is not None and match[1] == f"clevrtex_{variant}" and path.is_file():
            found.setdefault(int(match[2] or 0), path)
    return [found[part] for part in sorted(found)]


def gather(
    blobs: Iterable[Blob], variant: str, *, once: bool = False
) -> tuple[list[Scene], list[DataProblem]]:
    """Bring the files of each scene together, sorted by index.

    Args:
        blobs: the files, in any order.
        variant: files of other variants are ignored.
        once: whether two files with the same name and bytes count as one.
    """
    files: dict[str, dict[int, Blob]] = {ending: {} for ending in (IMAGE, MASK, METADATA)}
    again: dict[int, tuple[bool, DataProblem]] = {}
    for blob in blobs:
        match = FILE.fullmatch(blob.name, blob.name.rfind("/") + 1)
        if match is None or match[1] != variant:
            continue
        index = int(match[2])
        first = files[match[3]].setdefault(index, blob)
        if first is not blob and not (once and _alike(first, blob)):
            text = f"there are two files with one index: the other is {max(first.name, blob.name)}"
            problem = (match[3] != IMAGE, DataProblem(min(first.name, blob.name), text))
            again[index] = min(again.get(index, problem), problem)  # of the picture, if it is there twice
    images, masks, metadata = files.values()
    whole = (images.keys() & masks.keys() & metadata.keys()) - again.keys()
    scenes = [Scene(index, images[index], masks[index], metadata[index]) for index in sorted(whole)]
    problems = [
        replace(
            again[index][1] if index in again else _lacking(index, files, stem(variant, index)), place=index
        )
        for index in sorted((images.keys() | masks.keys() | metadata.keys()) - whole)
    ]
    return scenes, problems


def _alike(one: Blob, other: Blob) -> bool:
    return one.size == other.size and one.read() == other.read()


def _lacking(index: int, files: Mapping[str, Mapping[int, Blob]], name: str) -> DataProblem:
    first = next(there[index] for there in files.values() if index in there)
    missing = [name + ending for ending, there in files.items() if index not in there]
    return DataProblem(first.name, f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


def _from_archives(archives: Sequence[Path], root: Path, variant: str, report: ReportArchive | None) -> Found:
    opened = [open_archive(archive, _is_wanted, report=report) for archive in archives]
    blobs = [blob for one in opened for blob in one.files]
    scenes, problems = gather(blobs, variant, once=True)
    problems = [problem for one in opened for problem in one.problems] + problems
    if not scenes and not problems:
        names = ", ".join(map(str, archives))
        text = f"no images CLEVRTEX_{variant}_??????.png in {names}; give another archive: {SET_ROOT}"
        raise ComponentError(text, field="root")
    extent, placed = _extent(scenes, problems, variant), _placed(problems, _extent(scenes, problems, variant))
    cautions = (_caution(scenes, variant, extent), _missing_parts(archives, variant))
    return Found(scenes, placed, tuple(filter(None, cautions)), root, extent, tuple(archives))


def _extent(scenes: Sequence[Scene], problems: Sequence[DataProblem], variant: str) -> range:
    """Return the range of indices that the data is taken to consist of, including missing scenes.

    Splits are parts of this range, and a scene's place in it depends on its own index, so that a missing
    scene moves no other. If the indices span more than half of the published scenes, it is all of them.
    Otherwise the data was rendered or is an excerpt: the range ends with the greatest index of any file, and
    begins with 0, or with the least index if that is far from 0.
    """
    indices = [scene.number for scene in scenes]
    indices += [problem.place for problem in problems if problem.place is not None]
    if not indices:
        return range(0)
    first, end, published = min(indices), max(indices) + 1, PUBLISHED[variant]
    if published / 2 < end - first and end <= published:
        return range(published)
    return range(first if first > _FAR * end else 0, end)


def _placed(problems: Sequence[DataProblem], extent: range) -> list[DataProblem]:
    """Return the problems with positions in the extent instead of scene indices."""
    return [
        problem if problem.place is None else replace(problem, place=problem.place - extent.start)
        for problem in problems
    ]


def _is_wanted(name: str) -> bool:
    return FILE.fullmatch(name) is not None


def _caution(scenes: Sequence[Scene], variant: str, extent: range) -> str:
    """Return a warning if scenes are missing, since splits and results may differ; else an empty text."""
    published = PUBLISHED[variant]
    indices = {scene.number for scene in scenes}
    if indices == set(range(published)):
        return ""
    text = f"clevrtex_{variant}: {len(scenes):,} scenes are here, {published:,} were published"
    text += "" if variant in COUNTED else ", as far as is known"
    gaps = _ranges(sorted(set(range(published)) - indices))
    rest = len(gaps) - _SHOWN
    if gaps:
        text += f"; missing: {', '.join(gaps[:_SHOWN])}" + (f" and {rest} more gaps" if rest > 0 else "")
    if len(extent) == published:
        return f"{text}; splits are those of the whole without these, and results are not those of the whole"
    where = f"scenes {extent.start} to {extent.stop - 1}"
    return f"{text}; splits are parts of {where}, and they, and results, are not those of the whole"


def _ranges(numbers: Sequence[int]) -> list[str]:
    ends = [i for i in range(len(numbers)) if i + 1 == len(numbers) or numbers[i + 1] != numbers[i] + 1]
    starts = [0, *(end + 1 for end in ends[:-1])]
    pairs = ((numbers[start], numbers[end]) for start, end in zip(starts, ends, strict=False))
    return [str(low) if low == high else f"{low} to {high}" for low, high in pairs]


def _missing_parts(archives: Sequence[Path], variant: str) -> str:
    matches = [_ARCHIVE.fullmatch(archive.name) for archive in archives]
    here = {int(match[2]) for match in matches if match is not None and match[2] is not None}
    wanted = set(range(1, max(PARTS.get(variant, 0), *here, 1) + 1)) if here else set()
    missing = sorted(wanted - here)
    if not missing:
        return ""
    have, lack = (", ".join(map(str, parts)) for parts in (sorted(here), missing))
    return f"of the archives clevrtex_{variant}_part1 to {max(wanted)}, {have} are here; missing: {lack}"


def _nothing(root: Path, folder: Path, variant: str) -> str:
    name = f"clevrtex_{variant}"
    if not root.is_dir():
        return f"there is no folder {root}; give the folder that holds {name} or its archives: {SET_ROOT}"
    if folder.is_dir():
        return f"no images CLEVRTEX_{variant}_??????.png under {folder}; give another folder: {SET_ROOT}"
    others = sorted(path.name for path in root.glob("clevrtex_*"))
    there = f" (there is {', '.join(others)})" if others else ""
    return (
        f"there is no folder {name} in {root}, nor its archives{there}; "
        f"give the folder that holds {name}: {SET_ROOT}"
    )
