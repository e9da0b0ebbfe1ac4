"""Checks of the values in COCO's JSON, and drawing the shapes of segmentations.

Whole numbers may be written as 64.0, and ids as text. All functions raise ValueError for a value of another
kind; its text completes a sentence that begins with the field's name.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import Size

Id = int | str
_SHOWN = 60
_LONGEST_NAME = 1000
"""The most characters of a file's name with its folders."""
_LARGEST = 1 << 28
"""The most pixels of a picture."""
_FEWEST = 6
"""The fewest numbers of a polygon: x and y of three corners."""


def shown(value: Any) -> str:
    """Return a value as messages show it, shortened if it is long."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def identifier(value: Any) -> Id:
    """Return an id; a number written as text becomes that number: image "7" is image_id 7."""
    if isinstance(value, str) and value:
        return int(value) if value.isascii() and value.isdecimal() and value == value.lstrip("0") else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"is {shown(value)}; an id is a whole number or text")


def whole(value: Any, *, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ValueError(f"is {shown(value)}; it must be a whole number from {least} to {most}")
    return number


def file_name(value: Any) -> str:
    """Return the name of a file."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or "\0" in value:
        raise ValueError(f"is {shown(value)}; it must be the name of a file")
    return value


def flag(value: Any) -> bool:
    """Return 0, 1, true or false as a bool."""
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"is {shown(value)}; write 0 or 1")


def area(value: Any) -> float:
    """Return an area: a finite number from 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"is {shown(value)}; an area is a number from 0")
    return float(value)


def label(value: Any) -> str:
    """Return the name of a category."""
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value):
        return str(value)
    raise ValueError(f"is {shown(value)}; a category has a name")


def check_shape(segmentation: Any) -> None:
    """Check that a segmentation is a list of polygons or run lengths; `draw` checks its numbers."""
    if isinstance(segmentation, Mapping):
        lacking = [key for key in ("counts", "size") if key not in segmentation]
        if lacking:
            raise ValueError(f"lacks {' and '.join(lacking)}; run lengths have counts and size")
        return
    if not isinstance(segmentation, list):
        raise ValueError(f"is {shown(segmentation)}; it must be a list of polygons, or run lengths")
    if not segmentation:
        raise ValueError("is an empty list; it shows no pixel of the object")
    for place, polygon in enumerate(segmentation):
        if not isinstance(polygon, list):
            flat = isinstance(polygon, int | float) and not isinstance(polygon, bool)
            hint = "one polygon is written [[x, y, x, y, ...]]" if flat else "polygons are lists of numbers"
            raise ValueError(f"holds {shown(polygon)} where a polygon is expected; {hint}")
        if len(polygon) < _FEWEST or len(polygon) % 2:
            wanted = "at least three corners, x and y each"
            raise ValueError(f"has {len(polygon)} numbers in polygon {place}; a polygon has {wanted}")


def draw(segmentation: Any, size: Size) -> NDArray[np.bool_]:
    """Return the pixels inside polygons or run lengths, bool of shape (H, W)."""
    check_shape(segmentation)
    if isinstance(segmentation, Mapping):
        return _draw_runs(segmentation, size)
    from pycocotools import mask as runs

    for polygon in segmentation:
        _check_corners(polygon, size)
    packed = runs.merge(runs.frPyObjects(segmentation, *size))
    with warnings.catch_warnings():  # pycocotools uses a deprecated interface of NumPy
        warnings.simplefilter("ignore", DeprecationWarning)
        found: NDArray[np.bool_] = np.asarray(runs.decode(packed)).astype(bool)
    return found


def _check_corners(polygon: list[Any], size: Size) -> None:
    for place, value in enumerate(polygon):
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError(f"holds {shown(value)}; corners are finite numbers")
        side = size[1 - place % 2]
        if not -side <= value <= 2 * side:
            raise ValueError(
                f"has the corner {shown(value)} far outside of a picture of {size[1]}x{size[0]} pixels"
            )


def _draw_runs(segmentation: Mapping[str, Any], size: Size) -> NDArray[np.bool_]:
    """Draw run lengths: they count pixels column by column, alternately outside and inside."""
    written = segmentation["size"]
    try:
        rows, columns = (whole(side, least=1, most=_LARGEST) for side in written)
    except (TypeError, ValueError):
        raise ValueError(f"has the size {shown(written)}; it must be [rows, columns]") from None
    if (rows, columns) != size:
        raise ValueError(f"is of {columns}x{rows} pixels, the image of {size[1]}x{size[0]}")
    counts = segmentation["counts"]
    lengths = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list):
        raise ValueError(f"has the counts {shown(counts)}; they must be a list of numbers, or text")
    try:
        lengths = [whole(length, least=0, most=rows * columns) for length in lengths]
    except ValueError as error:
        raise ValueError(f"has a count that {error}") from None
    if sum(lengths) != rows * columns:
        raise ValueError(f"has counts of {sum(lengths)} pixels in all, the image has {rows * columns}")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(columns, rows).T.copy()


def _unpacked(text: str) -> list[int]:
    """Return the run lengths that COCO's text form encodes.

    Each number is written in digits of five bits, the least significant first; from the third number on it is
    the difference to the number two before it.
    """
    numbers: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError(f"has the counts {shown(text)}, which are no run lengths")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(f"has the counts {shown(text)}, which end in the middle of a number")
    return numbers


def image_size(rows: Any, columns: Any) -> Size:
    """Return (rows, columns), checked to be at most as many pixels as a picture may have."""
    if rows * columns > _LARGEST:
        raise ValueError(f"are {rows} and {columns}; no picture is as large")
    return rows, columns
