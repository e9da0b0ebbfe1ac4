"""For datasets of files: a fingerprint of the files, natural sorting, and decoding pictures."""

import hashlib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from slotlab.framework.contracts import DataError, DataProblem

_NUMBER = re.compile("([0-9]+)")


class Blob(NamedTuple):
    """Where the bytes of a picture or other item lie: a whole file, or a part of an archive.

    The file is opened for each reading, so that a Blob can be sent to other processes.
    """

    name: str
    """The path, or ARCHIVE/MEMBER, for messages."""
    path: str
    """The file to open."""
    offset: int = 0
    """The position of the first byte in that file."""
    size: int | None = None
    """The number of bytes; None for the whole file."""

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            DataError: if the file is missing or too short.
        """
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123 - half the time of Path.open
                if self.size is None:
                    return file.read()
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise DataError(DataProblem(self.name, f"cannot be read: {error.strerror or error}")) from error
        if len(data) != self.size:
            text = f"cannot be read: {self.path} ends {self.size - len(data)} bytes too early"
            raise DataError(DataProblem(self.name, text))
        return data


def fingerprint(entries: Iterable[tuple[str, int, int]]) -> str:
    """Return a hash of (name, bytes, modification time in ns) of each file, in any order.

    It changes when a file is added, removed, renamed or written; the content is not read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, size, modified in sorted(entries):
        digest.update(f"{name}\0{size}\0{modified}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def fingerprint_paths(paths: Iterable[Path | str], root: Path) -> str:
    """Return the fingerprint of files under `root`, named relative to it.

    A file that no longer exists counts as one of -1 bytes.
    """
    start = len(str(root)) + 1

    def facts(path: str) -> tuple[str, int, int]:
        try:
            found = os.stat(path)  # noqa: PTH116 - of 150,000 files, half the time of Path.stat
        except OSError:
            return path[start:], -1, 0
        return path[start:], found.st_size, found.st_mtime_ns

    return fingerprint(facts(str(path)) for path in paths)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts numbers in names by value: img2 before img10."""
    parts: list[str | int] = list(_NUMBER.split(name))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, name


def decode(data: bytes | Path, name: str, *, upright: bool = False) -> Image.Image:
    """Return a decoded picture, turned as its EXIF orientation says if `upright` is set.

    Raises:
        DataError: if it cannot be read; `name` is the file in its message.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            image.load()
            image.getexif()  # read while the file is open; PIL keeps it
            return ImageOps.exif_transpose(image) if upright else image
    except UnidentifiedImageError as error:
        raise DataError(DataProblem(name, "cannot be read: it is no picture of a known kind")) from error
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(DataProblem(name, f"cannot be read: {error or type(error).__name__}")) from error


def rgb(image: Image.Image, name: str = "") -> NDArray[np.uint8]:
    """Return a picture as uint8 of shape (3, H, W): alpha is dropped; gray, palette and CMYK become RGB.

    Gray of 16 bits is scaled to 8: 65535 becomes 255.

    Raises:
        DataError: if the range of the values is unknown; `name` is the file in its message.
    """
    if image.mode.startswith("I"):
        values_HW = np.array(image).astype(np.int64)
        if values_HW.min() < 0 or values_HW.max() > 65535:
            text = "is gray of 32 bits, whose range is not known; save it as gray of 8 or 16 bits or as RGB"
            raise DataError(DataProblem(name, text))
        gray_HW = ((values_HW + 128) // 257).astype(np.uint8)
        return np.ascontiguousarray(np.broadcast_to(gray_HW, (3, *gray_HW.shape)))
    if image.mode == "F":
        text = "holds floating-point values, whose range is not known; save it as gray or RGB of 8 bits"
        raise DataError(DataProblem(name, text))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, PIL warns
    return np.ascontiguousarray(np.array(image.convert("RGB")).transpose(2, 0, 1))
