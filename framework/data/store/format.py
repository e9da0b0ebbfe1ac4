"""The format of packed stores on disk: file names, array shapes and checksums.

STORE/manifest.json  what was packed from which files, and the checksum over everything
STORE/images.npy     uint8 (N, H, W, 3): channels last, so that a batch is a channels-last tensor
STORE/masks.npy      uint8 (N, H, W), int32 where a label exceeds 255 or is void (-1); absent without masks;
                     H and W are the protocol's `mask_size` where it has one
STORE/ids.npy        UTF-8 bytes (N)
STORE/counts.npy     int32 (N, 3): objects by metadata, mask_colors, visible; -1 if unknown
STORE/items.jsonl    one line per item: path, attributes, problems and the item's checksum
STORE/offsets.npy    int64 (N + 1): where each line of items.jsonl starts

The files are NumPy's, because any tool can read them, NumPy can map them into memory, every row lies at a
known place (so that workers write without a lock), and they need no further dependency. Each item has a
checksum, so that a resumed pack redoes only what is missing, a damaged picture is found by its number, and
the result does not depend on the order of the work.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from slotlab.framework.contracts import Counting, DataProblem, Size
from slotlab.framework.data.store.row_layout import RowLayout, npy_bytes
from slotlab.registry import SlotlabError

FORMAT = 1
"""Version of the shape described above."""
MANIFEST, IMAGES, MASKS, ITEMS = "manifest.json", "images.npy", "masks.npy", "items.jsonl"
IDS, COUNTS, OFFSETS = "ids.npy", "counts.npy", "offsets.npy"
COUNTINGS: tuple[Counting, ...] = ("metadata", "mask_colors", "visible")
"""The columns of `counts.npy`."""
MaskType = Literal["uint8", "int32"]
_DIGEST = re.compile(rb'(.*),"digest":"([0-9a-f]{32})"\}', re.DOTALL)


class StoreError(SlotlabError):
    """A folder that is no packed store, or one that is damaged or of another format."""


@dataclass(frozen=True)
class Layout(RowLayout):
    """The shapes of the arrays of images and masks, and where their rows lie."""

    items: int
    size: Size
    mask: MaskType | None
    """None for data without masks."""
    mask_size: Size | None = field(default=None, repr=False)  # what it decides is in the rows' checksums
    """(rows, columns) of masks; None for those of images."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image: (H, W, 3)."""
        return (*self.size, 3)

    @property
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of the arrays of images and masks, by file name."""
        found: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        found[IMAGES] = ((self.items, *self.image_shape), np.dtype(np.uint8))
        if self.mask is not None:
            found[MASKS] = (
                (self.items, *(self.mask_size or self.size)),
                np.dtype(self.mask).newbyteorder("<"),
            )
        return found

    @property
    def contents(self) -> dict[str, tuple[tuple[int, ...], Any]]:
        """Shape and type of all arrays, including ids, counts and offsets, by file name."""
        facts = {
            IDS: ((self.items,), np.bytes_),
            COUNTS: ((self.items, len(COUNTINGS)), np.int32),
            OFFSETS: ((self.items + 1,), np.int64),
        }
        return {**self.arrays, **facts}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json, which is written with a hash that is checked when it is read."""

    name: str
    split: str
    identity: Mapping[str, Any]
    """`Source.identity`: all settings that decide about pixels."""
    key: str
    fingerprint: str
    """The state of the files that were packed."""
    items: int
    size: Size
    mask: MaskType | None
    checksum: str
    """A hash of all images, masks and facts, in their order."""
    bad: Mapping[str, Sequence[tuple[str, str]]]
    """The problems (path, reason) of items that could not be read, by position as text."""
    problems: Sequence[tuple[str, str]]
    """The problems (path, reason) of items that the dataset left out while it listed its files."""
    files: Mapping[str, int]
    """The size in bytes of each other file."""
    slotlab: str
    """The version of slotlab that packed it."""
    format: int = FORMAT
    roots: Mapping[str, str] | None = None
    """The files and folders that were packed, by setting; None for older stores, which do not say."""
    mask_size: Size | None = None
    """(rows, columns) of masks; None, and not in the file, for those of images."""

    @cached_property
    def layout(self) -> Layout:
        """The shapes of the arrays."""
        return Layout(self.items, self.size, self.mask, self.mask_size)

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json, with its seal."""
        data = asdict(self)
        if self.mask_size is None:
            del data["mask_size"]
        text = json.dumps(data | {"seal": seal(data)}, indent=1)
        return f"{text}\n".encode()


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json.

    Raises:
        StoreError: if the folder is not a store, has another format, or the file was changed.
    """
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{folder} is no packed store: it has no {MANIFEST}") from None
    try:
        data = json.loads(raw)
        version = data.get("format")
    except (ValueError, AttributeError):
        raise damaged(path, "cannot be read") from None
    if version != FORMAT:
        text = f"has format {version}, this slotlab reads {FORMAT}: delete it and pack it again"
        raise StoreError(f"{folder} {text}")
    if data.pop("seal", None) != seal(data):
        raise damaged(path, "was changed after it was written")
    for name in ("size", "mask_size"):
        data[name] = None if data.get(name) is None else tuple(data[name])
    return Manifest(**data)


def damaged(path: Path, reason: str) -> StoreError:
    """Return the error for a damaged file of a store."""
    return StoreError(f"{path} {reason}: the store is damaged; delete its folder and pack it again")


def check_sizes(folder: Path, files: Mapping[str, int]) -> None:
    """Compare the files of a store with the sizes, in bytes, that were written.

    Raises:
        StoreError: for one that is not there, or has another size.
    """
    for name, written in files.items():
        try:
            found = (folder / name).stat().st_size
        except FileNotFoundError:
            raise damaged(folder / name, "is not there") from None
        if found != written:
            raise damaged(folder / name, f"has {found} bytes, {written} were written")


def seal(data: Mapping[str, Any]) -> str:
    """Return a hash of JSON data, 32 hexadecimal digits."""
    return short_hash(json.dumps(data, sort_keys=True), size=16)


def short_hash(text: str, size: int = 4) -> str:
    """Return a hash of a text, `2 * size` hexadecimal digits."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=size).hexdigest()


def store_name(name: str, split: str, key: str, fingerprint: str) -> str:
    """Return the name of a store's folder: `clevrtex-all-1f2e3d4c-5b6a7988`.

    The last digits are a hash of the fingerprint, which may be any text.
    """
    return f"{name}-{split}-{key}-{short_hash(fingerprint)}"


# --- lines of items.jsonl, which are the lines of the journal while packing ---------------


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Everything about an item except its pixels."""

    index: int
    id: str = ""
    path: str | None = None
    counts: Mapping[str, int | None] | None = None
    """The number of objects by each `Counting`; None where the data does not say."""
    attributes: Mapping[str, Any] | None = None
    problems: Sequence[DataProblem] = ()
    """Why the item could not be read; its rows are then zeros."""

    def to_bytes(self) -> bytes:
        """Return compact JSON.

        Raises:
            TypeError, ValueError: if the attributes are not JSON data.
        """
        counts = self.counts or {}
        data = {
            "index": self.index,
            "id": self.id,
            "path": self.path,
            "counts": [counts.get(name) for name in COUNTINGS],
            "attributes": {} if self.attributes is None else dict(self.attributes),
        }
        if self.problems:
            data["problems"] = [[problem.path, problem.reason] for problem in self.problems]
        return json.dumps(data, separators=(",", ":")).encode()


def item_digest(rows: Iterable[bytes], facts: bytes) -> str:
    """Return an item's checksum, over its rows of the arrays and then its facts."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(row)
    digest.update(facts)
    return digest.hexdigest()


def write_line(facts: bytes, digest: str) -> bytes:
    """Return an item's line."""
    return facts[:-1] + f',"digest":"{digest}"}}\n'.encode()


def split_line(line: bytes) -> tuple[bytes, str]:
    """Return the facts of a line, as bytes, and the checksum; the inverse of `write_line`.

    Raises:
        ValueError: for an incomplete line.
    """
    match = _DIGEST.fullmatch(line.removesuffix(b"\n"))
    if match is None or not line.endswith(b"\n"):
        raise ValueError("a torn line")
    return match[1] + b"}", match[2].decode()


@dataclass
class FactTable:
    """The arrays of ids, counts and offsets of a store, gathered line by line."""

    ids: list[bytes]
    counts: list[list[int]]
    offsets: list[int]
    bad: dict[str, list[tuple[str, str]]]
    total: hashlib.blake2b

    @classmethod
    def empty(cls, layout: RowLayout) -> "FactTable":
        """Return a table without items."""
        # The class's name is part of the text: renaming it would change the checksum of every store.
        total = hashlib.blake2b(repr(layout).encode(), digest_size=16)
        return cls([], [], [0], {}, total)

    def add(self, line: bytes) -> None:
        """Add the next line of items.jsonl."""
        facts, digest = split_line(line)
        data = json.loads(facts)
        if data["index"] != len(self.ids):
            raise ValueError(f"line {len(self.ids)} is of item {data['index']}")
        self.ids.append(data["id"].encode(errors="surrogateescape"))
        self.counts.append([-1 if count is None else count for count in data["counts"]])
        self.offsets.append(self.offsets[-1] + len(line))
        if "problems" in data:
            self.bad[str(data["index"])] = [(path, reason) for path, reason in data["problems"]]
        self.total.update(bytes.fromhex(digest))

    def files(self) -> dict[str, bytes]:
        """Return the content of each array's file, by file name."""
        return {
            IDS: npy_bytes(np.array(self.ids, dtype=f"S{max(1, *map(len, self.ids))}")),
            COUNTS: npy_bytes(np.array(self.counts, dtype="<i4")),
            OFFSETS: npy_bytes(np.array(self.offsets, dtype="<i8")),
        }
