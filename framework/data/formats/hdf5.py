"""Find the arrays of pictures, masks and facts about objects in an HDF5 file, and check their shapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import Size
from slotlab.registry import ComponentError
from slotlab.registry.component import suggest

KNOWN = {
    "image": ("image", "images", "imgs"),
    "mask": ("mask", "masks", "segmentation", "segmentations"),
    "visibility": ("visibility",),
}
"""The names that converters give to arrays, by content."""
_FACTS = "biufSO"
"""Kinds of NumPy types (numbers and texts) that facts may have."""
_SHOWN, _LONGEST = 8, 60
"""The number of arrays, and of characters of a name, that a message shows."""
_CACHE = 1 << 24
"""Bytes of decompressed chunks that are cached per array: neighbors are often in one chunk."""


@dataclass(frozen=True)
class HDF5Arrays:
    """The arrays of a file with N pictures and K objects, by name and meaning."""

    path: Path
    rows: int
    """N, the number of pictures."""
    size: Size
    image: str
    """uint8 (N, H, W, 3) or (N, H, W, 1)."""
    mask: str | None
    """The array of masks; None if there is none."""
    separate: bool
    """Whether each object has a mask, (N, K, H, W) or (N, K, H, W, 1); else one mask holds indices."""
    visibility: str | None
    """Which objects are visible, (N, K) or (N, K, 1); None if the file does not say."""
    facts: tuple[str, ...]
    """Other arrays of shape (N, K) or (N, K, d)."""
    others: str
    """All arrays of the file, in words, for messages."""


def open_hdf5(path: Path) -> Any:
    """Open a file for reading.

    Raises:
        OSError: if it is missing, not HDF5, or cut off.
    """
    import h5py

    return h5py.File(path, "r", rdcc_nbytes=_CACHE)


def read_arrays(path: Path, names: Mapping[str, str | None]) -> HDF5Arrays:
    """Find the arrays in a file by the given names, or where a name is None by those that converters use.

    Raises:
        ComponentError: if the file cannot be read, or lacks an array that is needed, or one does not fit.
    """
    try:
        import h5py
    except ImportError:
        raise ComponentError("reading HDF5 needs the package h5py: pip install 'slotlab[data]'") from None
    try:
        with open_hdf5(path) as file:
            arrays: dict[str, Any] = {}
            file.visititems(lambda name, item: _keep(arrays, name, item, h5py.Dataset))
            shapes = {name: (tuple(array.shape or ()), array.dtype) for name, array in arrays.items()}
    except OSError as error:
        raise ComponentError(f"{path}: {_say(error)}", field="path") from None
    except (RuntimeError, KeyError, ValueError) as error:  # h5py, of files that are damaged inside
        raise ComponentError(
            f"{path}: its arrays cannot be listed: {_cut(str(error))}", field="path"
        ) from None
    return _fit(path, shapes, {what: _choose(path, shapes, what, name) for what, name in names.items()})


def _keep(arrays: dict[str, Any], name: str, item: Any, kind: type) -> None:
    if isinstance(item, kind):
        arrays[name] = item


def _say(error: OSError) -> str:
    text = str(error)
    if "signature not found" in text:
        return "it is no HDF5 file"
    if "truncated" in text:
        return f"it is cut off ({text[text.find('truncated') :].rstrip(')')}); convert or download it again"
    return f"cannot be read: {error.strerror or text}"


def _choose(path: Path, shapes: Mapping[str, Any], what: str, name: str | None) -> str | None:
    if name is not None:
        if name in shapes:
            return name
        text = f"there is no array '{name}'{suggest(name, shapes)} (arrays: {_list(shapes)})"
        raise ComponentError(f"{path}: {text}", field=what)
    found = next((known for known in KNOWN[what] if known in shapes), None)
    if found is None and what == "image":
        text = f"none of its arrays is called {' or '.join(KNOWN[what])}; name the right one (arrays: "
        raise ComponentError(f"{path}: {text}{_list(shapes)}){_clips(shapes)}", field=what)
    return found


def _list(shapes: Mapping[str, Any]) -> str:
    """Return the names of some arrays, first of those that might be pictures or masks."""
    order = sorted(shapes, key=lambda name: -min(len(shapes[name][0]), 3))
    shown = [f"{_cut(name)} {_cut(str(shapes[name][1]))} {list(shapes[name][0])}" for name in order[:_SHOWN]]
    rest = len(order) - _SHOWN
    return (", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")) or "none"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _clips(shapes: Mapping[str, Any]) -> str:
    """Return a hint if an array holds video clips."""
    for name, (shape, dtype) in shapes.items():
        if dtype == "uint8" and len(shape) == 5 and shape[4] == 3:
            clips = f"{_cut(name)} holds clips of {shape[1]} frames, and pictures are read one by one"
            frames = shape[0] * shape[1]
            return f"; {clips}: write it and its masks with the first two axes as one, [{frames}, ...]"
    return ""


def _fit(path: Path, shapes: Mapping[str, Any], names: Mapping[str, str | None]) -> HDF5Arrays:
    image, mask, visibility = names["image"], names["mask"], names["visibility"]
    assert image is not None

    def refuse(what: str, wanted: str) -> ComponentError:
        shape, dtype = shapes[names[what] or ""]
        text = f"array '{names[what]}' is {_cut(str(dtype))} {list(shape)}; {wanted}"
        return ComponentError(f"{path}: {text}", field=what)

    shape, dtype = shapes[image]
    if dtype != "uint8" or len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise refuse("image", "pictures are uint8 of shape [N, rows, columns, 3]")
    rows, size = shape[0], (shape[1], shape[2])
    objects, separate = None, False
    if mask is not None:
        shape, dtype = shapes[mask]
        trimmed = shape[:-1] if len(shape) > 3 and shape[-1] == 1 else shape
        separate = len(trimmed) == 4 and trimmed[2:] == size
        fits = shape[:1] == (rows,) and 0 not in shape and (separate or trimmed[1:] == size)
        if dtype.kind not in "biu" or not fits:
            wanted = f"[{rows}, {size[0]}, {size[1]}] of indices or [{rows}, K, {size[0]}, {size[1]}]"
            raise refuse("mask", f"masks are whole numbers of shape {wanted}, each with 1 at the end or not")
        objects = trimmed[1] if separate else None
    if visibility is not None:
        shape, dtype = shapes[visibility]
        fits = shape[:1] == (rows,) and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 1))
        if not fits or dtype.kind not in "biuf" or objects not in (None, shape[1]):
            number = "K" if objects is None else objects
            raise refuse("visibility", f"it is numbers of shape [{rows}, {number}]")
        objects = shape[1]
    used = {image, mask, visibility}
    pairs = (rows, objects)
    facts = tuple(
        name
        for name, (shape, dtype) in shapes.items()
        if name not in used and len(shape) in (2, 3) and shape[:2] == pairs and dtype.kind in _FACTS
    )
    return HDF5Arrays(path, rows, size, image, mask, separate, visibility, facts, _list(shapes))


def merge_masks(masks_KHW: NDArray[Any]) -> NDArray[np.integer]:
    """Return labels (H, W) from one mask per object: the index of the mask that is not 0, or 0 if all are.

    Raises:
        ValueError: if a pixel belongs to two objects, since it is unknown which is in front.
    """
    inside_KHW = masks_KHW != 0
    owners_HW = inside_KHW.sum(0)
    if owners_HW.max() > 1:
        row, column = np.argwhere(owners_HW > 1)[0].tolist()
        both = " and ".join(map(str, np.flatnonzero(inside_KHW[:, row, column])))
        number = int((owners_HW > 1).sum())
        raise ValueError(
            f"its masks overlap: the pixel in row {row}, column {column} belongs to {both} ({number} pixels "
            "are like that); masks must show the parts that are seen, or be one array of indices (N, H, W)"
        )
    labels_HW: NDArray[np.integer] = inside_KHW.argmax(0)
    return labels_HW


def plain_fact(value: Any) -> Any:
    """Return a fact about an object as JSON data; infinite numbers and NaN become None."""
    if isinstance(value, np.ndarray):
        return plain_fact(value.item()) if value.size == 1 else [plain_fact(item) for item in value]
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        return plain.decode(errors="replace")
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
