"""Keep RUN/metrics.jsonl in step with the checkpoints, each of which holds a copy of the log.

A disk may lose what was written last, or hold zeros in its place, and a user may have edited the file. A
resumed training then continues the checkpoint's copy, so that no line is missing.
"""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slotlab.framework.system.atomic import write_atomically


@dataclass(frozen=True)
class MetricsLog:
    """The log of one run."""

    path: Path

    def saved(self) -> dict[str, Any]:
        """Return the copy of the log for a checkpoint, after all of it has reached the disk."""
        if not self.path.is_file():
            return {"log_bytes": 0, "log": None}
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
            data = file.read()
        packed = torch.frombuffer(bytearray(zlib.compress(data, 1)), dtype=torch.uint8)
        return {"log_bytes": len(data), "log": packed}

    def restore(self, saved: Mapping[str, Any]) -> list[str]:
        """Restore the log as it was at a checkpoint; return messages for the user."""
        size: int = saved["log_bytes"]
        found = self.path.read_bytes() if self.path.is_file() else b""
        packed = saved.get("log")
        if packed is None:  # from an earlier version, or a training that had logged nothing
            return self._cut(found, size)
        known = zlib.decompress(packed.numpy().tobytes())
        if found[:size] == known:
            self._truncate(len(found), size)
            return []
        write_atomically(self.path, known)
        return [f"{self.path} was not as the checkpoint of step {saved['step']} knows it: it was put back"]

    def _cut(self, found: bytes, size: int) -> list[str]:
        """Keep the complete lines among the first `size` bytes."""
        whole = found[:size].rfind(b"\n") + 1
        self._truncate(len(found), whole)
        if whole == size:
            return []
        text = f"{self.path} has lost its last {size - whole} bytes before the checkpoint: lines are missing"
        return [f"{text}, and the weights are not affected"]

    def _truncate(self, found: int, size: int) -> None:
        if found > size:
            with self.path.open("r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
