"""MOVi's records: a frame of a clip, its mask, and what is known of the objects in it.

Sources: the features in github.com/google-research/kubric, challenges/movi/movi_[a-f].py, and how
TFDS writes them: values of objects one after the other, all frames of the first object first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataError, DataProblem, Size
from slotlab.framework.data.formats.hdf5 import plain_fact
from slotlab.framework.data.formats.pictures import decode, rgb
from slotlab.framework.data.formats.tf_example import Kind
from slotlab.framework.data.formats.tfrecord import ExampleRecord

VIDEO, MASKS = "video", "segmentations"
COUNT = "metadata/num_instances"
_VIDEO_NAME = "metadata/video_name"
_SHAPES = ("cube", "cylinder", "sphere")
_MORE_SHAPES = ("cone", "torus", "gear", "torus_knot", "sponge", "spot", "teapot", "suzanne")
_COLORS = ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow")
_CATEGORIES = (
    *("Action Figures", "Bag", "Board Games", "Bottles and Cans and Cups", "Camera", "Car Seat"),
    *("Consumer Goods", "Hat", "Headphones", "Keyboard", "Legos", "Media Cases", "Mouse", "None", "Shoe"),
    *("Stuffed Toys", "Toys"),
)
DEPTH, FLOW = "depth", "backward_flow"
_STEPS = 65535
_DEPTH_AT, _EIGHT, _SIXTEEN = 24, 8, 16
"""The byte of a PNG's header with the bits per channel."""


class Fact(NamedTuple):
    """A feature of objects: its name here, and the shape of its values."""

    name: str
    kind: Kind
    width: int = 1
    framewise: bool = False
    """Whether there is a value for each frame."""
    labels: Sequence[str] = ()
    """What its numbers stand for; empty for plain values."""


FACTS: Mapping[str, Fact] = {
    "shape_label": Fact("shape", "int64", labels=(*_SHAPES, *_MORE_SHAPES)),
    "size_label": Fact("size", "int64", labels=("small", "large")),
    "material_label": Fact("material", "int64", labels=("metal", "rubber")),
    "color_label": Fact("color_name", "int64", labels=_COLORS),
    "color": Fact("color", "float", 3),
    "category": Fact("category", "int64", labels=_CATEGORIES),
    "asset_id": Fact("asset_id", "bytes"),
    "scale": Fact("scale", "float"),
    "mass": Fact("mass", "float"),
    "is_dynamic": Fact("is_dynamic", "int64"),
    "positions": Fact("3d_coords", "float", 3, framewise=True),
    "image_positions": Fact("pixel_coords", "float", 2, framewise=True),
    "visibility": Fact("visibility", "int64", framewise=True),
}
"""Facts about objects by their name in the files, after `instances/`; a variant has some of them."""
_BOXES: Mapping[str, Kind] = {
    "bboxes/ragged_flat_values": "float",
    "bboxes/ragged_row_lengths_0": "int64",
    "bbox_frames/ragged_flat_values": "int64",
    "bbox_frames/ragged_row_lengths_0": "int64",
}
_ABOUT_CLIP: Mapping[str, Kind] = {
    _VIDEO_NAME: "bytes",
    "background": "bytes",
    "background_color": "float",
}


def read_image(record: ExampleRecord, frame: int) -> NDArray[np.uint8]:
    """Return a frame, uint8 (3, H, W).

    Raises:
        DataError: if it is no RGB picture of 8 bits.
    """
    name = f"{record.place.name}/{VIDEO}[{frame}]"
    data = record.item(VIDEO, frame)
    picture = decode(data, name)
    if picture.format != "PNG" or picture.mode != "RGB" or data[_DEPTH_AT] != _EIGHT:
        raise DataError(DataProblem(name, f"it is {_kind(picture, data)}; a frame is a PNG, RGB of 8 bits"))
    return rgb(picture, name)


def read_mask(record: ExampleRecord, frame: int) -> NDArray[np.integer]:
    """Return the mask of a frame (H, W), 0 for the background: uint8 if that holds its labels, else int32.

    Raises:
        DataError: if it is no gray picture of 8 or 16 bits.
    """
    name = f"{record.place.name}/{MASKS}[{frame}]"
    data = record.item(MASKS, frame)
    picture = decode(data, name)
    if picture.format != "PNG" or not (picture.mode == "L" or picture.mode.startswith("I")):
        text = f"it is {_kind(picture, data)}; a mask is a PNG, gray of 8 or 16 bits"
        raise DataError(DataProblem(name, text))
    labels_HW = np.array(picture)
    return labels_HW.astype(np.uint8 if labels_HW.max() < 256 else np.int32)


def read_depth(record: ExampleRecord, frame: int) -> NDArray[np.float32]:
    """Return how far the surface in each pixel of a frame is from the camera's center, float32 (H, W).

    Raises:
        DataError: if it is no gray picture of 16 bits, or there is no range.
    """
    name = f"{record.place.name}/{DEPTH}[{frame}]"
    data = record.item(DEPTH, frame)
    picture = decode(data, name)
    if picture.format != "PNG" or data[_DEPTH_AT] != _SIXTEEN or not picture.mode.startswith("I"):
        text = f"it is {_kind(picture, data)}; depth is a PNG, gray of 16 bits"
        raise DataError(DataProblem(name, text))
    return _in_range(record, DEPTH, np.array(picture))


def read_flows(record: ExampleRecord, frames: int, size: Size) -> NDArray[np.float32]:
    """Return the backward flow of all frames, float32 (T, H, W, 2): (row, column) in pixels of the file.

    Raises:
        DataError: for another number of values, or without their range.
    """
    values = record.values({FLOW: "int64"})[FLOW]
    shape = (frames, *size, 2)
    if len(values) != np.prod(shape):
        text = f"has {len(values)} values; {frames} frames of {size[0]} x {size[1]} pixels have"
        raise record.broken(FLOW, f"{text} {np.prod(shape)}")
    return _in_range(record, FLOW, values.reshape(shape))


def _in_range(record: ExampleRecord, name: str, steps: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers that are stored as steps from 0 to 65535, between two ends that the record tells."""
    key = f"metadata/{name}_range"
    ends = record.values({key: "float"})[key]
    if len(ends) != 2:
        raise record.broken(key, f"is {ends.tolist()}; expected two numbers")
    low, high = ends.astype(np.float32)
    found: NDArray[np.float32] = steps.astype(np.float32) / np.float32(_STEPS) * (high - low) + low
    return found


def count_frames(record: ExampleRecord) -> int:
    """Return the number of frames of a clip.

    Raises:
        DataError: if it has none, or another number of masks.
    """
    frames, masks = record.count(VIDEO), record.count(MASKS)
    if not frames or frames != masks:
        raise record.place.broken(f"it has {frames} frames in '{VIDEO}' and {masks} in '{MASKS}'")
    return frames


def read_facts(record: ExampleRecord, frame: int, frames: int, size: Size) -> dict[str, Any]:
    """Return what the record says of a frame and of all objects of its clip, as JSON data.

    Args:
        record: a clip.
        frame: one of its frames.
        frames: how many it has.
        size: rows and columns of its frames.

    Raises:
        DataError: if values are missing, or too many.
    """
    keys = {f"instances/{key}": fact.kind for key, fact in FACTS.items()}
    boxes = {f"instances/{key}": kind for key, kind in _BOXES.items()}
    wanted = {key: kind for key, kind in {**keys, **boxes, **_ABOUT_CLIP}.items() if key in record}
    values = record.values({COUNT: "int64", **wanted})
    number = _number(record, values[COUNT])
    objects: list[dict[str, Any]] = [{"index": index + 1} for index in range(number)]
    for key, fact in FACTS.items():
        if (full := f"instances/{key}") in values:
            found = _of_frame(record, full, fact, values[full], (number, frames), frame)
            if fact.name == "pixel_coords":
                found = [[x * size[1], y * size[0]] for x, y in found]
            for one, value in zip(objects, found, strict=True):
                one[fact.name] = value
    if all(key in values for key in boxes):
        for one, box in zip(objects, _boxes(record, values, number, frame), strict=True):
            one["bbox"] = box
    return {"num_objects": number, "objects": objects, "frame": frame, **_about(values)}


def _about(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key in _ABOUT_CLIP:
        if key in values:
            given, name = values[key], "video" if key == _VIDEO_NAME else key
            found[name] = plain_fact(given[0] if isinstance(given, list) and given else np.asarray(given))
    return found


def _number(record: ExampleRecord, values: NDArray[np.int64]) -> int:
    if len(values) != 1 or values[0] < 0:
        raise record.broken(COUNT, f"is {values.tolist()}; expected one number of objects")
    return int(values[0])


def _of_frame(
    record: ExampleRecord, name: str, fact: Fact, values: Any, counts: tuple[int, int], frame: int
) -> list[Any]:
    """Return the value of each object in a frame."""
    number, frames = counts
    rows = frames if fact.framewise else 1
    each = rows * fact.width
    if len(values) != number * each:
        text = f"has {len(values)} values; {number} objects with {each} each have {number * each}"
        raise record.broken(name, text)
    if fact.kind == "bytes":
        return [plain_fact(value) for value in values]
    table = values.reshape(number, rows, fact.width)[:, frame if fact.framewise else 0]
    if fact.labels:
        return [_label(record, name, fact, int(value)) for value in table[:, 0]]
    if fact.name == "is_dynamic":
        return [bool(value) for value in table[:, 0]]
    return [plain_fact(value) for value in table]


def _label(record: ExampleRecord, name: str, fact: Fact, value: int) -> str:
    if not 0 <= value < len(fact.labels):
        text = f"holds the label {value}; there are {len(fact.labels)}, from 0 ({fact.labels[0]})"
        raise record.broken(name, f"{text} to {len(fact.labels) - 1} ({fact.labels[-1]})")
    return fact.labels[value]


def _boxes(
    record: ExampleRecord, values: Mapping[str, Any], number: int, frame: int
) -> list[list[float] | None]:
    """Return each object's box in a frame, None for one that is not seen."""
    flat, lengths, at, again = (values[f"instances/{key}"] for key in _BOXES)
    total = int(lengths.sum())
    fits = len(lengths) == number and np.array_equal(lengths, again) and lengths.min(initial=0) >= 0
    if not fits or (len(flat), len(at)) != (4 * total, total):
        text = f"has {len(flat)} values in {len(lengths)} rows of {total} boxes, for {len(at)} frames"
        raise record.broken("instances/bboxes", f"{text}; {number} objects have a row each, 4 values a box")
    found: list[list[float] | None] = [None] * number
    owners = np.repeat(np.arange(number), lengths)
    for place in np.flatnonzero(at == frame).tolist():
        found[owners[place]] = plain_fact(flat[4 * place : 4 * place + 4])
    return found


def _kind(picture: Any, data: bytes) -> str:
    bits = f" of {data[_DEPTH_AT]} bits" if picture.format == "PNG" else ""
    return f"a {picture.format} picture, {picture.mode}{bits}"
