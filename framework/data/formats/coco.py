"""The pictures and segments of data in COCO's format, and the pixels of segments.

Sources: cocodataset.org/#format-data and #format-results (run lengths); Kirillov et al. 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import VOID, DataError, DataProblem, Size
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco_fields import Id
from slotlab.framework.data.formats.pictures import rgb

Overlaps = Literal["smallest", "first", "last", "background", "void"]
"""Whose the pixels are that belong to several instances."""


@dataclass(frozen=True)
class Category:
    """The category of a segment."""

    name: str
    thing: bool
    """False for stuff, such as sky and grass."""


@dataclass(frozen=True)
class Segment:
    """A panoptic segment, or an instance."""

    title: str
    """A name for messages, such as `annotation 7`."""
    id: Id | None
    category: Category
    crowd: bool
    area: float | None
    """In pixels, as the JSON says; None if it does not."""
    written: Any
    """The area as the JSON writes it, as an int or a float."""
    segmentation: Any = None
    """Polygons or run lengths of an instance; None for a panoptic segment."""


@dataclass(frozen=True)
class CocoItem:
    """One picture and its annotations."""

    number: Id
    """The id in the JSON."""
    place: int
    """The position among all images of the JSON, sorted by id."""
    name: str
    """The sample's id, which no other picture has."""
    image: Path
    size: Size | None
    """(rows, columns) as the JSON says, at which instances are drawn."""
    png: Path | None
    """The panoptic PNG; None for instances."""
    segments: Sequence[Segment]
    dropped: frozenset[int] = frozenset()
    """The ids of segments of the PNG that are left out because the JSON's entry is broken."""


@dataclass(frozen=True)
class CocoListing:
    """All pictures, sorted by id, and what had to be left out."""

    items: Sequence[CocoItem]
    listed: int
    """The number of images in the JSON."""
    problems: Sequence[DataProblem]
    cautions: Sequence[str]


def read_segments(picture: Image.Image, item: CocoItem, source: Path) -> tuple[list[int], NDArray[np.intp]]:
    """Return the segment ids in a panoptic PNG (0: unlabeled), and the index of each pixel's id, (H, W).

    Raises:
        DataError: if it is not an RGB PNG, or its segments are not those of the JSON `source`.
    """
    name = str(item.png)
    if picture.mode != "RGB":
        text = f"is {picture.mode}, not RGB, whose colors encode the segments"
        raise DataError(DataProblem(name, text))
    red_HW, green_HW, blue_HW = rgb(picture, name).astype(np.int32)
    found, places_HW = np.unique(red_HW + 256 * green_HW + 65536 * blue_HW, return_inverse=True)
    ids: list[int] = found.tolist()
    listed = {segment.id for segment in item.segments}
    strange = [number for number in ids if number not in listed | item.dropped | {0}]
    unseen = sorted(number for number in listed if isinstance(number, int) and number not in set(ids))
    where = f"segments_info of image {fields.shown(item.number)} in {source}"
    texts = [f"has segments {_some(strange)}, which are not in {where}"] if strange else []
    texts += [f"has no pixel of segments {_some(unseen)}, which are in {where}"] if unseen else []
    if texts:
        raise DataError(*(DataProblem(name, text) for text in texts))
    return ids, places_HW.reshape(red_HW.shape)


def _some(numbers: Sequence[int]) -> str:
    rest = len(numbers) - 10
    return f"{list(numbers[:10])}" + (f" and {rest} more" if rest > 0 else "")


def draw_instance(segment: Segment, size: Size) -> NDArray[np.bool_]:
    """Return the pixels of an instance, bool of shape (H, W).

    Raises:
        ValueError: if it cannot be drawn; the text names the annotation and what is wrong.
    """
    found: NDArray[np.bool_] = checked(
        segment.title, "segmentation", segment.segmentation, lambda shape: fields.draw(shape, size)
    )
    return found


def paint_instances(
    instances: Sequence[NDArray[np.bool_]], labels_HW: NDArray[np.int64], overlaps: Overlaps
) -> None:
    """Write instances over labels, numbered from 1 in their order.

    Args:
        instances: the pixels of each, bool (H, W).
        labels_HW: what lies beneath; changed in place.
        overlaps: whose a pixel is that belongs to several of them.
    """
    numbered = list(enumerate(instances, start=1))
    for number, pixels_HW in reversed(numbered) if overlaps == "first" else numbered:
        labels_HW[pixels_HW] = number
    if overlaps in ("background", "void") and numbered:
        several_HW = np.sum(instances, axis=0) > 1
        labels_HW[several_HW] = VOID if overlaps == "void" else 0


def checked(title: str, name: str, value: Any, check: Callable[[Any], Any]) -> Any:
    """Return the value of a field as `check` converts it.

    Raises:
        ValueError: if `check` refuses it; the text begins with the title and the field's name.
    """
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{title}: {name} {error}") from None
