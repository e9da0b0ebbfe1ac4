"""The JSON of YouTube-VIS: videos, and objects with a segmentation for each frame.

    videos: [{id, file_names, height, width}], categories: [{id, name}],
    annotations: [{video_id, category_id, iscrowd, segmentations: [run lengths, or null where it is unseen]}]

Source: Yang et al. 2019, "Video Instance Segmentation"; run lengths are those of COCO.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slotlab.framework.contracts import DataProblem, Size
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco import checked
from slotlab.framework.data.formats.coco_entries import Entry, entries_by_id, id_order, read_json, title_of
from slotlab.framework.data.formats.coco_fields import Id

_LISTS = ("videos", "annotations", "categories")
_MOST_SIDE = 1 << 20


@dataclass(frozen=True)
class VideoObject:
    """An object of a video."""

    title: str
    """A name for messages, such as `annotation 7`."""
    category: str
    crowd: bool
    shapes: Sequence[Any]
    """Run lengths or polygons in each frame; None where it is not seen."""


@dataclass
class VideoEntry:
    """A video of the JSON."""

    number: Id
    file_names: Sequence[str] = ()
    size: Size = (1, 1)
    """(rows, columns)."""
    objects: list[VideoObject] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What is wrong with it."""


def read_videos(path: Path) -> tuple[list[VideoEntry], list[DataProblem]]:
    """Return the videos of a JSON by their ids, and what belongs to none of them and is wrong.

    Raises:
        ValueError: if the JSON cannot be read or lacks a list.
    """
    data = read_json(path, _LISTS)
    problems: list[DataProblem] = []

    def note(text: str) -> None:
        problems.append(DataProblem(str(path), text))

    videos = {
        number: _video(number, entry) for number, entry in entries_by_id("videos", data["videos"], note)
    }
    names: dict[Id, str] = {}
    for number, entry in entries_by_id("categories", data["categories"], note):
        try:
            names[number] = checked(f"category {fields.shown(number)}", "name", entry["name"], fields.label)
        except ValueError as error:
            note(str(error))
    for place, entry in enumerate(data["annotations"]):
        title = title_of("annotation", entry, f"annotations[{place}]")
        try:
            owner = videos[_owner(title, entry, videos)]
        except ValueError as error:
            note(str(error))
            continue
        try:
            owner.objects.append(_object(title, entry, names, owner))
        except ValueError as error:
            owner.complaints.append(f"video {fields.shown(owner.number)}: {error}")
    return [videos[number] for number in sorted(videos, key=id_order)], problems


def _video(number: Id, entry: Entry) -> VideoEntry:
    found, title = VideoEntry(number), f"video {fields.shown(number)}"
    try:
        rows, columns = (checked(title, side, entry[side], _side) for side in ("height", "width"))
        found.size = fields.image_size(rows, columns)
        found.file_names = checked(title, "file_names", entry["file_names"], _file_names)
    except ValueError as error:
        found.complaints.append(str(error))
    return found


def _owner(title: str, entry: Any, videos: Mapping[Id, VideoEntry]) -> Id:
    needed = ("video_id", "category_id", "segmentations")
    lacking = [key for key in needed if not isinstance(entry, dict) or key not in entry]
    if lacking:
        raise ValueError(f"{title} lacks {' and '.join(lacking)}")
    owner: Id = checked(title, "video_id", entry["video_id"], fields.identifier)
    if owner not in videos:
        raise ValueError(f"{title}: video_id {fields.shown(owner)} is not in videos")
    return owner


def _object(title: str, entry: Entry, names: Mapping[Id, str], owner: VideoEntry) -> VideoObject:
    category = checked(title, "category_id", entry["category_id"], fields.identifier)
    if category not in names:
        raise ValueError(f"{title}: category_id {fields.shown(category)} is not in categories")
    shapes, frames = entry["segmentations"], len(owner.file_names)
    if not isinstance(shapes, list):
        raise ValueError(f"{title}: segmentations is {fields.shown(shapes)}; it must be a list")
    if not owner.complaints and len(shapes) != frames:
        raise ValueError(f"{title} has {len(shapes)} segmentations; the video has {frames} frames")
    crowd = checked(title, "iscrowd", entry.get("iscrowd", 0), fields.flag)
    return VideoObject(title, names[category], crowd, shapes)


def _side(value: Any) -> int:
    return fields.whole(value, least=1, most=_MOST_SIDE)


def _file_names(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"is {fields.shown(value)}; it must be a list of the frames' files")
    return [fields.file_name(one) for one in value]
