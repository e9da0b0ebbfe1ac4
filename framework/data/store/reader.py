"""Read packed stores, from the disk or from a device's memory. `format` documents the files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.contracts import Counting, DataError, DataProblem, RawBatch, Sample
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import (
    COUNTINGS,
    COUNTS,
    IDS,
    IMAGES,
    ITEMS,
    MASKS,
    OFFSETS,
    Manifest,
    StoreError,
    check_sizes,
    damaged,
    read_manifest,
    store_name,
)

_COPIED_AT_ONCE = 256
"""The number of rows that are copied to the device at a time."""


@dataclass(frozen=True)
class Stale:
    """A store of the same data and settings, packed from another state of the files."""

    path: Path

    @property
    def bytes(self) -> int:
        """The size on the disk."""
        return sum(file.stat().st_blocks * 512 for file in self.path.rglob("*") if file.is_file())


def find_store(source: Source, stores: Path) -> "Store | Stale | None":
    """Return the store of a source, or else a stale one, or None if there is neither.

    Raises:
        StoreError: if the store is damaged.
    """
    fingerprint = source.fingerprint()
    if fingerprint is None:
        return None
    path = store_path(source, stores, fingerprint)
    if path.exists():
        store = Store.open(path)
        if (store.manifest.identity, store.manifest.fingerprint) == (source.identity, fingerprint):
            return store
        return Stale(path)
    others = [other for other in relatives(path) if not other.name.endswith(PARTIAL)]
    stale = [other for other in others if roots_of(other) in (None, source.roots)]
    return Stale(stale[-1]) if stale else None


PARTIAL = ".partial"
"""The ending of the name of an unfinished store."""


def store_path(source: Source, stores: Path, fingerprint: str) -> Path:
    """Return the folder of a source's store."""
    return stores / store_name(source.name, source.split, source.key, fingerprint)


def relatives(path: Path) -> list[Path]:
    """Return the other stores, finished or not, of the same data and settings, the newest last."""
    stem = path.name.rpartition("-")[0]
    found = [other for other in path.parent.glob(f"{escape(stem)}-*") if other.is_dir()]
    mine = (path.name, path.name + PARTIAL)
    return sorted(
        (other for other in found if other.name not in mine), key=lambda other: other.stat().st_mtime
    )


def roots_of(path: Path) -> Mapping[str, str] | None:
    """Return the files and folders that a store was packed from, by setting; None if it does not say.

    Stores with the same identity may be of several copies of the data, since paths are not part of it.
    """
    try:
        return read_manifest(path).roots
    except StoreError:
        return None


@dataclass(frozen=True, eq=False)
class Store:
    """A packed store: a dataset that returns whole batches, from the disk or from a device's memory.

    Opening a store maps the files without reading pictures. A store can be sent to another process, which
    opens it again.
    """

    path: Path
    manifest: Manifest
    device: torch.device | None = None
    """The device whose memory holds all images and masks; None leaves them on the disk."""
    _held: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open the store in folder `path`.

        Raises:
            StoreError: if there is none, it has another format, or a file was changed.
        """
        manifest = read_manifest(path)
        check_sizes(path, manifest.files)
        store = cls(path, manifest)
        for name, (shape, kind) in manifest.layout.contents.items():
            array = store._arrays[name]
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                holds = f"{array.dtype} {array.shape}"
                raise damaged(path / name, f"holds {holds}, not {np.dtype(kind)} {shape}")
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path alone: the other process maps the files again."""
        return Store.open, (self.path,)

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        names = [name for name in self.manifest.files if name != ITEMS]
        arrays: dict[str, NDArray[Any]] = {}
        for name in names:
            try:
                arrays[name] = np.asarray(np.load(self.path / name, mmap_mode="r"))
            except Exception:  # NumPy evaluates the header, and raises whatever that leads to
                raise damaged(self.path / name, "is no NumPy array") from None
        return arrays

    @cached_property
    def _lines(self) -> NDArray[np.uint8]:
        return np.asarray(np.memmap(self.path / ITEMS, np.uint8, "r"))

    def __len__(self) -> int:
        """Return the number of items, including the broken ones."""
        return self.manifest.items

    @property
    def checksum(self) -> str:
        """A hash of all images, masks and facts: it is equal if stores hold equal data."""
        return self.manifest.checksum

    @property
    def bytes(self) -> int:
        """The size of images and masks in bytes."""
        return self.manifest.layout.bytes

    @cached_property
    def bad(self) -> dict[int, DataProblem]:
        """The problem of each item that could not be read when packing, by position."""
        return {int(index): DataProblem(*found[0]) for index, found in self.manifest.bad.items()}

    def counts(self, definition: Counting) -> NDArray[np.int32]:
        """Return the number of objects of each item, int32 of shape (N,); -1 if it is unknown."""
        column: NDArray[np.int32] = self._arrays[COUNTS][:, COUNTINGS.index(definition)]
        return column

    def attributes(self, index: int) -> dict[str, Any]:
        """Return the attributes of item `index`."""
        found: dict[str, Any] = self._facts(index)["attributes"]
        return found

    def mask(self, index: int) -> Tensor:
        """Return the mask of item `index`, uint8 or int32 of shape (H, W).

        Raises:
            IndexError: past the end, or if the store has no masks.
            DataError: if the item could not be read when packing.
        """
        if self.manifest.mask is None:
            raise IndexError(f"{self.path} has no masks")
        return self._gather(MASKS, self._check([index]), torch.device("cpu"))[0]

    def __getitem__(self, index: int) -> Sample:
        """Return item `index`, as its source returned it.

        Raises:
            IndexError: past the end.
            DataError: if the item could not be read when packing.
        """
        batch = self.batch([index], torch.device("cpu"))
        facts = self._facts(index)
        return Sample(
            id=batch.ids[0],
            image_CHW=batch.images_BCHW[0],
            mask_HW=None if batch.masks_BHW is None else batch.masks_BHW[0],
            attributes=facts["attributes"],
            path=facts["path"],
        )

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the items at `indices`, in that order, on `device`; images are channels last.

        Raises:
            IndexError: past the end.
            DataError: if an item could not be read when packing.
        """
        rows = self._check(indices)
        images_BHWC = self._gather(IMAGES, rows, device)
        masked = masks and self.manifest.mask is not None
        return RawBatch(
            images_BCHW=images_BHWC.permute(0, 3, 1, 2),
            masks_BHW=self._gather(MASKS, rows, device) if masked else None,
            ids=tuple(name.decode(errors="surrogateescape") for name in self._arrays[IDS][rows].tolist()),
            attributes=tuple(LazyAttributes(partial(self.attributes, row)) for row in rows.tolist()),
        )

    def resident(self, device: torch.device) -> "Store":
        """Return the same store with all images and masks in the memory of `device`."""
        held = {name: hold(self._arrays[name], device) for name in self.manifest.layout.arrays}
        return Store(self.path, self.manifest, device, held)

    def _check(self, indices: Sequence[int]) -> NDArray[np.int64]:
        rows = np.asarray(indices, dtype=np.int64)
        outside = rows[(rows < 0) | (rows >= len(self))]
        if outside.size:
            raise IndexError(f"{self.path} has {len(self)} items, there is no item {outside[0]}")
        if self.bad:
            found = [self.bad[row] for row in rows.tolist() if row in self.bad]
            if found:
                raise DataError(*found)
        return rows

    def _gather(self, name: str, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        return gather(self._held.get(name), self._arrays[name], rows, device)

    def _facts(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} items, there is no item {index}")
        start, stop = self._arrays[OFFSETS][index : index + 2].tolist()
        facts: dict[str, Any] = json.loads(self._lines[start:stop].tobytes())
        return facts


def gather(held: Tensor | None, array: NDArray[Any], rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """Return some rows of an array on `device`, from `held`, a copy in a device's memory, or the disk."""
    # Sorting the rows first was measured to be slower, with the files in the page cache.
    if held is not None:
        return held.index_select(0, torch.from_numpy(rows).to(held.device)).to(device)
    pinned = device.type == "cuda"
    found = torch.empty((len(rows), *array.shape[1:]), dtype=_TYPES[array.dtype.name], pin_memory=pinned)
    np.take(array, rows, axis=0, out=found.numpy(), mode="clip")  # other modes make one more copy
    return found.to(device, non_blocking=pinned)


def hold(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return an array in the memory of `device`."""
    held = torch.empty(array.shape, dtype=_TYPES[array.dtype.name], device=device)
    for start in range(0, len(array), _COPIED_AT_ONCE):  # never all of it in the host's memory
        part = array[start : start + _COPIED_AT_ONCE].copy()
        held[start : start + len(part)] = torch.from_numpy(part)
    return held


_TYPES = {
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "float16": torch.float16,
    "float32": torch.float32,
}


@dataclass(frozen=True, eq=False)
class LazyAttributes(Mapping[str, Any]):
    """Attributes of a sample that are read on first access, which training never makes."""

    read: "partial[dict[str, Any]]"

    @cached_property
    def _found(self) -> dict[str, Any]:
        return self.read()

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
