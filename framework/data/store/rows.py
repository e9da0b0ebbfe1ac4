"""Pack items: read and check them, write their rows at their places, and return their lines.

Rows are written with `pwrite` and not through a memory map, so that a process never holds more than one item
in memory, however large the store is.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.arithmetic.void import scored
from slotlab.framework.contracts import VOID, DataError, Sample
from slotlab.framework.data.preparation import PreparedSample, complaint
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import (
    IMAGES,
    MASKS,
    Facts,
    Layout,
    MaskType,
    item_digest,
    split_line,
    write_line,
)
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

L = TypeVar("L", bound=RowLayout)


class WideLabels(Exception):  # noqa: N818 - not a mistake: the store is begun again with wider masks
    """A label does not fit into 8 bits, or is void."""


@dataclass
class Rows(Generic[L]):
    """The arrays of a store, open for reading rows, or for writing them at their places."""

    folder: Path
    layout: L
    writable: bool = False
    _files: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT if self.writable else os.O_RDONLY
        for name in self.layout.arrays:
            self._files[name] = os.open(self.folder / name, flags, 0o644)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def create(self) -> None:
        """Give the files their size and header; existing rows stay."""
        for name, file in self._files.items():
            os.ftruncate(file, self.layout.file_bytes(name))
            write_at(file, self.layout.header(name), 0)

    def write(self, name: str, index: int, row: bytes) -> None:
        """Write one row."""
        write_at(self._files[name], row, self._offset(name, index))

    def read(self, index: int) -> list[bytes]:
        """Return the row of each array."""
        return [
            os.pread(file, self.layout.row_bytes(name), self._offset(name, index))
            for name, file in self._files.items()
        ]

    def sync(self) -> None:
        """Return after everything that was written is on the disk."""
        for file in self._files.values():
            os.fsync(file)

    def hold(self, line: bytes) -> bool:
        """Return whether the rows match an item's line; False for an incomplete line."""
        try:
            facts, digest = split_line(line)
            index = json_index(facts)
        except ValueError:
            return False
        return 0 <= index < self.layout.items and item_digest(self.read(index), facts) == digest

    def _offset(self, name: str, index: int) -> int:
        return len(self.layout.header(name)) + index * self.layout.row_bytes(name)


def json_index(facts: bytes) -> int:
    """Return the position of the item that the facts belong to.

    Raises:
        ValueError: for a line that was changed.
    """
    head = facts[: facts.index(b",")]
    return int(head.removeprefix(b'{"index":'))


def write_at(file: int, data: bytes, offset: int) -> None:
    """Write all of `data`; one system call may write only a part."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def pack_items(source: Source, rows: Rows[Layout], indices: Iterable[int]) -> list[bytes]:
    """Write the rows of some items to the disk, and return their lines.

    Raises:
        WideLabels: if a mask needs more than the layout's 8 bits.
        SlotlabError: if the dataset raises anything but DataError.
        OSError: if the disk is full.
    """
    lines = []
    for index in indices:
        item = read_item(source, rows.layout, index)
        for name, row in item.rows.items():
            rows.write(name, index, row)
        lines.append(write_line(item.facts, item_digest(item.rows.values(), item.facts)))
    rows.sync()
    return lines


@dataclass(frozen=True)
class Item:
    """The bytes that are written for one item: its facts, and its row of each array."""

    facts: bytes
    rows: dict[str, bytes]


def read_item(source: Source, layout: Layout, index: int) -> Item:
    """Return an item; a broken one has rows of zeros and facts that say why."""
    try:
        prepared = read(source, index)
        rows = {IMAGES: image_row(prepared.sample, layout)}
        if layout.mask is not None or prepared.sample.mask_HW is not None:
            rows[MASKS] = mask_row(prepared.sample, layout)
        return Item(facts_of(prepared, index), rows)
    except DataError as error:
        zeros = {name: bytes(layout.row_bytes(name)) for name in layout.arrays}
        return Item(Facts(index=index, problems=error.problems).to_bytes(), zeros)


def read(source: Source, index: int) -> PreparedSample:
    """Return `source.item(index)`.

    Raises:
        DataError: for a broken item.
        SlotlabError: if the dataset raises anything else.
    """
    try:
        return source.item(index)
    except DataError:
        raise
    except Exception as error:  # a third party's dataset may raise anything
        hint = "a dataset raises DataError for files that cannot be read"
        raise SlotlabError(f"{source.name}: item {index} fails: {describe(error)}; {hint}") from error


def image_row(sample: Sample, layout: Layout) -> bytes:
    """Return an image as a row, the bytes of uint8 (H, W, 3).

    Raises:
        DataError: if its type or shape is not that of the layout.
    """
    image_CHW = sample.image_CHW
    if image_CHW.dtype != torch.uint8 or image_CHW.shape != (3, *layout.size):
        found = f"{image_CHW.dtype} of shape {tuple(image_CHW.shape)}"
        raise complaint(sample, f"its picture is {found}; this store holds uint8 of {(3, *layout.size)}")
    return image_CHW.permute(1, 2, 0).contiguous().numpy().tobytes()


def mask_row(sample: Sample, layout: Layout) -> bytes:
    """Return a mask as a row, the bytes of (H, W) in the layout's type.

    Raises:
        DataError: if it is missing, its shape is not that of the layout, or its labels are not valid.
        WideLabels: if it does not fit into 8 bits, and the layout's masks have no more.
    """
    mask_HW = sample.mask_HW
    if mask_HW is None or layout.mask is None:
        has, others = ("no mask", "have one") if mask_HW is None else ("a mask", "have none")
        raise complaint(sample, f"it has {has} and pictures before it {others}; give all of them or none")
    if mask_HW.dtype.is_floating_point or mask_HW.dtype == torch.bool:
        raise complaint(sample, f"its mask is {mask_HW.dtype}; a dataset gives whole numbers")
    size = layout.mask_size or layout.size
    if mask_HW.shape != size:
        raise complaint(sample, f"its mask has shape {tuple(mask_HW.shape)}; this store holds {size}")
    low, high = int(mask_HW.min()), int(mask_HW.max())
    if low < VOID:
        raise complaint(sample, f"its mask has the label {low}; labels start at 0, and {VOID} is void")
    dtype = np.dtype(layout.mask)
    if low < np.iinfo(dtype).min or high > np.iinfo(dtype).max:
        if layout.mask == "uint8":
            raise WideLabels
        raise complaint(sample, f"its mask has labels from {low} to {high}, more than 32 bits can hold")
    return mask_HW.numpy().astype(dtype.newbyteorder("<")).tobytes()


def facts_of(prepared: PreparedSample, index: int) -> bytes:
    """Return the facts of an item that could be read.

    Raises:
        DataError: if they are not JSON data, or a number of objects is not a whole number from 0.
    """
    sample = prepared.sample
    for count in prepared.counts.values():
        whole = isinstance(count, Integral) and not isinstance(count, bool)  # NumPy's integers too
        if count is not None and not (whole and 0 <= count < 2**31):
            raise complaint(sample, f"its number of objects is {count!r}, not a whole number")
    counts = {name: None if count is None else int(count) for name, count in prepared.counts.items()}
    facts = Facts(index=index, id=sample.id, path=sample.path, counts=counts)
    try:
        return replace(facts, attributes=sample.attributes).to_bytes()
    except (TypeError, ValueError, RecursionError) as error:
        raise complaint(sample, f"its attributes are no JSON data: {error}") from error


def mask_type(mask_HW: Tensor | None) -> MaskType | None:
    """Return the type of array that a mask needs: 8 bits, or 32 if it has void; None without a mask."""
    if mask_HW is None:
        return None
    return "uint8" if scored(mask_HW) is None else "int32"


def probe(source: Source) -> Layout:
    """Return the layout that the first readable item needs.

    Raises:
        DataError: with all problems, if no item can be read.
    """
    problems: list[Any] = list(source.problems)
    for index in range(len(source)):
        try:
            sample = read(source, index).sample
        except DataError as error:
            problems += error.problems
            continue
        rows, columns = sample.image_CHW.shape[-2:]
        mask_size = None if source.preparation is None else source.preparation.mask_size
        return Layout(len(source), (rows, columns), mask_type(sample.mask_HW), mask_size)
    if not problems:
        raise SlotlabError(f"{source.name}: there are no pictures to pack")
    raise DataError(*problems, hint=f"{source.name}: none of the {len(source)} pictures can be read")
