"""`tf.train.Example` messages in protobuf's wire format: where the values of features lie, and the values.

    Example {Features features = 1}            Features {map<string, Feature> feature = 1}
    Feature {one of: BytesList = 1, FloatList = 2, Int64List = 3}, each {repeated value = 1}

A message is parsed without its values, which may be most of it: they are decoded one feature at a time.
Sources: protobuf.dev/programming-guides/encoding; TensorFlow's `example.proto` and `feature.proto`.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Kind = Literal["none", "bytes", "float", "int64"]
KINDS: tuple[Kind, ...] = ("none", "bytes", "float", "int64")
"""Kinds of features by their number in the message; `none` is a feature without a list."""
_VARINT, _EIGHT, _SIZED, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT = 10


class Field(NamedTuple):
    """A field of a message: its number, how it is written, and where its content lies."""

    number: int
    wire: int
    start: int
    end: int


class Feature(NamedTuple):
    """Where the list of a feature lies in a message."""

    kind: int
    """A position in `KINDS`."""
    start: int
    end: int


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of an Example by name.

    Raises:
        ValueError: with the feature, or the byte, that is not as it should be.
    """
    found = {}
    for features in _fields(data, 0, len(data)):
        if features.number == 1:
            _need(features, _SIZED, "the features")
            for entry in _fields(data, features.start, features.end):
                if entry.number == 1:
                    _need(entry, _SIZED, "a feature")
                    name, feature = _entry(data, entry)
                    found[name] = feature
    return found


def list_items(data: bytes) -> NDArray[np.int64]:
    """Return where the items of a BytesList lie: (N, 2), the first byte and the one after the last.

    Raises:
        ValueError: if it is no such list.
    """
    items = []
    for field in _fields(data, 0, len(data)):
        _need(field, _SIZED, "a value")
        items.append((field.start, field.end))
    return np.array(items, np.int64).reshape(-1, 2)


def list_floats(data: bytes) -> NDArray[np.float32]:
    """Return the values of a FloatList, packed or not.

    Raises:
        ValueError: if it is no such list.
    """
    parts = []
    for field in _fields(data, 0, len(data)):
        _need(field, _FOUR if field.wire == _FOUR else _SIZED, "a value")
        if (field.end - field.start) % 4:
            raise ValueError(f"its {field.end - field.start} bytes are no whole number of floats")
        parts.append(np.frombuffer(data, "<f4", (field.end - field.start) // 4, field.start))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def list_ints(data: bytes) -> NDArray[np.int64]:
    """Return the values of an Int64List, packed or not.

    Raises:
        ValueError: if it is no such list.
    """
    parts = []
    for field in _fields(data, 0, len(data)):
        _need(field, _VARINT if field.wire == _VARINT else _SIZED, "a value")
        parts.append(_varints(np.frombuffer(data, np.uint8, field.end - field.start, field.start)))
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _varints(bytes_N: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return numbers that are written one after the other, 7 bits a byte, the lowest first."""
    if len(bytes_N) and bytes_N[-1] >= 128:
        raise ValueError("it ends inside a number")
    ends_M = np.flatnonzero(bytes_N < 128)
    starts_M = np.concatenate([[0], ends_M[:-1] + 1]) if len(ends_M) else ends_M
    sizes_M = ends_M - starts_M + 1
    longest = int(sizes_M.max(initial=0))
    if longest > _LONGEST_VARINT:
        raise ValueError(f"one of its numbers has {longest} bytes; at most {_LONGEST_VARINT} are 64 bits")
    values_M = np.zeros(len(ends_M), np.uint64)
    for place in range(longest):
        (there,) = np.nonzero(sizes_M > place)
        bits = (bytes_N[starts_M[there] + place] & 127).astype(np.uint64)
        values_M[there] |= bits << np.uint64(7 * place)
    return values_M.view(np.int64)


def _entry(data: bytes, entry: Field) -> tuple[str, Feature]:
    """Return the name and the list of an entry of the map."""
    name, feature = "", Feature(0, entry.start, entry.start)
    for field in _fields(data, entry.start, entry.end):
        if field.number == 1:
            _need(field, _SIZED, "the name of a feature")
            try:
                name = data[field.start : field.end].decode()
            except UnicodeDecodeError:
                raise ValueError(f"byte {field.start}: the name of a feature is no text") from None
    for field in _fields(data, entry.start, entry.end):
        if field.number == 2:
            _need(field, _SIZED, f"field '{name}'")
            feature = _feature(data, field, name)
    return name, feature


def _feature(data: bytes, message: Field, name: str) -> Feature:
    lists = list(_fields(data, message.start, message.end))
    if not lists:
        return Feature(0, message.start, message.start)
    [first, *others] = lists
    if others:
        raise ValueError(f"field '{name}' has {len(lists)} lists of values; a feature has one")
    if not 1 <= first.number < len(KINDS):
        text = f"field '{name}' is of an unknown type, number {first.number}"
        raise ValueError(f"{text}; features hold bytes (1), floats (2) or int64 (3)")
    _need(first, _SIZED, f"field '{name}'")
    return Feature(first.number, first.start, first.end)


def _need(field: Field, wire: int, what: str) -> None:
    if field.wire != wire:
        text = f"byte {field.start}: {what} is written as type {field.wire} of protobuf"
        raise ValueError(f"{text}; expected type {wire}")


def _fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two positions."""
    at = start
    while at < end:
        tag, after = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _SIZED:
            size, after = _varint(data, after, end)
        elif wire in (_EIGHT, _FOUR):
            size = 8 if wire == _EIGHT else 4
        elif wire == _VARINT:
            size = _varint(data, after, end)[1] - after
        else:
            raise ValueError(f"byte {at}: there is no type {wire} of protobuf")
        if not number:
            raise ValueError(f"byte {at}: there is no field 0 in protobuf")
        if after + size > end:
            raise ValueError(f"byte {at}: a field of {size} bytes goes {after + size - end} bytes too far")
        yield Field(number, wire, after, after + size)
        at = after + size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and the position after it."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= end:
            raise ValueError(f"byte {at}: a number goes too far")
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError(f"byte {at}: a number has more than {_LONGEST_VARINT} bytes")
