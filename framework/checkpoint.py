"""Checkpoints: all that a training needs to go on as if it had never stopped.

    RUN/checkpoints/step-000001200-9f86d081884c7d65.pt    the newest few, and the best
    RUN/checkpoints/best.json                             which one is best, and by what

The second number is a hash of the file's content, so that a damaged file is known by its
name. Files are torch archives of tensors and plain data, read without executing code.
"""

import errno
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.atomic import write_atomically, write_json
from slotlab.framework.stored import Best, read_stored
from slotlab.registry import SlotlabError

FORMAT = 2
"""Version of the checkpoint's shape."""
_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint file, known by its name alone."""

    path: Path
    step: int
    checksum: str

    @classmethod
    def at(cls, path: Path) -> "Checkpoint | None":
        """Read a file's name; None if it is no checkpoint's."""
        match = _NAME.fullmatch(path.name)
        return None if match is None else cls(path, int(match[1]), match[2])

    def read(self) -> dict[str, Any]:
        """Return the content, tensors on the CPU.

        Raises:
            SlotlabError: if the file is damaged or of another format.
        """
        data = self.path.read_bytes()
        if checksum(data) != self.checksum:
            raise SlotlabError(f"{self.path} is damaged: its checksum is not the one in its name")
        import torch

        try:
            loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # a strange file fails in many ways
            raise SlotlabError(f"{self.path} cannot be read: {type(error).__name__}") from error
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
            raise SlotlabError(f"{self.path} is no checkpoint of slotlab's format {FORMAT}")
        return loaded


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run."""

    folder: Path

    @property
    def best_file(self) -> Path:
        """The note of which checkpoint is best."""
        return self.folder / "best.json"

    def all(self) -> Sequence[Checkpoint]:
        """Return the checkpoints that are there, newest first."""
        found = (Checkpoint.at(path) for path in self.folder.glob("step-*.pt"))
        return sorted((one for one in found if one is not None), key=lambda one: -one.step)

    def newest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest checkpoint that is whole, and what is wrong with newer ones."""
        complaints: list[str] = []
        for one in self.all():
            try:
                return one.read(), complaints
            except SlotlabError as error:
                complaints.append(str(error))
        return None, complaints

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best value so far; None if none was kept for its value."""
        facts = self.best_facts()
        found = None if facts is None else Checkpoint.at(self.folder / facts["file"])
        return found if found is not None and found.path.is_file() else None

    def best_facts(self) -> dict[str, Any] | None:
        """Return file, metric, value and step of the best checkpoint; None if that cannot be read."""
        try:
            return read_stored(Best, self.best_file) or None
        except SlotlabError:  # damaged: the next value that is measured is the best
            return None

    def save(self, state: Mapping[str, Any], *, keep: int) -> Checkpoint:
        """Write a checkpoint, atomically; then remove all but the newest `keep` and the best.

        `state` has the number `step`.

        Raises:
            SlotlabError: if the disk is full; what was there before is kept.
        """
        import torch

        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        data = buffer.getvalue()
        path = self.folder / f"step-{state['step']:09d}-{checksum(data)}.pt"
        try:
            write_atomically(path, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            steps = [str(one.step) for one in self.all()]
            kept = f"the checkpoint of step {steps[0]} is kept" if steps else "no checkpoint was written yet"
            size = f"{len(data) / 2**20:.0f} MiB"
            text = f"the disk is full: a checkpoint of {size} does not fit into {self.folder}; {kept}. "
            raise SlotlabError(text + "Free some space and give the same command again") from error
        saved = Checkpoint.at(path)
        assert saved is not None
        self._prune(keep, saved)
        return saved

    def is_better(self, metric: str, value: float, *, higher: bool) -> bool:
        """Return whether `value` beats the best checkpoint's; so does any first value of a metric."""
        facts = self.best_facts()
        if self.best() is None or facts is None or facts["metric"] != metric:
            return True
        best: float = facts["value"]
        return value > best if higher else value < best

    def mark_best(self, one: Checkpoint, metric: str, value: float) -> None:
        """Note that a checkpoint is the best so far."""
        facts = {"file": one.path.name, "step": one.step, "metric": metric, "value": value}
        write_json(self.best_file, facts)

    def _prune(self, keep: int, saved: Checkpoint) -> None:
        best = self.best()
        spared = {saved.path} | ({best.path} if best else set())
        others = [one for one in self.all() if one.path not in spared]
        # Never by step alone: one of a later step may stem from a branch that was given up.
        for one in others[max(keep - 1, 0) :]:
            one.path.unlink(missing_ok=True)


def checksum(data: bytes) -> str:
    """Return a hash of a file's content: sixteen hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
