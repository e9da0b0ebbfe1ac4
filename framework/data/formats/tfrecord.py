"""TFRecord files without TensorFlow: where the records lie, and the features of each, read one at a time.

    uint64 length, uint32 checksum of the length, length bytes, uint32 checksum of the bytes; little-endian

A file is listed by its lengths alone. When a process reads a record for the first time it reads and checks
all of it; later it reads the wanted features alone. Files are opened for each reading, so that records can be
sent to other processes. Source: tensorflow.org/tutorials/load_data/tfrecord.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.formats.crc32c import masked_crc32c
from slotlab.framework.data.formats.pictures import Blob
from slotlab.framework.data.formats.tf_example import (
    KINDS,
    Kind,
    list_floats,
    list_ints,
    list_items,
    parse_example,
)
from slotlab.registry.component import suggest

_HEADER, _CHECKSUM = 12, 4
_AGAIN = "download the file again"


class RecordPlace(NamedTuple):
    """Where a record lies: its file, its number in it, and its bytes."""

    path: str
    row: int
    offset: int
    size: int

    @property
    def name(self) -> str:
        """The record in messages."""
        return f"{self.path}[{self.row}]"

    def broken(self, text: str) -> DataError:
        """Return an error about the record."""
        return DataError(DataProblem(self.name, text))

    def read(self) -> bytes:
        """Return the record's bytes, whose checksum is right.

        Raises:
            DataError: if the file is too short or damaged.
        """
        data = Blob(self.name, self.path, self.offset, self.size + _CHECKSUM).read()
        body, stored = data[: self.size], int.from_bytes(data[self.size :], "little")
        if masked_crc32c(body) != stored:
            raise self.broken(f"the checksum of its {self.size} bytes is wrong: it is damaged; {_AGAIN}")
        return body


def list_records(path: Path) -> list[RecordPlace]:
    """Return the records of a file, of which only the lengths are read.

    Raises:
        DataError: for a file that is cut off, damaged, or no TFRecord file, with the record.
    """
    found: list[RecordPlace] = []
    try:
        with path.open("rb", buffering=0) as file:
            total, at = path.stat().st_size, 0
            while at < total:
                file.seek(at)
                size = _length(file.read(_HEADER), str(path), len(found))
                place = RecordPlace(str(path), len(found), at + _HEADER, size)
                at = place.offset + size + _CHECKSUM
                if at > total:
                    raise place.broken(f"it is cut off: the file ends {at - total} bytes too early; {_AGAIN}")
                found.append(place)
    except OSError as error:
        raise DataError(DataProblem(str(path), f"cannot be read: {error.strerror or error}")) from None
    return found


def _length(header: bytes, path: str, row: int) -> int:
    place = RecordPlace(path, row, 0, 0)
    if len(header) < _HEADER:
        raise place.broken(f"it is cut off: the file ends inside its length; {_AGAIN}")
    size, stored = struct.unpack("<QI", header)
    if masked_crc32c(header[:8]) != stored:
        what = "the file is damaged" if row else "the file is damaged, or is no TFRecord file"
        raise place.broken(f"the checksum of its length is wrong: {what}; {_AGAIN}")
    return int(size)


class ExampleRecord:
    """A record that holds a `tf.train.Example`, whose checksum was found right."""

    def __init__(self, place: RecordPlace, rows: Mapping[str, int], lists_F3: NDArray[np.integer]):
        self.place = place
        self._rows = rows
        """By the name of a feature its row in `lists_F3`: kind, first byte, and the one after the last."""
        self._lists_F3 = lists_F3
        self._items: dict[str, NDArray[np.integer]] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether there is a feature of this name."""
        return name in self._rows

    @property
    def names(self) -> Iterable[str]:
        """The names of all features."""
        return self._rows.keys()

    def broken(self, name: str, text: str) -> DataError:
        """Return an error about a feature."""
        return self.place.broken(f"field '{name}' {text}")

    def values(self, wanted: Mapping[str, Kind]) -> dict[str, Any]:
        """Return the values of some features, in one reading: lists of bytes, float32 or int64 arrays.

        Raises:
            DataError: if a feature is missing, or holds something else.
        """
        parts = {name: self._list(name, kind) for name, kind in wanted.items()}
        order = sorted(parts, key=lambda name: parts[name][0])
        raw = dict(zip(order, self._read([parts[name] for name in order]), strict=True))
        return {name: self._decoded(name, kind, raw[name]) for name, kind in wanted.items()}

    def count(self, name: str) -> int:
        """Return how many items a feature of bytes has.

        Raises:
            DataError: if the feature is missing, or holds something else.
        """
        return len(self._items_of(name))

    def item(self, name: str, number: int) -> bytes:
        """Return one item of a feature of bytes, without reading the others twice.

        Raises:
            DataError: if the feature is missing, or holds something else.
            IndexError: if it has fewer items.
        """
        first, end = self._items_of(name)[number].tolist()
        return self._read([(first, end)])[0]

    def _items_of(self, name: str) -> NDArray[np.integer]:
        if name not in self._items:
            first, end = self._list(name, "bytes")
            try:
                found = list_items(self._read([(first, end)])[0]) + first
            except ValueError as error:
                raise self.broken(name, f"cannot be read: {error}") from None
            self._items[name] = found.astype(self._lists_F3.dtype)
        return self._items[name]

    def _list(self, name: str, kind: Kind) -> tuple[int, int]:
        if name not in self._rows:
            known = f"; its fields are {', '.join(sorted(self._rows)) or 'none'}"
            raise self.place.broken(f"there is no field '{name}'{suggest(name, self._rows) or known}")
        code, first, end = self._lists_F3[self._rows[name]].tolist()
        if KINDS[code] not in (kind, "none"):
            raise self.broken(name, f"holds {KINDS[code]} values; expected {kind}")
        return first, end

    def _decoded(self, name: str, kind: Kind, data: bytes) -> Any:
        try:
            if kind == "bytes":
                return [data[first:end] for first, end in list_items(data).tolist()]
            return list_floats(data) if kind == "float" else list_ints(data)
        except ValueError as error:
            raise self.broken(name, f"cannot be read: {error}") from None

    def _read(self, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        found = []
        try:
            with open(self.place.path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
                for first, end in parts:
                    file.seek(self.place.offset + first)
                    data = file.read(end - first)
                    if len(data) != end - first:
                        raise self.place.broken(f"the file has become shorter since it was opened; {_AGAIN}")
                    found.append(data)
        except OSError as error:
            raise self.place.broken(f"cannot be read: {error.strerror or error}") from None
        return found


class ExampleFiles:
    """The records of several files, one after the other, each read and checked when it is first asked for."""

    def __init__(self, places: Sequence[RecordPlace]):
        self.places = places
        self._opened: dict[int, ExampleRecord] = {}
        self._shared: dict[tuple[str, ...], dict[str, int]] = {}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.places)

    def __getitem__(self, index: int) -> ExampleRecord:
        """Return record `index`.

        Raises:
            DataError: if it is damaged, or no Example, with its file and number.
        """
        if index not in self._opened:
            self._opened[index] = self._open(self.places[index])
        return self._opened[index]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is known of records: another process reads and checks them itself."""
        return {**self.__dict__, "_opened": {}, "_shared": {}}

    def _open(self, place: RecordPlace) -> ExampleRecord:
        try:
            features = parse_example(place.read())
        except ValueError as error:
            raise place.broken(f"it is no tf.train.Example: {error}") from None
        names = tuple(features)
        rows = self._shared.setdefault(names, {name: row for row, name in enumerate(names)})
        lists = np.array(list(features.values()), np.min_scalar_type(place.size)).reshape(-1, 3)
        return ExampleRecord(place, rows, lists)
