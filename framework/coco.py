"""The pictures and annotations of a JSON in COCO's panoptic or instance format, matched.

Source: cocodataset.org/#format-data; Kirillov et al. 2019, "Panoptic Segmentation".
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataError, DataProblem, Size
from slotlab.framework.files import decode, rgb

Entry = Mapping[str, Any]
_LISTS = ("images", "annotations", "categories")
_NEEDED = {
    "images": ("id", "file_name"),
    "categories": ("id", "name"),
    "panoptic": ("image_id", "file_name", "segments_info"),
    "instances": ("image_id", "category_id", "segmentation"),
    "segments_info": ("id", "category_id"),
}


class CocoItem(NamedTuple):
    """One picture and what is said of it."""

    image: Path
    size: Size | None
    """As the JSON says; it decides for instances."""
    png: Path | None
    """The panoptic PNG; None for instances."""
    segments: Sequence[Entry]
    """Entries of segments_info; or annotations of instances, the largest first."""


@dataclass(frozen=True)
class CocoListing:
    """All pictures by their number, and what had to be left out."""

    items: Sequence[CocoItem]
    categories: Mapping[int, Entry]
    problems: Sequence[DataProblem]


def list_coco(path: Path, images: Path, pngs: Path | None) -> CocoListing:
    """Match pictures and annotations; none of the pictures is opened.

    Args:
        path: the JSON, of panoptic segments or of instances.
        images: the folder of the pictures.
        pngs: the folder of panoptic PNGs; None for the one beside the JSON with its name.

    Raises:
        ValueError: if the JSON cannot be read or lacks a list.
    """
    data = _load(path)
    panoptic = any("segments_info" in entry for entry in data["annotations"] if isinstance(entry, dict))
    matcher = _Matcher(path, images, (pngs or path.with_suffix("")) if panoptic else None)
    items = list(matcher.match(data))
    return CocoListing(items, matcher.categories, tuple(matcher.problems))


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; give a JSON in COCO's format") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    lacking = [key for key in _LISTS if not isinstance(data, dict) or not isinstance(data.get(key), list)]
    if lacking:
        raise ValueError(f"{path} has no list {', no list '.join(lacking)}; it is not in COCO's format")
    found: dict[str, Any] = data
    return found


@dataclass
class _Matcher:
    """Brings together what belongs to one picture, and collects what is wrong on the way."""

    path: Path
    folder: Path
    pngs: Path | None
    categories: dict[int, Entry] = field(default_factory=dict)
    problems: list[DataProblem] = field(default_factory=list)

    def match(self, data: Mapping[str, Any]) -> Iterator[CocoItem]:
        pictures = dict(self._by_id("images", data["images"]))
        self.categories = dict(self._by_id("categories", data["categories"]))
        kind = "instances" if self.pngs is None else "panoptic"
        said: dict[int, list[Entry]] = {number: [] for number in pictures}
        for place, entry in self._whole(kind, "annotations", data["annotations"]):
            if entry["image_id"] not in pictures:
                self._note(f"annotations[{place}]: image {entry['image_id']} is not in images")
            else:
                said[entry["image_id"]].append(entry)
        there = _names(self.folder)
        drawn = _names(self.pngs) if self.pngs is not None else frozenset()
        for number in sorted(pictures):
            item = self._item(pictures[number], said[number], there, drawn)
            if item is not None:
                yield item

    def _item(
        self, picture: Entry, said: list[Entry], there: frozenset[str], drawn: frozenset[str]
    ) -> CocoItem | None:
        before, number = len(self.problems), picture["id"]
        image = self.folder / picture["file_name"]
        if not _is_there(image, self.folder, there):
            self.problems.append(DataProblem(str(image), f"is missing; it is image {number} of {self.path}"))
        png, segments = None, said
        if self.pngs is not None:
            if len(said) != 1:
                self._note(f"image {number} has {len(said)} annotations; a panoptic image has one")
                return None
            png = self.pngs / said[0]["file_name"]
            if not _is_there(png, self.pngs, drawn):
                text = f"is missing; it belongs to image {number} of {self.path}"
                self.problems.append(DataProblem(str(png), text))
            entries = said[0]["segments_info"]
            segments = [
                part for _, part in self._whole("segments_info", f"image {number}: segments_info", entries)
            ]
        size = (picture["height"], picture["width"]) if {"height", "width"} <= picture.keys() else None
        if self.pngs is None and size is None:
            self._note(f"image {number} has no height and width, which masks of instances need")
        for segment in segments:
            if segment["category_id"] not in self.categories:
                self._note(f"image {number}: category {segment['category_id']} is not in categories")
        if len(self.problems) > before:
            return None
        if self.pngs is None:
            segments = sorted(segments, key=lambda segment: -float(segment.get("area") or 0))
        return CocoItem(image, size, png, segments)

    def _by_id(self, what: str, entries: Iterable[Any]) -> Iterator[tuple[int, Entry]]:
        seen = set()
        for place, entry in self._whole(what, what, entries):
            if entry["id"] in seen:
                self._note(f"{what}[{place}]: there are two with id {entry['id']}; the first is used")
            else:
                seen.add(entry["id"])
                yield entry["id"], entry

    def _whole(self, kind: str, where: str, entries: Iterable[Any]) -> Iterator[tuple[int, Entry]]:
        """Yield the entries that have all keys, with their places."""
        for place, entry in enumerate(entries):
            lacking = [key for key in _NEEDED[kind] if not isinstance(entry, dict) or key not in entry]
            if lacking:
                self._note(f"{where}[{place}] lacks {' and '.join(lacking)}")
            else:
                yield place, entry

    def _note(self, text: str) -> None:
        self.problems.append(DataProblem(str(self.path), text))


def _names(folder: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in folder.iterdir()) if folder.is_dir() else frozenset()


def _is_there(path: Path, folder: Path, names: frozenset[str]) -> bool:
    return path.name in names if path.parent == folder else path.is_file()


def read_segments(item: CocoItem, source: Path) -> tuple[list[int], NDArray[np.intp]]:
    """Return the ids in the panoptic PNG, 0 where nothing is labeled, and each pixel's place among them.

    Raises:
        DataError: if it cannot be read, or it and the JSON `source` name different segments.
    """
    assert item.png is not None
    name = str(item.png)
    picture = decode(item.png, name)
    if picture.mode != "RGB":
        text = f"is {picture.mode}, not RGB, whose colors encode the segments"
        raise DataError(DataProblem(name, text))
    red_HW, green_HW, blue_HW = rgb(picture, name).astype(np.int32)
    found, places_HW = np.unique(red_HW + 256 * green_HW + 65536 * blue_HW, return_inverse=True)
    ids: list[int] = found.tolist()
    listed = {segment["id"] for segment in item.segments}
    strange, unseen = sorted(set(ids) - listed - {0}), sorted(listed - set(ids))
    texts = [f"has segments {strange}, which are not in {source}"] if strange else []
    texts += [f"has no pixel of segments {unseen}, which are in {source}"] if unseen else []
    if texts:
        raise DataError(*(DataProblem(name, text) for text in texts))
    return ids, places_HW.reshape(red_HW.shape)


def draw_instance(segmentation: Any, size: Size, name: str) -> NDArray[np.bool_]:
    """Return the pixels of polygons or run lengths, bool (H, W).

    Raises:
        DataError: if pycocotools cannot make sense of them, with `name` as the file.
    """
    from pycocotools import mask as runs

    try:
        if isinstance(segmentation, list):
            packed = runs.merge(runs.frPyObjects(segmentation, *size))
        elif isinstance(segmentation["counts"], list):
            packed = runs.frPyObjects(segmentation, *size)
        else:
            packed = segmentation
        with warnings.catch_warnings():  # pycocotools speaks to NumPy in an older way
            warnings.simplefilter("ignore", DeprecationWarning)
            pixels_HW = np.asarray(runs.decode(packed)).astype(bool)
    except Exception as error:  # it fails in many ways
        text = f"a segmentation of it cannot be drawn: {error or type(error).__name__}"
        raise DataError(DataProblem(name, text)) from None
    if pixels_HW.shape != size:
        text = "a segmentation of it has {1}x{0} pixels".format(*pixels_HW.shape)
        raise DataError(DataProblem(name, f"{text}, the JSON says {size[1]}x{size[0]}"))
    return pixels_HW
