"""Laws of TFRecord files and of the messages in them, against a writer that shares nothing with the reader."""

import random
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.contracts import DataError
from slotlab.framework.data.formats.crc32c import crc32c, masked_crc32c
from slotlab.framework.data.formats.tf_example import (
    KINDS,
    list_floats,
    list_ints,
    list_items,
    parse_example,
)
from slotlab.framework.data.formats.tfrecord import ExampleFiles, ExampleRecord, list_records

INTS = np.array([0, 1, 127, 128, 16383, 16384, 65535, 2**31, 2**63 - 1, -1, -(2**63)], np.int64)
FLOATS = np.array([0, -0.0, 1.5, np.pi, np.inf, -np.inf, np.nan, 1e-45], np.float32)
TEXTS = [b"", b"\x00\x00", b"text", bytes(range(256)) * 3]
FEATURES: dict[str, Any] = {
    "ints": INTS,
    "floats": FLOATS,
    "texts": TEXTS,
    "no ints": np.zeros(0, np.int64),
    "no texts": [],
    "nothing": None,
}


def opened(path: Path) -> ExampleFiles:
    return ExampleFiles(list_records(path))


def complaint(read: Any) -> str:
    with pytest.raises(DataError) as caught:
        read()
    [line] = caught.value.lines()
    return line


def written(path: Path, writer: ModuleType, *records: bytes) -> Path:
    path.write_bytes(b"".join(map(writer.framed, records)))
    return path


# --- checksums ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_checksums_of_the_standard(data: bytes, value: int, tfrecord_writer: ModuleType) -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(data) == tfrecord_writer.crc32c(data) == value


@pytest.mark.parametrize("size", [*range(60, 75), 127, 128, 129, 1000, 4095, 4096, 4097, 10001])
def test_checksums_of_any_length(size: int, tfrecord_writer: ModuleType) -> None:
    data = random.Random(size).randbytes(size)
    assert crc32c(data) == tfrecord_writer.crc32c(data)
    assert masked_crc32c(data).to_bytes(4, "little") == tfrecord_writer.masked(data)


# --- messages -------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_values_are_what_was_written(tmp_path: Path, tfrecord_writer: ModuleType, packed: bool) -> None:
    data = tfrecord_writer.example(FEATURES, packed=packed)
    record = opened(written(tmp_path / "a", tfrecord_writer, data))[0]
    assert set(record.names) == set(FEATURES)
    found = record.values({"texts": "bytes", "floats": "float", "ints": "int64"})
    assert found["texts"] == TEXTS
    assert found["floats"].tobytes() == FLOATS.tobytes()
    np.testing.assert_array_equal(found["ints"], INTS)
    assert (found["ints"].dtype, found["floats"].dtype) == (np.int64, np.float32)
    assert [record.item("texts", place) for place in range(4)] == TEXTS
    assert (record.count("texts"), record.count("no texts"), record.count("nothing")) == (4, 0, 0)
    empty = record.values({"no ints": "int64", "nothing": "float", "no texts": "bytes"})
    assert [len(values) for values in empty.values()] == [0, 0, 0]
    with pytest.raises(IndexError):
        record.item("texts", 4)


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_any_whole_numbers(values: list[int], tfrecord_writer: ModuleType) -> None:
    for packed in (True, False):
        data = tfrecord_writer.example({"x": np.array(values, np.int64)}, packed=packed)
        feature = parse_example(data)["x"]
        assert list_ints(data[feature.start : feature.end]).tolist() == values


def test_of_two_features_with_one_name_the_last_counts(tfrecord_writer: ModuleType) -> None:
    data = tfrecord_writer.example({"x": [b"a"]}) + tfrecord_writer.example({"x": [b"b"], "y": [b"c"]})
    found = parse_example(data)
    part = data[found["x"].start : found["x"].end]
    assert [part[start:end] for start, end in list_items(part).tolist()] == [b"b"]


def test_fields_that_a_later_format_may_have_are_skipped(tfrecord_writer: ModuleType) -> None:
    writer = tfrecord_writer
    extra = (
        writer.sized(9, b"new")
        + writer.varint(8 * 10)
        + writer.varint(300)
        + writer.varint(8 * 11 + 5)
        + b"1234"
    )
    entry = writer.sized(1, b"x") + extra + writer.sized(2, writer.feature([b"a"]))
    data = extra + writer.sized(1, extra + writer.sized(1, entry)) + writer.varint(8 * 12 + 1) + b"12345678"
    assert list(parse_example(data)) == ["x"]


def protobuf_example() -> Any:
    """The class of Example, as protobuf makes it of TensorFlow's example.proto and feature.proto."""
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file: Any = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto3")

    def add(name: str, *fields: tuple[str, int, str, bool], inside: Any = None) -> Any:
        made = (file.message_type if inside is None else inside.nested_type).add(name=name)
        for title, number, kind, repeated in fields:
            field = made.field.add(name=title, number=number, label=3 if repeated else 1)
            if kind.startswith("."):
                field.type, field.type_name = field.TYPE_MESSAGE, kind
            else:
                field.type = getattr(field, f"TYPE_{kind}")
        return made

    for name, kind in (("BytesList", "BYTES"), ("FloatList", "FLOAT"), ("Int64List", "INT64")):
        add(name, ("value", 1, kind, True))
    lists = (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))
    feature = add(
        "Feature", *((name, n, f".oracle.{kind}", False) for n, (name, kind) in enumerate(lists, 1))
    )
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = add("Features", ("feature", 1, ".oracle.Features.FeatureEntry", True))
    entry = add(
        "FeatureEntry", ("key", 1, "STRING", False), ("value", 2, ".oracle.Feature", False), inside=features
    )
    entry.options.map_entry = True
    add("Example", ("features", 1, ".oracle.Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Example"))


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(st.binary(max_size=9), max_size=4)
        | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)
        | st.lists(st.floats(width=32, allow_nan=False), max_size=4),
        max_size=5,
    )
)
def test_protobufs_own_messages_are_read(values: dict[str, list[Any]]) -> None:
    example = protobuf_example()()
    kinds = {bytes: ("bytes_list", "bytes"), int: ("int64_list", "int64"), float: ("float_list", "float")}
    for name, items in values.items():
        held = getattr(example.features.feature[name], kinds[type(items[0]) if items else bytes][0])
        held.SetInParent()
        held.value.extend(items)
    data = example.SerializeToString()
    found = parse_example(data)
    assert set(found) == set(values)
    for name, items in values.items():
        feature = found[name]
        part = data[feature.start : feature.end]
        assert KINDS[feature.kind] == kinds[type(items[0]) if items else bytes][1]
        if KINDS[feature.kind] == "bytes":
            assert [part[start:end] for start, end in list_items(part).tolist()] == items
        else:
            read: Any = list_ints if KINDS[feature.kind] == "int64" else list_floats
            assert read(part).tolist() == items


def message(name: str, feature: bytes, writer: ModuleType) -> bytes:
    content: bytes = writer.sized(
        1, writer.sized(1, writer.sized(1, name.encode()) + writer.sized(2, feature))
    )
    return content


def test_features_of_an_unknown_type(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    data = message("x", tfrecord_writer.sized(4, b"abc"), tfrecord_writer)
    path = written(tmp_path / "a", tfrecord_writer, data)
    assert complaint(lambda: opened(path)[0]) == (
        f"{path}[0]: it is no tf.train.Example: field 'x' is of an unknown type, number 4; features hold bytes (1), "
        "floats (2) or int64 (3)"
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x0b", "byte 0: there is no type 3 of protobuf"),
        (b"\x02\x00", "byte 0: there is no field 0 in protobuf"),
        (b"\x0a\x05ab", "byte 0: a field of 5 bytes goes 3 bytes too far"),
        (b"\x0a\x80", "byte 1: a number goes too far"),
        (b"\x80" * 11, "byte 0: a number has more than 10 bytes"),
        (b"\x08\x01", "byte 1: the features is written as type 0 of protobuf; expected type 2"),
        (b"\x0a\x05\x0a\x03\x0a\x01\xff", "byte 6: the name of a feature is no text"),
    ],
)
def test_what_is_no_message(tmp_path: Path, tfrecord_writer: ModuleType, data: bytes, text: str) -> None:
    path = written(tmp_path / "a", tfrecord_writer, tfrecord_writer.example(FEATURES), data)
    assert complaint(lambda: opened(path)[1]) == f"{path}[1]: it is no tf.train.Example: {text}"


def test_two_lists_in_a_feature(tfrecord_writer: ModuleType) -> None:
    data = message("x", tfrecord_writer.feature([b"a"]) * 2, tfrecord_writer)
    with pytest.raises(ValueError, match="field 'x' has 2 lists of values; a feature has one"):
        parse_example(data)


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("ints", "float", "field 'ints' holds int64 values; expected float"),
        ("texts", "int64", "field 'texts' holds bytes values; expected int64"),
        ("flots", "float", "there is no field 'flots'; did you mean 'floats'?"),
        (
            "q",
            "float",
            "there is no field 'q'; its fields are floats, ints, no ints, no texts, nothing, texts",
        ),
    ],
)
def test_features_that_are_not_as_expected(
    tmp_path: Path, tfrecord_writer: ModuleType, name: str, kind: Any, text: str
) -> None:
    path = written(tmp_path / "a", tfrecord_writer, tfrecord_writer.example(FEATURES))
    assert complaint(lambda: opened(path)[0].values({name: kind})) == f"{path}[0]: {text}"


@pytest.mark.parametrize(
    ("number", "content", "kind", "text"),
    [
        (3, b"\x0a\x02\x01\x80", "int64", "it ends inside a number"),
        (3, b"\x0a\x0b" + b"\x80" * 10 + b"\x01", "int64", "one of its numbers has 11 bytes; at most 10 are 64 bits"),
        (2, b"\x0a\x03abc", "float", "its 3 bytes are no whole number of floats"),
        (1, b"\x08\x01", "bytes", "byte 1: a value is written as type 0 of protobuf; expected type 2"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_read(
    tmp_path: Path, tfrecord_writer: ModuleType, number: int, content: bytes, kind: Any, text: str
) -> None:
    data = message("x", tfrecord_writer.sized(number, content), tfrecord_writer)
    path = written(tmp_path / "a", tfrecord_writer, data)
    assert (
        complaint(lambda: opened(path)[0].values({"x": kind}))
        == f"{path}[0]: field 'x' cannot be read: {text}"
    )
    if kind == "bytes":
        assert (
            complaint(lambda: opened(path)[0].item("x", 0)) == f"{path}[0]: field 'x' cannot be read: {text}"
        )


@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_value_error_or_a_reading(data: bytes) -> None:
    for read in (parse_example, list_items, list_floats, list_ints):
        with suppress(ValueError):
            read(data)  # type: ignore[operator]


# --- files ----------------------------------------------------------------------------------


def test_records_are_found_by_their_lengths_alone(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    path = written(tmp_path / "a", tfrecord_writer, b"first", b"", b"x" * 100)
    places = list_records(path)
    assert [(place.row, place.size, place.name) for place in places] == [
        (0, 5, f"{path}[0]"),
        (1, 0, f"{path}[1]"),
        (2, 100, f"{path}[2]"),
    ]
    assert [place.read() for place in places] == [b"first", b"", b"x" * 100]
    path.write_bytes(path.read_bytes().replace(b"first", b"fresh"))
    assert list_records(path) == places
    assert complaint(places[0].read) == (
        f"{path}[0]: the checksum of its 5 bytes is wrong: it is damaged; download the file again"
    )
    assert list_records(written(tmp_path / "b", tfrecord_writer)) == []


def test_every_changed_byte_is_noticed(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    """In a length, in either checksum, in the data: no byte of a file is without effect."""
    data = tfrecord_writer.example({"x": [b"some", b"text"], "y": INTS})
    whole = written(tmp_path / "a", tfrecord_writer, data, data[:-1] + b"z").read_bytes()
    path, chance = tmp_path / "b", random.Random(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= chance.randrange(1, 256)
        path.write_bytes(changed)
        with pytest.raises(DataError) as caught:
            [record.read() for record in list_records(path)]
        row = int(place >= len(whole) // 2)
        assert caught.value.problems[0].path == f"{path}[{row}]"
        assert "checksum" in caught.value.problems[0].reason


def test_a_file_that_ends_anywhere_is_an_error_or_has_fewer_records(
    tmp_path: Path, tfrecord_writer: ModuleType
) -> None:
    path = written(tmp_path / "a", tfrecord_writer, b"record one", b"two")
    whole, end = path.read_bytes(), len(b"record one") + 16
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size in (0, end):
            assert len(list_records(path)) == bool(size)
            continue
        row, start = int(size > end), end if size > end else 0
        line = complaint(lambda: list_records(path))
        if size - start < 12:
            assert (
                line
                == f"{path}[{row}]: it is cut off: the file ends inside its length; download the file again"
            )
        else:
            short = (len(whole) if row else end) - size
            text = f"it is cut off: the file ends {short} bytes too early; download the file again"
            assert line == f"{path}[{row}]: {text}"


def test_tensorboards_own_files_are_read(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    """Its writer of records is the only one among slotlab's own dependencies."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    records = [b"", b"one", bytes(range(256)) * 40]
    path = tmp_path / "a"
    with path.open("wb") as file:
        for data in records:
            RecordWriter(file).write(data)
    assert path.read_bytes() == b"".join(map(tfrecord_writer.framed, records))
    assert [place.read() for place in list_records(path)] == records


def test_what_is_no_tfrecord_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"<html>not found</html>")
    assert complaint(lambda: list_records(path)) == (
        f"{path}[0]: the checksum of its length is wrong: the file is damaged, or is no TFRecord file; "
        "download the file again"
    )
    path.unlink()
    assert complaint(lambda: list_records(path)) == f"{path}: cannot be read: No such file or directory"


def test_a_file_that_changes_after_it_was_opened(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    path = written(tmp_path / "a", tfrecord_writer, tfrecord_writer.example(FEATURES))
    record = opened(path)[0]
    path.write_bytes(path.read_bytes()[:20])
    line = complaint(lambda: record.values({"texts": "bytes", "floats": "float"}))
    assert line == f"{path}[0]: the file has become shorter since it was opened; download the file again"
    path.unlink()
    assert (
        complaint(lambda: record.item("texts", 0)) == f"{path}[0]: cannot be read: No such file or directory"
    )


def test_a_record_is_checked_once_by_each_process(
    tmp_path: Path, tfrecord_writer: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(written(tmp_path / "a", tfrecord_writer, tfrecord_writer.example(FEATURES)))
    first = files[0]
    monkeypatch.setattr("slotlab.framework.data.formats.tfrecord.masked_crc32c", None)
    assert isinstance(first, ExampleRecord)
    assert files[0] is first
    assert files.__getstate__()["_opened"] == {}
