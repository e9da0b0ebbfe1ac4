"""One scene of CLEVRTex on disk: the names of its files, its colors, and reading them.

    CLEVRTEX_<variant>_<index:06d>.png       RGBA, 320x240; alpha is no part of the picture
    CLEVRTEX_<variant>_<index:06d>_flat.png  palette PNG: the value is the object's index, 0 the ground
    CLEVRTEX_<variant>_<index:06d>.json      the objects and their attributes

Source: Karazija et al. 2021, "ClevrTex"; `clevrtex_eval.py` and the generator in
github.com/karazijal/clevrtex-generation.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.exif import refuse_turned
from slotlab.framework.data.formats.pictures import Blob, decode, rgb

MOST_OBJECTS = 10
"""The most objects in a scene of any variant."""
PALETTE = (
    (0, 0, 0),
    (255, 0, 0),
    (0, 128, 0),
    (0, 0, 255),
    (255, 255, 0),
    (141, 211, 199),
    (255, 255, 179),
    (190, 186, 218),
    (251, 128, 114),
    (128, 177, 211),
    (253, 180, 98),
)
"""(red, green, blue) of the ground and of objects 1 to 10 in masks."""
IMAGE, MASK, METADATA = ".png", "_flat.png", ".json"
"""Endings of the three files that are read; a scene has more files."""
FILE = re.compile(r"CLEVRTEX_([a-z]+)_([0-9]{6})(\.png|_flat\.png|\.json)")
"""Matches the name of such a file; the groups are variant, index and ending."""
MATERIAL_ERRATA = {"PoliigonFabricUpholsteryBrightAnglePattern001": "FabricUpholsteryMidCenturyPebbles001"}
"""Published names of materials that are wrong, and the correct ones (errata of the authors)."""


class Scene(NamedTuple):
    """Where the files of one scene lie."""

    number: int
    """The index among the published scenes."""
    image: Blob
    mask: Blob
    metadata: Blob


def stem(variant: str, index: int) -> str:
    """Return the scene's name, such as `CLEVRTEX_full_000123`."""
    return f"CLEVRTEX_{variant}_{index:06d}"


def read_image(blob: Blob, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the picture, uint8 of shape (3, H, W), without alpha.

    Raises:
        DataError: if it cannot be read, or its size is not `size`, (columns, rows).
    """
    image = decode(blob.read(), blob.name)
    refuse_turned(image, blob.name)
    _check_size(image, blob, size)
    return rgb(image, blob.name)


def read_mask(blob: Blob, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the object indices, uint8 of shape (H, W), 0 for the ground.

    Raises:
        DataError: if it cannot be read, holds colors, or its size is not `size`, (columns, rows).
    """
    mask = decode(blob.read(), blob.name)
    refuse_turned(mask, blob.name)
    if mask.mode not in ("P", "L"):
        text = f"its values are not object indices but {mask.mode} colors; use a palette PNG"
        raise DataError(DataProblem(blob.name, text))
    _check_size(mask, blob, size)
    return np.array(mask)


def read_attributes(blob: Blob) -> dict[str, Any]:
    """Return `objects`, `num_objects` and `ground_material` of a scene's JSON.

    Objects keep everything that the JSON says about them. Where it is missing, `index` is added, the object's
    value in the mask. Wrong names of materials are corrected.

    Raises:
        DataError: if it cannot be read or does not list its objects.
    """
    try:
        metadata = json.loads(blob.read())
    except (ValueError, RecursionError) as error:
        raise DataError(DataProblem(blob.name, f"cannot be read as JSON: {error}")) from error
    objects = metadata.get("objects") if isinstance(metadata, dict) else None
    if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
        text = "it has no list 'objects' with a mapping for each object"
        raise DataError(DataProblem(blob.name, text))
    return {
        "objects": [_corrected({"index": index, **entry}) for index, entry in enumerate(objects, start=1)],
        "num_objects": len(objects),
        "ground_material": _right_name(metadata.get("ground_material")),
    }


def _check_size(image: Image.Image, blob: Blob, size: tuple[int, int]) -> None:
    if image.size != size:
        found, wanted = ("{}x{}".format(*pair) for pair in (image.size, size))
        text = f"it has {found} pixels, not {wanted} as picture_size says"
        raise DataError(DataProblem(blob.name, text))


def _corrected(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "material": _right_name(entry["material"])} if "material" in entry else dict(entry)


def _right_name(material: Any) -> Any:
    return MATERIAL_ERRATA.get(material, material) if isinstance(material, str) else material
