"""Find, read and verify stores of features, targets and slots. `feature_format` documents the files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.data.store.feature_format import (
    MAKERS,
    MIRRORED,
    FeatureKey,
    FeatureManifest,
    Kind,
    array_name,
    manifest_name,
    read_feature_manifest,
)
from slotlab.framework.data.store.format import StoreError, check_sizes, damaged
from slotlab.framework.data.store.reader import PARTIAL, gather, hold
from slotlab.framework.data.store.verify import CHANGED, has_header, read_items


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """A store of features or targets, read from the disk through a memory map, or from a device's memory."""

    path: Path
    manifest: FeatureManifest
    _held: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open the store in folder `path`, without reading what it holds.

        Raises:
            StoreError: if there is none, it has another format, or a file was changed.
        """
        manifest = read_feature_manifest(path)
        check_sizes(path, manifest.files)
        store = cls(path, manifest)
        for name, (shape, dtype) in manifest.layout.arrays.items():
            array = store._arrays[name]
            if (array.shape, array.dtype) != (shape, dtype):
                raise damaged(path / name, f"holds {array.dtype} {array.shape}, not {dtype} {shape}")
        return store

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for name in self.manifest.layout.arrays:
            try:
                arrays[name] = np.asarray(np.load(self.path / name, mmap_mode="r"))
            except Exception:  # NumPy evaluates the header, and raises whatever that leads to
                raise damaged(self.path / name, "is no NumPy array") from None
        return arrays

    def __len__(self) -> int:
        """Return the number of items, including the broken ones."""
        return self.manifest.items

    @property
    def kind(self) -> Kind:
        """What it holds."""
        return self.manifest.kind

    @property
    def checksum(self) -> str:
        """A hash of all that it holds."""
        return self.manifest.checksum

    @property
    def bytes(self) -> int:
        """The size of what it holds in bytes."""
        return self.manifest.layout.bytes

    @cached_property
    def bad(self) -> dict[int, DataProblem]:
        """The problem of each item that could not be read when packing, by position."""
        return {int(index): DataProblem(*found[0]) for index, found in self.manifest.bad.items()}

    def batch(self, indices: Sequence[int], device: torch.device, mirrored_B: Tensor | None = None) -> Tensor:
        """Return what is stored of the items at `indices` on `device`: (B, C, H, W), channels last.

        Features, targets and slots are float32, classes int64. Of slots H are frames and W slots.

        Args:
            indices: positions in the source, any number of times.
            device: where they are returned.
            mirrored_B: bool, on the CPU: those whose mirrored picture is meant; None for none.

        Raises:
            IndexError: past the end.
            DataError: if an item could not be read when packing.
            StoreError: if mirrored pictures are asked for, and the store has none.
        """
        rows = np.asarray(indices, dtype=np.int64)
        outside = rows[(rows < 0) | (rows >= len(self))]
        if outside.size:
            raise IndexError(f"{self.path} has {len(self)} items, there is no item {outside[0]}")
        if self.bad and (found := [self.bad[row] for row in rows.tolist() if row in self.bad]):
            raise DataError(*found)
        stored_BHWC = self._gather(array_name(self.kind), rows, device)
        if mirrored_B is not None and bool(mirrored_B.any()):
            if MIRRORED not in self._arrays:
                raise StoreError(f"{self.path} has no {self.kind} of mirrored pictures")
            stored_BHWC[mirrored_B.to(device)] = self._gather(MIRRORED, rows[mirrored_B.numpy()], device)
        return widened(stored_BHWC.permute(0, 3, 1, 2))

    def resident(self, device: torch.device) -> "FeatureStore":
        """Return the same store with all that it holds in the memory of `device`."""
        return replace(self, _held={name: hold(array, device) for name, array in self._arrays.items()})

    def _gather(self, name: str, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        return gather(self._held.get(name), self._arrays[name], rows, device)


def widened(stored: Tensor) -> Tensor:
    """Return what is stored as a model takes it: float32 for numbers of 16 bits, int64 for classes."""
    return stored.float() if stored.is_floating_point() else stored.long()


def find_features(key: FeatureKey, stores: Path) -> FeatureStore | None:
    """Return the store of a key, or one that has mirrored pictures too; None if there is none.

    Raises:
        StoreError: if the store is damaged, or of other data under the same name.
    """
    for one in (key,) if key.mirrored else (key, replace(key, mirrored=True)):
        path = one.path(stores)
        if path.exists():
            return open_features(one, path)
    return None


def open_features(key: FeatureKey, path: Path) -> FeatureStore:
    """Open the store of a key.

    Raises:
        StoreError: if it is damaged, or of other data under the same name.
    """
    store = FeatureStore.open(path)
    manifest = store.manifest
    found = (manifest.kind, manifest.identity, manifest.fingerprint)
    if found != (key.kind, key.identity, key.fingerprint):
        raise StoreError(f"{path} is a store of other {key.kind}; delete it and pack again")
    return store


def unfit(key: FeatureKey, stores: Path) -> dict[Path, str]:
    """Return the whole stores of the same data that do not fit a key, each with what it is of."""
    found: dict[Path, str] = {}
    for path in sorted(stores.glob(f"{escape(key.stem)}-*"), key=lambda path: path.stat().st_mtime):
        if path.name.endswith(PARTIAL) or path == key.path(stores):
            continue
        try:
            manifest = read_feature_manifest(path)
        except StoreError:
            continue
        found[path] = " and ".join(differences(manifest, key))
    return {path: text for path, text in found.items() if text}


def differences(manifest: FeatureManifest, key: FeatureKey) -> list[str]:
    """Return what a store was packed from, where that is not what the key asks for."""
    found = [
        _WORDS.get(name, f"another {name}").format(MAKERS[key.kind])
        for name, value in key.identity.items()
        if manifest.identity.get(name) != value and name != "mirrored"
    ]
    if key.mirrored and not manifest.mirrored:
        found.append("pictures that are not mirrored")
    if manifest.fingerprint != key.fingerprint:
        found.append("another state of the files")
    return found


_WORDS = {
    "component": "another {}",
    "settings": "other settings of the {}",
    "weights": "other weights",
    "clips": "other clips",
    "told": "slots that were told something else",
    "pictures": "pictures prepared otherwise",
    "seed": "pictures of another seed",
    "code": "another version of slotlab",
}
"""How messages name what differs, by the name in `FeatureKey.identity`; braces stand for what makes it."""


def verify_features(store: FeatureStore, report: ReportItems = lambda done, total: None) -> list[DataProblem]:
    """Compare every byte of a store's files with its checksums, and return a problem for each difference."""
    layout = store.manifest.layout
    found = [
        DataProblem(str(store.path / name), f"its header {CHANGED}")
        for name in layout.arrays
        if not has_header(store.path, layout, name)
    ]
    table, items = read_items(store.path, layout, report)
    found += items
    manifest = store.path / manifest_name(store.kind)
    if manifest.read_bytes() != store.manifest.to_bytes():
        found.append(DataProblem(str(manifest), CHANGED))
    if not items and table.total.hexdigest() != store.checksum:
        text = f"its items make the checksum {table.total.hexdigest()}, its manifest says {store.checksum}"
        found.append(DataProblem(str(store.path), text))
    return found
