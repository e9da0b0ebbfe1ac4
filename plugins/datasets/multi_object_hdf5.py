"""DeepMind's multi-object data sets (CLEVR with masks, Multi-dSprites, ...) converted to HDF5.

    image (N, H, W, 3)   mask (N, K, H, W, 1) or (N, H, W)   visibility (N, K)   shape (N, K), ...

Sources: Kabra et al. 2019, github.com/google-deepmind/multi_object_datasets, and two converters:
github.com/JohannesTheo/multi_object_datasets_torch, which keeps the arrays unchanged (a mask for each
object, 0 or 255, the background first), and github.com/addtt/object-centric-library, whose masks hold
indices. Entry k of facts about objects belongs to mask k, or to index k.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from slotlab.framework.contracts import (
    VOID,
    DataError,
    DataProblem,
    DatasetContext,
    Downloads,
    Recognized,
    Sample,
)
from slotlab.framework.data.formats.hdf5 import (
    KNOWN,
    HDF5Arrays,
    merge_masks,
    open_hdf5,
    plain_fact,
    read_arrays,
)
from slotlab.framework.data.formats.pictures import fingerprint_paths, natural_key
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

ENDINGS = frozenset({".h5", ".hdf5"})
"""Endings of files that are taken for HDF5 in a folder, in lower or upper case."""
NO_LABEL = np.iinfo(np.int64).min
"""A value that occurs in no mask."""


class MultiObjectHDF5Config(ComponentConfig):
    """Settings of multi-object data in HDF5."""

    path: SpecPath
    """The file, or a folder of files that are read one after the other."""
    image: str | None = None
    """The array of the pictures; null for the first of image, images and imgs that exists."""
    mask: str | None = None
    """The array of the masks; null for the first of mask, masks, segmentation and segmentations, if any."""
    visibility: str | None = None
    """The array that says which objects are visible in a picture; null for visibility, if it exists."""
    backgrounds: PositiveInt = 1
    """How many of the first masks show background: 1, or 4 for Objects Room."""
    void: int | None = None
    """The value of pixels that are not scored, in masks that hold indices; null for none."""

    published_data: ClassVar[str] = "clevr"
    downloads: ClassVar[Downloads] = Downloads(
        by_hand="DeepMind publishes TFRecord files (github.com/google-deepmind/multi_object_datasets); "
        "convert them with github.com/JohannesTheo/multi_object_datasets_torch, and give the .hdf5 file"
    )
    recognized_data: ClassVar[str] = ".hdf5 files"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return a file that is called like HDF5, or a folder with such files."""
        files = path.iterdir() if path.is_dir() else [path]
        found = any(file.suffix.lower() in ENDINGS and file.is_file() for file in files)
        return Recognized(settings={"path": str(path)}) if found else None


class HDF5Pictures:
    """Pictures without masks, in the order of files and rows: image uint8 (3, H, W).

    Each process opens the files itself.
    """

    def __init__(self, config: MultiObjectHDF5Config, found: "_Files"):
        self.config = config
        self._tables = found.tables
        self.problems: Sequence[DataProblem] = found.problems
        """Files that are left out because they cannot be used."""
        self.cautions: Sequence[str] = found.cautions
        """A warning if there are no masks."""
        self.listed = None if found.problems else found.rows
        """The number of pictures; None if it is unknown because a file cannot be read."""
        self._names = found.names
        self._ends = np.cumsum([table.rows for table in self._tables])
        self._opened: dict[int, Any] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        """Return the number of pictures."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a damaged row."""
        table, row = self._find(index)
        image_HWC = self._read(table, table.image, row)
        return Sample(
            id=f"{self._names[table.path]}_{row:06d}",
            image_CHW=torch.from_numpy(
                np.repeat(image_HWC, 3 // image_HWC.shape[2], 2).transpose(2, 0, 1).copy()
            ),
            path=f"{table.path}[{row}]",
        )

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each picture: its file's name with its row."""
        return [f"{self._names[one.path]}_{row:06d}" for one in self._tables for row in range(one.rows)]

    def fingerprint(self) -> str:
        """Return the state of all files."""
        root = self.config.path
        return fingerprint_paths(
            (table.path for table in self._tables), root if root.is_dir() else root.parent
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out open files: another process opens its own."""
        return {**self.__dict__, "_opened": {}}

    def _find(self, index: int) -> tuple[HDF5Arrays, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} pictures, none has number {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        table = self._tables[number]
        return table, index - int(self._ends[number]) + table.rows

    def _read(self, table: HDF5Arrays, name: str | None, row: int) -> NDArray[Any]:
        assert name is not None
        if self._process != os.getpid():  # HDF5 must not read a file that was opened before a fork
            self._opened, self._process = {}, os.getpid()
        number = self._tables.index(table)
        try:
            if number not in self._opened:
                self._opened[number] = open_hdf5(table.path)
            return np.asarray(self._opened[number][name][row])
        except (OSError, KeyError, IndexError) as error:
            text = f"array {name!r} cannot be read: {error}"
            raise DataError(DataProblem(f"{table.path}[{row}]", text)) from error


class MultiObjectHDF5Dataset(HDF5Pictures):
    """Pictures with masks, uint8 or int32 (H, W).

    Mask value k is object k of the data, 0 the background, -1 void. A picture's `objects` are the visible
    ones, each with its `index` and its values in the arrays of shape (N, K) or (N, K, d).
    """

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, read from disk; raises DataError for a damaged or contradictory row."""
        table, row = self._find(index)
        mask_HW = self._mask(table, row)
        return replace(
            super().__getitem__(index),
            mask_HW=torch.from_numpy(mask_HW),
            attributes=self._attributes(table, row, mask_HW),
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of sample `index`; raises DataError for a damaged or contradictory row."""
        return torch.from_numpy(self._mask(*self._find(index)))

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return `objects` and `num_objects` of sample `index`; raises DataError for a damaged row."""
        table, row = self._find(index)
        return self._attributes(table, row, None if table.visibility else self._mask(table, row))

    def _mask(self, table: HDF5Arrays, row: int) -> NDArray[np.integer]:
        values = self._read(table, table.mask, row)
        if table.separate:
            try:
                labels_HW = merge_masks(values.reshape(values.shape[0], *table.size))
            except ValueError as error:
                raise DataError(DataProblem(f"{table.path}[{row}]", str(error))) from None
            void_HW = np.zeros(table.size, bool)
        else:
            labels_HW = values.reshape(table.size)
            void_HW = labels_HW == (NO_LABEL if self.config.void is None else self.config.void)
            labels_HW = np.where(void_HW, 0, labels_HW)
            if labels_HW.min() < 0 or labels_HW.max() > np.iinfo(np.int32).max:
                text = f"its mask has values from {labels_HW.min()} to {labels_HW.max()}; indices begin at 0"
                raise DataError(DataProblem(f"{table.path}[{row}]", text))
        void = bool(void_HW.any())
        labels_HW = labels_HW.astype(np.int32 if void or labels_HW.max() > 255 else np.uint8)
        labels_HW[labels_HW < self.config.backgrounds] = 0
        return np.where(void_HW, np.int32(VOID), labels_HW) if void else labels_HW

    def _attributes(self, table: HDF5Arrays, row: int, mask_HW: NDArray[np.integer] | None) -> dict[str, Any]:
        if table.visibility is not None:
            seen = np.flatnonzero(self._read(table, table.visibility, row).reshape(-1))
        else:
            assert mask_HW is not None
            seen = np.unique(mask_HW)
        known = {name: self._read(table, name, row) for name in table.facts}
        objects = [
            {"index": index, **{name: plain_fact(values[index]) for name, values in known.items()}}
            for index in seen.tolist()
            if index >= self.config.backgrounds
        ]
        return {"num_objects": len(objects), "objects": objects}


@dataclass(frozen=True)
class _Files:
    """The usable files, and the problems of the others."""

    tables: Sequence[HDF5Arrays]
    names: Mapping[Path, str]
    """A unique name for each file."""
    problems: Sequence[DataProblem]
    cautions: Sequence[str]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def open_files(config: MultiObjectHDF5Config, context: DatasetContext) -> HDF5Pictures:
    """List the files and their arrays.

    Raises:
        ComponentError: if there are no files, none can be used, or the settings do not fit them.
    """
    found = _read_tables(config)
    if config.void is not None and any(table.separate for table in found.tables):
        text = "void is a value of masks that hold indices; here each object has a mask of its own"
        raise ComponentError(text, field="void")
    masked = found.tables[0].mask is not None
    return MultiObjectHDF5Dataset(config, found) if masked else HDF5Pictures(config, found)


def _read_tables(config: MultiObjectHDF5Config) -> _Files:
    """Return the arrays of each file, and the problems of files that cannot be used."""
    names = {"image": config.image, "mask": config.mask, "visibility": config.visibility}
    tables, problems = [], []
    first: ComponentError | None = None
    paths = _list(config.path)
    for path in paths:
        try:
            tables.append(read_arrays(path, names))
        except ComponentError as error:
            first = first or error
            problems.append(DataProblem(str(path), str(error).removeprefix(f"{path}: ")))
    if first is not None and not tables:
        raise first
    cautions = []
    bare = [table for table in tables if table.mask is None]
    if bare and len(bare) < len(tables):
        known = f"none of its arrays is called {' or '.join(KNOWN['mask'])}, and other files have masks"
        problems += [DataProblem(str(table.path), f"{known} (arrays: {table.others})") for table in bare]
        tables = [table for table in tables if table.mask is not None]
    elif bare:
        text = f"none of its arrays is called {' or '.join(KNOWN['mask'])}: it is read without masks, and"
        hint = "nothing can be scored against a truth; if there are masks, name their array by mask"
        cautions = [f"{bare[0].path}: {text} {hint} (arrays: {bare[0].others})"]
    stems = [path.stem for path in paths]
    called = {path: path.stem if len(set(stems)) == len(stems) else path.name for path in paths}
    return _Files(tables, called, problems, cautions)


def _list(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ComponentError(f"there is no file or folder {path}; give an HDF5 file", field="path")
    found = [file for file in path.iterdir() if file.suffix.lower() in ENDINGS and file.is_file()]
    if not found:
        raise ComponentError(f"no files that end in .h5 or .hdf5 in {path}", field="path")
    return sorted(found, key=lambda file: natural_key(file.name))


@hookimpl
def slotlab_datasets() -> Iterable[Component[MultiObjectHDF5Config]]:
    """Provide `multi_object_hdf5`."""
    yield Component(
        name="multi_object_hdf5",
        config=MultiObjectHDF5Config,
        build=open_files,
        summary="CLEVR with masks, Multi-dSprites and their like, converted to HDF5",
        install="slotlab[data]",
    )
