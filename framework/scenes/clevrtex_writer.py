"""Writing scenes as CLEVRTex's official tree, so that programs which read CLEVRTex read them too.

    <root>/clevrtex_<variant>/<index // 1000>/CLEVRTEX_<variant>_<index:06d>.png             RGBA
                                              CLEVRTEX_<variant>_<index:06d>_flat.png        palette
                                              CLEVRTEX_<variant>_<index:06d>_depth_0001.png  16-bit gray
                                              CLEVRTEX_<variant>_<index:06d>.json

Source of the names and fields: `generate.py` in github.com/karazijal/clevrtex-generation.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.data.formats.clevrtex_scene import IMAGE, MASK, METADATA, MOST_OBJECTS, PALETTE, stem
from slotlab.framework.system.atomic import write_atomically

DEPTH = "_depth_0001.png"
"""Ending of the depth picture."""
DEPTH_UNIT = 0.001
"""World units of one step in the depth picture; 65535 stands for all that is farther than 65.5."""


def write_scene(
    root: Path,
    variant: str,
    index: int,
    image_HW3: NDArray[np.uint8],
    mask_HW: NDArray[np.integer],
    depth_HW: NDArray[np.floating] | None,
    metadata: Mapping[str, Any],
) -> Path:
    """Write one scene's files, each atomically, and return the path of its picture.

    The JSON comes last: a scene without it is unfinished. Existing files are replaced.

    Args:
        root: the folder that will hold `clevrtex_<variant>`.
        variant: lower-case letters, such as `full`.
        index: the scene's number, 0 to 999999.
        image_HW3: uint8 RGB of shape (H, W, 3).
        mask_HW: object indices of shape (H, W), 0 for the ground, at most 10.
        depth_HW: distance from the camera in world units, of shape (H, W); None writes none.
        metadata: `objects`, a list with a mapping for each (shape, size, material, rotation, ...),
            `ground_material`, and any other keys; the scene's file names and numbers are added.

    Raises:
        ValueError: for arrays that do not fit these descriptions.
        OSError: if a file cannot be written.
    """
    _check(variant, index, image_HW3, mask_HW, depth_HW)
    name = stem(variant, index)
    facts = _facts(variant, index, metadata)
    folder = root / f"clevrtex_{variant}" / str(index // 1000)
    write_atomically(folder / (name + IMAGE), _png(_opaque(image_HW3)))
    write_atomically(folder / (name + MASK), _png(_with_palette(mask_HW), bits=8))
    if depth_HW is not None:
        write_atomically(folder / (name + DEPTH), _png(Image.fromarray(depth_steps(depth_HW))))
        facts["depth_filename"] = name + DEPTH
    write_atomically(folder / (name + METADATA), (json.dumps(facts, indent=1) + "\n").encode())
    return folder / (name + IMAGE)


def _facts(variant: str, index: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    objects = [{"index": number, **entry} for number, entry in enumerate(metadata["objects"], start=1)]
    if any(entry["index"] != number for number, entry in enumerate(objects, start=1)):
        raise ValueError("objects are listed by their index, from 1")
    name = stem(variant, index)
    return {
        **metadata,
        "num_objects": len(objects),
        "split": variant,
        "image_index": index,
        "image_filename": name + IMAGE,
        "objects": objects,
        "mask_filename": name + MASK,
    }


def depth_steps(depth_HW: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return depth in steps of `DEPTH_UNIT`, uint16; what is farther, infinite or unknown is 65535."""
    known_HW = np.nan_to_num(depth_HW.astype(np.float64), nan=np.inf, posinf=np.inf)
    return np.rint(known_HW / DEPTH_UNIT).clip(0, 65535).astype(np.uint16)


def _opaque(image_HW3: NDArray[np.uint8]) -> Image.Image:
    opaque_HW1 = np.full_like(image_HW3[..., :1], 255)
    return Image.fromarray(np.concatenate([image_HW3, opaque_HW1], axis=-1))


def _with_palette(mask_HW: NDArray[np.integer]) -> Image.Image:
    mask = Image.fromarray(mask_HW.astype(np.uint8))
    mask.putpalette([value for color in PALETTE for value in color])
    return mask


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def _check(
    variant: str,
    index: int,
    image_HW3: NDArray[np.uint8],
    mask_HW: NDArray[np.integer],
    depth_HW: NDArray[np.floating] | None,
) -> None:
    if not (variant.isascii() and variant.isalpha() and variant.islower()):
        raise ValueError(f"a variant is named by lower-case letters, not {variant!r}")
    if not 0 <= index <= 999_999:
        raise ValueError(f"a scene's number is from 0 to 999999, not {index}")
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3:
        raise ValueError(f"an image is uint8 of shape (H, W, 3), not {image_HW3.dtype} of {image_HW3.shape}")
    for what, array_HW in (("mask", mask_HW), ("depth", depth_HW)):
        if array_HW is not None and array_HW.shape != image_HW3.shape[:2]:
            raise ValueError(f"the {what} has shape {array_HW.shape}, the image {image_HW3.shape[:2]}")
    if mask_HW.min() < 0 or mask_HW.max() > MOST_OBJECTS:
        found = f"{mask_HW.min()} to {mask_HW.max()}"
        raise ValueError(f"a mask's values are 0 to {MOST_OBJECTS}, the objects' indices, not {found}")
