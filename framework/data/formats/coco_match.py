"""Match the pictures, PNGs and annotations of data in COCO's format, and report what is wrong."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from unicodedata import normalize

from slotlab.framework.contracts import DataProblem, Size
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco import Category, CocoItem, CocoListing, Segment, checked
from slotlab.framework.data.formats.coco_entries import (
    Entry,
    entries_by_id,
    id_order,
    own_id,
    read_json,
    title_of,
)
from slotlab.framework.data.formats.coco_fields import Id
from slotlab.framework.data.formats.pairing import Shelf
from slotlab.framework.data.sample_ids import shortest_names

OnBroken = Literal["fail", "skip"]
"""What a broken annotation does: its picture counts as broken, or loses that annotation alone."""
_MOST_SIDE = 1 << 20
_MOST_ID = (1 << 24) - 1
"""The greatest id of a panoptic segment, which is a color of 24 bits."""
_SHOWN = 3


def list_coco(path: Path, images: Path, pngs: Path | None, broken: OnBroken = "fail") -> CocoListing:
    """Match pictures and annotations, without opening any picture.

    Args:
        path: the JSON, of panoptic segments or of instances.
        images: the folder of the pictures.
        pngs: the folder of panoptic PNGs; None for the one beside the JSON with its name.
        broken: `fail` makes a picture with a broken segment or instance a problem; `skip` leaves out the
            segment or instance alone, with a caution.

    Raises:
        ValueError: if the JSON cannot be read or lacks a list.
    """
    data = read_json(path)
    panoptic = any("segments_info" in entry for entry in data["annotations"] if isinstance(entry, dict))
    matcher = _Matcher(path, images, (pngs or path.with_suffix("")) if panoptic else None, broken)
    return matcher.match(data)


@dataclass
class _Picture:
    """An image of the JSON."""

    entry: Entry
    file_name: str | None = None
    size: Size | None = None
    segments: list[Segment] = field(default_factory=list)
    pngs: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What is wrong with it."""
    dropped: set[int] = field(default_factory=set)
    """The ids of broken segments, which are left out."""


@dataclass
class _Matcher:
    """Collects what belongs to each picture, and what is wrong with it."""

    path: Path
    folder: Path
    pngs: Path | None
    broken: OnBroken
    pictures: dict[Id, _Picture] = field(default_factory=dict)
    categories: dict[Id, Category] = field(default_factory=dict)
    problems: list[DataProblem] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    shelf: Shelf = field(default_factory=Shelf)

    def match(self, data: Mapping[str, Any]) -> CocoListing:
        for number, entry in entries_by_id("images", data["images"], self._note):
            self.pictures[number] = self._picture(number, entry)
        for number, entry in entries_by_id("categories", data["categories"], self._note):
            title = f"category {fields.shown(number)}"
            try:
                thing = checked(title, "isthing", entry.get("isthing", 1), fields.flag)
                self.categories[number] = Category(
                    checked(title, "name", entry.get("name"), fields.label), thing
                )
            except ValueError as error:
                self._note(str(error))
        self._check_names()
        for place, entry in enumerate(data["annotations"]):
            self._annotate(place, entry)
        order = sorted(self.pictures, key=id_order)
        names = shortest_names([picture.file_name for picture in self.pictures.values() if picture.file_name])
        items = [self._item(place, number, names) for place, number in enumerate(order)]
        cautions = []
        if self.skipped:
            rest = f", and {len(self.skipped) - _SHOWN} more" if len(self.skipped) > _SHOWN else ""
            number = len(self.skipped)
            what = "annotation is" if number == 1 else "annotations are"
            text = f"{self.path}: {number:,} {what} left out, as broken_annotations says"
            cautions.append(f"{text}: {'; '.join(self.skipped[:_SHOWN])}{rest}")
        return CocoListing([item for item in items if item], len(order), tuple(self.problems), cautions)

    def _picture(self, number: Id, entry: Entry) -> _Picture:
        found, title = _Picture(entry), f"image {fields.shown(number)}"

        def read(name: str, check: Callable[[Any], Any]) -> Any:
            try:
                return checked(title, name, entry[name], check)
            except ValueError as error:
                found.complaints.append(str(error))

        found.file_name = read("file_name", fields.file_name)
        lacking = [name for name in ("height", "width") if name not in entry]
        if self.pngs is None and lacking:
            found.complaints.append(f"{title} has no {' and '.join(lacking)}, which masks of instances need")
        if not lacking:
            rows, columns = (read(name, _side) for name in ("height", "width"))
            if rows and columns:
                try:
                    found.size = fields.image_size(rows, columns)
                except ValueError as error:
                    found.complaints.append(f"{title}: height and width {error}")
        return found

    def _check_names(self) -> None:
        """Report pictures with the same file name: they would be one picture with several masks."""
        named: dict[str, list[Id]] = defaultdict(list)
        for number, picture in self.pictures.items():
            if picture.file_name:
                named[normalize("NFC", str(PurePosixPath(picture.file_name)))].append(number)
        for name, numbers in named.items():
            if len(numbers) > 1:
                listed = " and ".join(map(fields.shown, numbers[:_SHOWN]))
                for number in numbers:
                    self.pictures[number].complaints.append(
                        f"images {listed} have one file_name, {fields.shown(name)}"
                    )

    def _annotate(self, place: int, entry: Any) -> None:
        """Add an annotation to its picture."""
        where = f"annotations[{place}]"
        keys = ("image_id", "file_name", "segments_info")
        needed = ("image_id", "category_id", "segmentation") if self.pngs is None else keys
        title = title_of("annotation", entry, where)
        lacking = [key for key in needed if not isinstance(entry, dict) or key not in entry]
        if lacking and (self.pngs is not None or "image_id" in lacking or not isinstance(entry, dict)):
            self._stray(f"{title} lacks {' and '.join(lacking)}")
            return
        try:
            number = checked(title, "image_id", entry["image_id"], fields.identifier)
            if number not in self.pictures:
                raise ValueError(f"{title}: image_id {fields.shown(number)} is not in images")
        except ValueError as error:
            self._stray(str(error))
            return
        picture = self.pictures[number]
        of_picture = f"image {fields.shown(number)}: {title}"
        if lacking:
            self._broken(picture, f"{of_picture} lacks {' and '.join(lacking)}")
        elif self.pngs is None:
            self._take(picture, entry, of_picture)
        else:
            self._take_panoptic(picture, entry, f"image {fields.shown(number)}")

    def _take_panoptic(self, picture: _Picture, entry: Entry, title: str) -> None:
        try:
            picture.pngs.append(
                checked(title, "file_name of its annotation", entry["file_name"], fields.file_name)
            )
        except ValueError as error:
            picture.complaints.append(str(error))
        segments = entry["segments_info"]
        if not isinstance(segments, list):
            picture.complaints.append(
                f"{title}: segments_info is {fields.shown(segments)}; it must be a list"
            )
            return
        for place, segment in enumerate(segments):
            where = f"segments_info[{place}]"
            lacking = [
                key for key in ("id", "category_id") if not isinstance(segment, dict) or key not in segment
            ]
            if lacking:
                self._broken(picture, f"{title}: {where} lacks {' and '.join(lacking)}")
            else:
                self._take(picture, segment, f"{title}: {title_of('segment', segment, where)}")

    def _take(self, picture: _Picture, entry: Entry, title: str) -> None:
        """Add a segment or an instance to its picture, if its fields are valid."""
        number: Id | None = None
        try:
            if self.pngs is not None:
                number = checked(title, "id", entry["id"], _segment_id)
                if any(other.id == number for other in picture.segments):
                    raise ValueError(f"{title}: id {number} is there twice")
            category = checked(title, "category_id", entry["category_id"], fields.identifier)
            if category not in self.categories:
                raise ValueError(f"{title}: category_id {fields.shown(category)} is not in categories")
            crowd = checked(title, "iscrowd", entry.get("iscrowd", 0), fields.flag)
            area = checked(title, "area", entry["area"], fields.area) if "area" in entry else None
            if self.pngs is None:
                checked(title, "segmentation", entry["segmentation"], fields.check_shape)
                number = own_id(entry)
                if number is not None and any(other.id == number for other in picture.segments):
                    raise ValueError(f"{title}: id {fields.shown(number)} is there twice")
        except ValueError as error:
            self._broken(picture, str(error))
            if isinstance(number, int):
                picture.dropped.add(number)
            return
        kind, shape = self.categories[category], entry.get("segmentation")
        picture.segments.append(Segment(title, number, kind, crowd, area, entry.get("area"), shape))

    def _broken(self, picture: _Picture, text: str) -> None:
        if self.broken == "skip":
            self.skipped.append(text)
        else:
            picture.complaints.append(text)

    def _stray(self, text: str) -> None:
        """Report an annotation that belongs to no picture."""
        if self.broken == "skip":
            self.skipped.append(text)
        else:
            self._note(text)

    def _item(self, place: int, number: Id, names: Mapping[str, str]) -> CocoItem | None:
        picture, title = self.pictures[number], f"image {fields.shown(number)}"
        problems = [DataProblem(str(self.path), text, place) for text in picture.complaints]
        image, png = None, None
        if picture.file_name is not None:
            image = self.shelf.find(self.folder, picture.file_name)
            if image is None:
                wanted = self.folder / picture.file_name
                text = f"is missing; it is {title} of {self.path}"
                text += self.shelf.hint(self.folder, picture.file_name)
                problems.append(DataProblem(str(wanted), text, place))
        if self.pngs is not None and len(picture.pngs) == 1:
            png = self.shelf.find(self.pngs, picture.pngs[0])
            if png is None:
                text = f"is missing; it belongs to {title} of {self.path}"
                text += self.shelf.hint(self.pngs, picture.pngs[0])
                problems.append(DataProblem(str(self.pngs / picture.pngs[0]), text, place))
        elif self.pngs is not None and not picture.complaints:
            text = f"{title} has {len(picture.pngs)} annotations; a panoptic image has one"
            problems.append(DataProblem(str(self.path), text, place))
        self.problems += problems
        if problems or image is None or picture.file_name is None:
            return None
        name = names[picture.file_name]
        segments, dropped = tuple(picture.segments), frozenset(picture.dropped)
        return CocoItem(number, place, name, image, picture.size, png, segments, dropped)

    def _note(self, text: str) -> None:
        self.problems.append(DataProblem(str(self.path), text))


def _side(value: Any) -> int:
    return fields.whole(value, least=1, most=_MOST_SIDE)


def _segment_id(value: Any) -> int:
    return fields.whole(value, least=1, most=_MOST_ID)
