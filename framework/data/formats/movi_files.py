"""Find MOVi's files: the folder of a variant and size, and the files of a split.

    <root>/movi_c/256x256/1.0.0/movi_c-validation.tfrecord-00000-of-00010

Source: gs://kubric-public/tfds, as github.com/google-research/kubric, challenges/movi, describes it.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.tfrecord import RecordPlace, list_records
from slotlab.registry import ComponentError

ON_DISK: Mapping[str, str] = {"train": "train", "val": "validation", "test": "test"}
"""What files call a split."""
WITH_TEST = "cde"
"""Variants that are published with a test split, of objects and backgrounds that training never shows."""
INFO = "dataset_info.json"
SOURCE = "gs://kubric-public/tfds"
_SHARD = re.compile(r"movi_([a-f])-([a-z]+)\.tfrecord-([0-9]{5})-of-([0-9]{5})")
_SIZE = re.compile(r"([1-9][0-9]*)x\1")
_STEPS = (re.compile("movi_[a-f]"), _SIZE, re.compile(r"[0-9]+\.[0-9]+\.[0-9]+"))
"""The folders that lead to the files, from the outermost inwards."""
_SHOWN = 5


class Folder(NamedTuple):
    """A folder with files of one variant."""

    path: Path
    variant: str
    resolution: int | None
    """Rows and columns of its frames, as the folder above says; None if it does not."""
    splits: tuple[str, ...]
    """Those of `ON_DISK` of which there is a file."""


def called(variant: str) -> str:
    """Return the name of a variant."""
    return f"MOVi-{variant.upper()}"


def folders_in(path: Path) -> list[Folder]:
    """Return the folders with MOVi's files, in `path` and where they lie below it, by names alone."""
    return [folder for place in _leaves(path, 0) for folder in _read(place)] if path.is_dir() else []


def _leaves(path: Path, step: int) -> Iterator[Path]:
    yield path
    names = sorted(os.listdir(path))  # noqa: PTH208 - a folder may hold 100,000 pictures
    for deeper, pattern in enumerate(_STEPS[step:], start=step + 1):
        for name in names:
            if pattern.fullmatch(name) and (path / name).is_dir():
                yield from _leaves(path / name, deeper)


def _read(path: Path) -> Iterator[Folder]:
    matches = [_SHARD.fullmatch(name) for name in os.listdir(path)]  # noqa: PTH208
    found = {(match[1], match[2]) for match in matches if match is not None}
    sizes = [_SIZE.fullmatch(name) for name in (path.name, path.parent.name)]
    resolution = next((int(size[1]) for size in sizes if size is not None), None)
    for variant in sorted({variant for variant, _ in found}):
        splits = tuple(split for split, name in ON_DISK.items() if (variant, name) in found)
        if splits:
            yield Folder(path, variant, resolution, splits)


def find_folder(root: Path, variant: str, resolution: int | None) -> Folder:
    """Return the one folder of a variant and size in `root`.

    Raises:
        ComponentError: if there is none, or more than one.
    """
    name = called(variant)
    if not root.is_dir():
        text = f"there is no folder {root}; give the folder that holds movi_{variant}"
        raise ComponentError(f"{text}, or the one that holds movi_{variant}-*.tfrecord-*", field="root")
    folders = folders_in(root)
    found = [one for one in folders if one.variant == variant]
    if not found:
        others = sorted({called(one.variant) for one in folders})
        there = f"; there is {', '.join(others)}: choose another variant" if others else ""
        looked = f"its folders movi_{variant}/256x256/1.0.0, 256x256/1.0.0 and 1.0.0 (of any size)"
        text = f"there are no files movi_{variant}-*.tfrecord-* in {root}, nor in {looked}"
        raise ComponentError(f"{text}{there}", field="variant" if others else "root")
    sizes = sorted({one.resolution for one in found if one.resolution is not None})
    if resolution is not None:
        found = [one for one in found if one.resolution in (None, resolution)]
        if not found:
            text = f"{name} is in {root} with {_words(sizes)} pixels a side, not {resolution}; get the files"
            text = f"{text} of that size with\n{_copy(variant, resolution)}"
            raise ComponentError(text, field="resolution")
    if resolution is None and len(sizes) > 1:
        text = f"{name} is in {root} with {_words(sizes)} pixels a side; choose one"
        raise ComponentError(f"{text}, such as resolution: {sizes[0]}", field="resolution")
    if len(found) > 1:
        paths = ", ".join(str(one.path) for one in found)
        raise ComponentError(f"{name} is in {len(found)} folders; give one of them: {paths}", field="root")
    return found[0]


def find_shards(folder: Folder, split: str) -> list[Path]:
    """Return all files of a split, in their order.

    Raises:
        ComponentError: if there are none, or some are missing.
    """
    start = f"movi_{folder.variant}-{ON_DISK[split]}.tfrecord"
    matches = [_SHARD.fullmatch(name) for name in os.listdir(folder.path)]  # noqa: PTH208
    found = {
        (int(match[3]), int(match[4])): folder.path / match[0]
        for match in matches
        if match is not None and match[0].startswith(f"{start}-")
    }
    if not found:
        raise ComponentError(_no_split(folder, split), field="splits")
    totals = sorted({total for _, total in found})
    if len(totals) > 1:
        text = f"{folder.path} holds files {start} of {_words(totals)} in all: they belong to"
        raise ComponentError(f"{text} different copies; keep those of one", field="root")
    wanted = [(number, totals[0]) for number in range(totals[0])]
    missing = [f"{start}-{one[0]:05d}-of-{one[1]:05d}" for one in wanted if one not in found]
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        text = f"{len(missing)} of the {totals[0]} files of the split '{split}' are missing in {folder.path}"
        what = f"{start}-*" if len(missing) > 1 else missing[0]
        copy = _copy(folder.variant, folder.resolution, what, folder.path)
        raise ComponentError(f"{text}: {shown}{more}; get them with\n{copy}", field="root")
    return [found[one] for one in wanted]


def list_clips(folder: Folder, split: str, shards: Sequence[Path]) -> list[RecordPlace]:
    """Return the records of the files of a split, one a clip, after reading their lengths.

    Raises:
        DataError: for files that are damaged or cut off; `dataset_info.json` tells how many records each has.
    """
    lengths = _lengths(folder, split, len(shards))
    problems: list[DataProblem] = []
    found: list[RecordPlace] = []
    for number, path in enumerate(shards):
        try:
            records = list_records(path)
        except DataError as error:
            problems += error.problems
            continue
        wanted = len(records) or 1 if lengths is None else lengths[number]
        if len(records) != wanted:
            text = f"it holds {len(records)} records, not {wanted}"
            known = "" if lengths is None else f" as {INFO} says"
            problems.append(DataProblem(str(path), f"{text}{known}; download the file again"))
        found += records
    if problems:
        raise DataError(*problems[:20])
    return found


def caution(folder: Folder, split: str, shards: int) -> list[str]:
    """Return a warning if nothing tells how many records the files should have."""
    if _lengths(folder, split, shards) is not None:
        return []
    text = f"{folder.path / INFO} does not tell how many clips each of the {shards} files of '{split}' has"
    return [f"{text}: a file that ends too early, but between two clips, would not be noticed"]


def _lengths(folder: Folder, split: str, shards: int) -> list[int] | None:
    """Return how many records each file has, as TFDS wrote it beside them; None if it is not known."""
    try:
        data: Any = json.loads((folder.path / INFO).read_bytes())
        [lengths] = [one["shardLengths"] for one in data["splits"] if one["name"] == ON_DISK[split]]
        found = [int(length) for length in lengths]
    except (OSError, ValueError, KeyError, TypeError):  # it only serves as a check
        return None
    return found if len(found) == shards else None


def _no_split(folder: Folder, split: str) -> str:
    text = f"there are no files of the split '{split}' of {called(folder.variant)} in {folder.path}"
    there = f"(there are {', '.join(folder.splits)})"
    if split == "test" and folder.variant not in WITH_TEST:
        return f"{text} {there}: it is published without one; MOVi-C, MOVi-D and MOVi-E have one"
    pattern = f"movi_{folder.variant}-{ON_DISK[split]}.tfrecord-*"
    return f"{text} {there}; get them with\n{_copy(folder.variant, folder.resolution, pattern, folder.path)}"


def _copy(variant: str, resolution: int | None, what: str = "*", to: Path | str = "FOLDER") -> str:
    """Return the command that downloads files."""
    size = 256 if resolution is None else resolution
    return f"  gsutil -m cp '{SOURCE}/movi_{variant}/{size}x{size}/1.0.0/{what}' {to}"


def _words(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
