"""Read the files for `slotlab score`: masks as PNG or NumPy arrays, and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from slotlab.framework.arithmetic.void import VOID
from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.exif import Exif, Tagged, read_as
from slotlab.framework.data.formats.mask_pictures import (
    MaskCode,
    color_codes,
    label_values,
    labels,
    open_mask,
)
from slotlab.framework.data.formats.pictures import decode, rgb

ARRAY = ".npy"
MASK_OPTIONS = ("--true", "--pred")
"""The command-line options whose folders hold masks."""
_MOST_SEGMENTS = 2048
"""A mask with more values is probably a picture in the wrong folder."""
_MOST_LABELS = 256
"""Labels from this one on cannot count segments; they are renumbered in their order."""
File = Image.Image | NDArray[np.integer]


def open_file(path: Path, option: str) -> File:
    """Return a decoded picture, or a mask's array (H, W) or (H, W, 3).

    Raises:
        DataError: if it cannot be read, or is not a mask.
    """
    if path.suffix.lower() == ARRAY:
        return _array(path)
    return open_mask(path) if option in MASK_OPTIONS else decode(path, str(path))


def _array(path: Path) -> NDArray[np.integer]:
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(DataProblem(str(path), f"cannot be read as a NumPy array: {error}")) from None
    return as_mask(found, str(path))


def as_mask(found: Any, name: str) -> NDArray[np.integer]:
    """Return what is to be a mask as an array of labels (H, W), or of colors (H, W, 3) in uint8.

    Raises:
        DataError: for anything else, with `name` as what it is.
    """
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biu":
        what = getattr(found, "dtype", type(found).__name__)
        raise DataError(DataProblem(name, f"holds {what}; a mask is an array of whole numbers"))
    array: NDArray[np.integer] = found[..., 0] if found.ndim == 3 and found.shape[2] == 1 else found
    colors = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if array.size == 0 or not (array.ndim == 2 or colors):
        text = f"is an array of shape {list(found.shape)}; a mask is [rows, columns] of labels"
        raise DataError(DataProblem(name, f"{text}, or [rows, columns, 3] of colors in uint8"))
    return array.astype(np.uint8) if array.dtype == bool else array


def agree(files: Mapping[str, tuple[Path, File]], exif: Exif | None) -> Exif:
    """Return how the EXIF orientations of an image's files are treated.

    Raises:
        DataError: if they differ, and `exif` is None.
    """
    tags = {
        path: Tagged.of(file).orientation for path, file in files.values() if isinstance(file, Image.Image)
    }
    if exif is not None or len(set(tags.values())) < 2:
        return exif or "ignore"
    path = next(path for path, tag in tags.items() if tag != 1)
    other = next(one for one, tag in tags.items() if tag != tags[path])
    text = f"has the EXIF orientation {tags[path]}, and {other} has "
    text += "none" if tags[other] == 1 else f"the orientation {tags[other]}"
    hint = "--exif ignore reads all as they are stored, --exif apply turns each as its own tag says"
    raise DataError(DataProblem(str(path), f"{text}: {hint}"))


def read_labels(path: Path, file: File, code: MaskCode, exif: Exif) -> Tensor:
    """Return labels, int32 (H, W), -1 for void.

    Raises:
        DataError: if it holds other negative labels, or too many.
    """
    name = str(path)
    if isinstance(file, Image.Image):
        values_HW = labels(read_as(file, exif), name, code)
    else:
        values_HW = label_values(
            color_codes(file) if file.ndim == 3 else file,
            name,
            code,
            colors=file.ndim == 3,
        )
    if values_HW.min() < VOID or (values_HW.min() < 0 and code.void == "none"):
        text = f"it has the label {values_HW.min()}; labels start at 0"
        raise DataError(DataProblem(name, f"{text} (--void names one that is not scored)"))
    if values_HW.max() >= _MOST_LABELS:
        values, places = np.unique(values_HW, return_inverse=True)
        if len(values) >= _MOST_SEGMENTS:
            text = f"it has {len(values):,} labels or colors: a picture, not a mask"
            raise DataError(DataProblem(name, text))
        numbers = np.cumsum(values > 0)  # void and 0 keep theirs
        numbers[values == VOID] = VOID
        values_HW = numbers[places.reshape(values_HW.shape)]
    return torch.from_numpy(np.ascontiguousarray(values_HW).astype(np.int32))


def read_pixels(path: Path, file: File, exif: Exif) -> Tensor:
    """Return an image, uint8 (3, H, W)."""
    assert isinstance(file, Image.Image)
    return torch.from_numpy(rgb(read_as(file, exif), str(path)))
