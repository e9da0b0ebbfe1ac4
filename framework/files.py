"""What datasets of files share: a fingerprint of the files, and reading PNGs without surprises."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.contracts import DataError, DataProblem


def fingerprint(entries: Iterable[tuple[str, int, int]]) -> str:
    """Return a hash of (name, bytes, modification time in ns) of each file, in any order.

    It changes when a file is added, removed, renamed or written; the content is not read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, size, modified in sorted(entries):
        digest.update(f"{name}\0{size}\0{modified}\n".encode())
    return digest.hexdigest()


def fingerprint_paths(paths: Iterable[Path], root: Path) -> str:
    """Return the fingerprint of files under `root`, named relative to it."""
    facts = ((path, path.stat()) for path in paths)
    return fingerprint(
        (str(path.relative_to(root)), facts.st_size, facts.st_mtime_ns) for path, facts in facts
    )


def decode(data: bytes | Path, name: str) -> Image.Image:
    """Return a decoded picture.

    Raises:
        DataError: if it cannot be read, with `name` as the file.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # PIL raises all of these for broken files
        raise DataError(DataProblem(name, f"cannot be read: {error}")) from error


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return uint8 (3, H, W); alpha is dropped, gray and palette pictures become RGB."""
    return np.ascontiguousarray(np.array(image.convert("RGB")).transpose(2, 0, 1))


def labels(image: Image.Image, name: str) -> NDArray[np.integer]:
    """Return instance labels (H, W) from a mask picture: palette, gray (8 or 16 bits) or RGB.

    Palette and gray masks hold the labels themselves. In RGB masks black is 0 and the other
    colors are numbered from 1 in the order of their (red, green, blue).

    Raises:
        DataError: for pictures of another kind.
    """
    if image.mode in ("P", "L"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode.startswith("I"):
        return np.array(image).astype(np.int32)
    if image.mode in ("RGB", "RGBA"):
        return label_colors(np.array(image)[..., :3])
    text = f"a mask is a palette, gray or RGB picture, this one is {image.mode}"
    raise DataError(DataProblem(name, text))


def label_colors(mask_HW3: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Number the colors of a mask: black is 0, the others follow in the order of (r, g, b)."""
    red, green, blue = mask_HW3.astype(np.int32).transpose(2, 0, 1)
    codes_HW = (red << 16) + (green << 8) + blue
    colors, labels_HW = np.unique(codes_HW, return_inverse=True)
    shifted_HW = labels_HW.reshape(codes_HW.shape) + int(colors[0] != 0)  # 0 is kept for black
    return shifted_HW.astype(np.uint8 if len(colors) < 256 else np.int32)
