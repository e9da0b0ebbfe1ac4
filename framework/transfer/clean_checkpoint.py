"""Checkpoints as they may be sent: the same bytes, unless something private is in them."""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.runs.checkpoints import Checkpoint, checksum
from slotlab.framework.transfer.private import Privacy

PARTS = re.compile(
    r"archive/(?:data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d+)"
)
"""What `torch.save` writes into its archive."""
LOG = "log"
"""The key of the log's copy: uint8, compressed by zlib (`runs/metrics_log.py`)."""


@dataclass(frozen=True)
class CleanCheckpoint:
    """A checkpoint to send."""

    name: str
    """Its file's name, which holds a hash of its content."""
    step: int
    path: Path
    """The run's own file."""
    data: bytes | None = None
    """Its new content, if something private was in it; None if the file is sent as it is."""


def clean_checkpoint(one: Checkpoint, privacy: Privacy) -> CleanCheckpoint:
    """Return a checkpoint without what is private. One that holds nothing of the kind keeps its hash.

    Raises:
        SlotlabError: if it cannot be read.
    """
    state = one.read()
    clean = privacy.data(state)
    cleaned = _clean_log(clean, privacy)
    if _same(clean, state) and not cleaned and not _strange_parts(one.path):
        return CleanCheckpoint(one.path.name, one.step, one.path)
    import torch

    buffer = io.BytesIO()
    torch.save(clean, buffer)
    data = buffer.getvalue()
    return CleanCheckpoint(f"step-{one.step:09d}-{checksum(data)}.pt", one.step, one.path, data)


def _clean_log(state: dict[str, Any], privacy: Privacy) -> bool:
    """Clean the log's copy in place; return whether that changed it."""
    import torch

    packed = state.get(LOG)
    if packed is None:
        return False
    text = zlib.decompress(packed.numpy().tobytes()).decode(errors="replace")
    clean = "".join(privacy.text(line) for line in text.splitlines(keepends=True))
    if clean == text:
        return False
    data = clean.encode()
    state["log_bytes"] = len(data)
    state[LOG] = torch.frombuffer(bytearray(zlib.compress(data, 1)), dtype=torch.uint8)
    return True


def _same(one: Any, other: Any) -> bool:
    """Return whether two states hold the same texts; everything else in them is the same."""
    return list(_texts(one)) == list(_texts(other))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _strange_parts(path: Path) -> bool:
    """Return whether an archive holds something that `torch.save` does not write."""
    with zipfile.ZipFile(path) as archive:
        strange = any(PARTS.fullmatch(item.filename) is None or item.comment for item in archive.infolist())
        return strange or bool(archive.comment)
