"""What COCO's JSON says of a picture, and the pixels of its segments.

Sources: cocodataset.org/#format-data and #format-results (run lengths); Kirillov et al. 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import DataError, DataProblem, Size
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco_fields import Id
from slotlab.framework.data.formats.pictures import rgb


@dataclass(frozen=True)
class Category:
    """What segments are of."""

    name: str
    thing: bool


@dataclass(frozen=True)
class Segment:
    """A panoptic segment, or an instance."""

    title: str
    """For messages, such as `annotation 7`."""
    id: Id | None
    category: Category
    crowd: bool
    area: float | None
    """As the JSON says; None where it does not."""
    written: Any
    """The area as it is written, whole or not."""
    segmentation: Any = None
    """Of an instance."""


@dataclass(frozen=True)
class CocoItem:
    """One picture and what is said of it."""

    number: Id
    place: int
    """Its position among all images of the JSON, by id."""
    name: str
    """Its own among all pictures."""
    image: Path
    size: Size | None
    """As the JSON says; it decides for instances."""
    png: Path | None
    """The panoptic PNG; None for instances."""
    segments: Sequence[Segment]
    dropped: frozenset[int] = frozenset()
    """Segments of the panoptic PNG that are broken in the JSON and left out."""


@dataclass(frozen=True)
class CocoListing:
    """All pictures by their id, and what had to be left out."""

    items: Sequence[CocoItem]
    listed: int
    """How many images the JSON has."""
    problems: Sequence[DataProblem]
    cautions: Sequence[str]


def read_segments(picture: Image.Image, item: CocoItem, source: Path) -> tuple[list[int], NDArray[np.intp]]:
    """Return the ids in a panoptic PNG, 0 where nothing is labeled, and each pixel's place among them.

    Raises:
        DataError: if it is no such PNG, or it and the JSON `source` name different segments.
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
    """Return the pixels of an instance, bool (H, W).

    Raises:
        ValueError: if it cannot be drawn, with the annotation and what is wrong with it.
    """
    found: NDArray[np.bool_] = checked(
        segment.title, "segmentation", segment.segmentation, lambda shape: fields.draw(shape, size)
    )
    return found


def checked(title: str, name: str, value: Any, check: Callable[[Any], Any]) -> Any:
    """Return what a check makes of a field.

    Raises:
        ValueError: if it is none of its kind, with the title and the field's name.
    """
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{title}: {name} {error}") from None
