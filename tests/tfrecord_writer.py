"""Writes MOVi's files as TFDS does, independently of the reader: checksums, framing, messages, features."""

import io
import itertools
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

POLYNOMIAL = 0x1EDC6F41  # the highest power first; the reader has the bits in reverse


def reversed_bits(value: int, width: int) -> int:
    return int(f"{value:0{width}b}"[::-1], 2)


def remainder(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1) ^ (POLYNOMIAL if value & 1 << 31 else 0)
        value &= 0xFFFFFFFF
    return value


REVERSED = [reversed_bits(value, 8) for value in range(256)]
TABLE = [remainder(value) for value in range(256)]


def crc32c(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state = (state << 8 & 0xFFFFFFFF) ^ TABLE[state >> 24 ^ REVERSED[byte]]
    return reversed_bits(state, 32) ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    turned = crc // 2**15 + crc % 2**15 * 2**17
    return struct.pack("<I", (turned + 0xA282EAD8) % 2**32)


def framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def varint(value: int) -> bytes:
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(128 + value % 128)
        value //= 128
    return bytes([*out, value])


def sized(number: int, data: bytes) -> bytes:
    return varint(8 * number + 2) + varint(len(data)) + data


def feature(values: Any, *, packed: bool = True) -> bytes:
    """The Feature of a list of bytes, of floats or of whole numbers; of None one without a list."""
    if values is None:
        return b""
    if isinstance(values, list):
        return sized(1, b"".join(sized(1, value) for value in values))
    flat = np.asarray(values).reshape(-1)
    if flat.dtype.kind == "f":
        single = [struct.pack("<f", value) for value in flat]
        number, tag = 2, varint(8 + 5)
    else:
        single = [varint(int(value)) for value in flat]
        number, tag = 3, varint(8 + 0)
    if packed:
        return sized(number, sized(1, b"".join(single)) if single else b"")
    return sized(number, b"".join(tag + one for one in single))


def example(features: Mapping[str, Any], *, packed: bool = True) -> bytes:
    entries = [
        sized(1, sized(1, name.encode()) + sized(2, feature(values, packed=packed)))
        for name, values in features.items()
    ]
    return sized(1, b"".join(entries))


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def clip(
    variant: str, seed: int, *, frames: int = 4, size: int = 8, objects: int = 3, wide: bool = False
) -> dict[str, Any]:
    """What a clip holds, as arrays of objects and frames; the last object is not seen in frame 1."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "video": rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8),
        "segmentations": rng.integers(0, objects, (frames, size, size)).astype(np.uint16 if wide else np.uint8),
        "metadata/video_name": [str(seed).encode()],
        "metadata/num_instances": np.array([objects]),
        "visibility": rng.integers(1, 60000, (objects, frames)),
        "positions": rng.normal(size=(objects, frames, 3)).astype(np.float32),
        "image_positions": rng.random((objects, frames, 2), dtype=np.float32),
        "velocities": rng.normal(size=(objects, frames, 3)).astype(np.float32),
        "mass": rng.random(objects, dtype=np.float32),
        "forward_flow": rng.integers(0, 65536, (frames, size, size, 2)),
        "backward_flow": rng.integers(0, 65536, (frames, size, size, 2)),
        "metadata/backward_flow_range": np.array([-3.5, 2.25], np.float32),
        "depth": rng.integers(0, 65536, (frames, size, size)).astype(np.uint16),
        "metadata/depth_range": np.array([4.5, 21.75], np.float32),
    }  # fmt: skip
    made["visibility"][-1, 1 % frames] = 0
    made["bboxes"] = [
        [(frame, rng.random(4, dtype=np.float32)) for frame in range(frames) if seen[frame]]
        for seen in made["visibility"]
    ]
    if variant in "ab":
        made["shape_label"] = rng.integers(0, 3 if variant == "a" else 11, objects)
        made["material_label"] = rng.integers(0, 2, objects)
        made["color"] = rng.random((objects, 3), dtype=np.float32)
    if variant == "a":
        made["size_label"] = rng.integers(0, 2, objects)
        made["color_label"] = rng.integers(0, 8, objects)
    if variant == "b":
        made["background_color"] = rng.random(3, dtype=np.float32)
    if variant in "cdef":
        made["category"] = rng.integers(0, 17, objects)
        made["scale"] = rng.random(objects, dtype=np.float32)
        made["asset_id"] = [f"Asset_{number}".encode() for number in range(objects)]
        made["background"] = [b"noon_grass"]
    if variant in "def":
        made["is_dynamic"] = rng.integers(0, 2, objects)
    return made


FLOWS = ("forward_flow", "backward_flow")
ABOUT_CLIP = ("video", "segmentations", *FLOWS, "depth", "background", "background_color")


def features_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """The features of a clip, flat and by name, as TFDS writes them."""
    found: dict[str, Any] = {}
    for name, values in made.items():
        if name in ("video", "segmentations", "depth"):
            found[name] = [png(frame) for frame in values]
        elif name == "bboxes":
            boxes = [box for row in values for _, box in row]
            at = [frame for row in values for frame, _ in row]
            lengths = np.array([len(row) for row in values], np.int64)
            found["instances/bboxes/ragged_flat_values"] = np.array(boxes, np.float32)
            found["instances/bboxes/ragged_row_lengths_0"] = lengths
            found["instances/bbox_frames/ragged_flat_values"] = np.array(at, np.int64)
            found["instances/bbox_frames/ragged_row_lengths_0"] = lengths
        elif "/" in name or name in ABOUT_CLIP:
            found[name] = values
        else:
            found[f"instances/{name}"] = values
    return found


def write_split(
    folder: Path,
    variant: str,
    split: str,
    clips: Sequence[Any],
    *,
    shards: int = 1,
    info: bool = True,
) -> list[Path]:
    """Write clips (or features, or bytes of records) of a split into files, as evenly as can be."""
    folder.mkdir(parents=True, exist_ok=True)
    ends = [len(clips) * number // shards for number in range(shards + 1)]
    paths = []
    for number in range(shards):
        path = folder / f"movi_{variant}-{split}.tfrecord-{number:05d}-of-{shards:05d}"
        path.write_bytes(b"".join(framed(record(one)) for one in clips[ends[number] : ends[number + 1]]))
        paths.append(path)
    if info:
        file = folder / "dataset_info.json"
        known = json.loads(file.read_text())["splits"] if file.exists() else []
        lengths = [str(end - start) for start, end in itertools.pairwise(ends)]
        known.append({"name": split, "numBytes": "1", "shardLengths": lengths})
        file.write_text(json.dumps({"name": f"movi_{variant}", "version": "1.0.0", "splits": known}))
    return paths


def record(one: Any) -> bytes:
    if isinstance(one, bytes):
        return one
    return example(features_of(one) if "bboxes" in one else one)
