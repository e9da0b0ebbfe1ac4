"""DeepMind's multi-object data sets (CLEVR with masks, Multi-dSprites, ...) converted to HDF5.

    image (N, H, W, 3)   mask (N, K, H, W, 1) or (N, H, W)   visibility (N, K)   shape (N, K), ...

Sources: Kabra et al. 2019, github.com/google-deepmind/multi_object_datasets, and two converters:
github.com/JohannesTheo/multi_object_datasets_torch, which keeps its arrays as they are (a mask for
each object, 0 or 255, the background first), and github.com/addtt/object-centric-library, whose
masks hold indices. Entry k of what is said of objects belongs to mask k, or to index k.
"""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from slotlab.framework.contracts import VOID, DataError, DataProblem, DatasetContext, Sample
from slotlab.framework.data.formats.hdf5 import KNOWN, Table, open_hdf5, read_table
from slotlab.framework.data.formats.pictures import fingerprint_paths, natural_key
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

ENDINGS = frozenset({".h5", ".hdf5"})
"""Files that are taken for HDF5 in a folder, in small or capital letters."""
NO_LABEL = np.iinfo(np.int64).min
"""No mask has it."""


class MultiObjectHDF5Config(ComponentConfig):
    """Settings of multi-object data in HDF5."""

    path: SpecPath
    """The file, or a folder of files that are read one after the other."""
    image: str | None = None
    """The array of the pictures; null looks for image, images or imgs."""
    mask: str | None = None
    """The array of the masks; null looks for mask, masks, segmentation or segmentations, or does without."""
    visibility: str | None = None
    """The array that says which objects are in a picture; null looks for visibility, or does without."""
    backgrounds: PositiveInt = 1
    """How many of the first masks show background: 1, or 4 for Objects Room."""
    void: int | None = None
    """The value of pixels that are not scored, in masks of indices; null for none."""


class HDF5Pictures:
    """Pictures in the order of files and rows, without masks: image uint8 (3, H, W).

    The files are opened by each process for itself.
    """

    def __init__(self, config: MultiObjectHDF5Config, found: "_Files"):
        self.config = config
        self._tables = found.tables
        self.problems: Sequence[DataProblem] = found.problems
        """Files that are left out."""
        self.cautions: Sequence[str] = found.cautions
        """Files that have no masks."""
        self.listed = None if found.problems else found.rows
        """How many pictures there are; None where files that cannot be read hold some."""
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
        """The files' names with the rows."""
        return [f"{self._names[one.path]}_{row:06d}" for one in self._tables for row in range(one.rows)]

    def fingerprint(self) -> str:
        """Return the state of all files."""
        root = self.config.path
        return fingerprint_paths(
            (table.path for table in self._tables), root if root.is_dir() else root.parent
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: another process opens its own."""
        return {**self.__dict__, "_opened": {}}

    def _find(self, index: int) -> tuple[Table, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} pictures, none has number {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        table = self._tables[number]
        return table, index - int(self._ends[number]) + table.rows

    def _read(self, table: Table, name: str | None, row: int) -> NDArray[Any]:
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
    """The same with masks, uint8 or int32 (H, W).

    Mask value k is object k of the data, 0 the background, -1 void. A picture's `objects` are those that are
    visible, each with its `index` and what the arrays of shape (N, K) or (N, K, d) say of it.
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

    def _mask(self, table: Table, row: int) -> NDArray[np.integer]:
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

    def _attributes(self, table: Table, row: int, mask_HW: NDArray[np.integer] | None) -> dict[str, Any]:
        if table.visibility is not None:
            seen = np.flatnonzero(self._read(table, table.visibility, row).reshape(-1))
        else:
            assert mask_HW is not None
            seen = np.unique(mask_HW)
        known = {name: self._read(table, name, row) for name in table.facts}
        objects = [
            {"index": index, **{name: _plain(values[index]) for name, values in known.items()}}
            for index in seen.tolist()
            if index >= self.config.backgrounds
        ]
        return {"num_objects": len(objects), "objects": objects}


def merge_masks(masks_KHW: NDArray[Any]) -> NDArray[np.integer]:
    """Return labels (H, W) from a mask for each object: the number of the one that is not 0; 0 for none.

    Raises:
        ValueError: if a pixel belongs to two objects: which is in front is not known.
    """
    inside_KHW = masks_KHW != 0
    owners_HW = inside_KHW.sum(0)
    if owners_HW.max() > 1:
        row, column = np.argwhere(owners_HW > 1)[0].tolist()
        both = " and ".join(map(str, np.flatnonzero(inside_KHW[:, row, column])))
        number = int((owners_HW > 1).sum())
        raise ValueError(
            f"its masks overlap: the pixel in row {row}, column {column} belongs to {both} ({number} pixels "
            "are like that); masks must show the parts that are seen, or be one array of indices (N, H, W)"
        )
    labels_HW: NDArray[np.integer] = inside_KHW.argmax(0)
    return labels_HW


def _plain(value: Any) -> Any:
    """Return a fact of an object as JSON can hold it; what is not a finite number becomes None."""
    if isinstance(value, np.ndarray):
        return _plain(value.item()) if value.size == 1 else [_plain(item) for item in value]
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        return plain.decode(errors="replace")
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


@dataclass(frozen=True)
class _Files:
    """What is in each file that can be used, and the files that cannot."""

    tables: Sequence[Table]
    names: Mapping[Path, str]
    """Of each file, no two alike."""
    problems: Sequence[DataProblem]
    cautions: Sequence[str]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


def open_files(config: MultiObjectHDF5Config, context: DatasetContext) -> HDF5Pictures:
    """Read what is in the files.

    Raises:
        ComponentError: if there are none, none can be used, or the settings do not fit them.
    """
    found = _read_tables(config)
    if config.void is not None and any(table.separate for table in found.tables):
        text = "void is a value of masks that hold indices; here each object has a mask of its own"
        raise ComponentError(text, field="void")
    masked = found.tables[0].mask is not None
    return MultiObjectHDF5Dataset(config, found) if masked else HDF5Pictures(config, found)


def _read_tables(config: MultiObjectHDF5Config) -> _Files:
    """Return what is in each file, and the files that cannot be used."""
    names = {"image": config.image, "mask": config.mask, "visibility": config.visibility}
    tables, problems = [], []
    first: ComponentError | None = None
    paths = _list(config.path)
    for path in paths:
        try:
            tables.append(read_table(path, names))
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
    )
