"""Checkpoints: everything a training needs to resume as if it had never stopped.

    RUN/checkpoints/step-000001200-9f86d081884c7d65.pt    the newest few, and the best
    RUN/checkpoints/best.json                             which one is best, and by what

The second number is a hash of the file's content, so that a damaged file is recognized by its
name. Files are torch archives of tensors and plain data, read without executing code.

Each checkpoint records which one was the best when it was saved, and best.json repeats what the newest
records, so that a kill between the two writes loses nothing: `settle` writes best.json again. A checkpoint
that cannot be read is never removed: it may be of another version, or become readable again.
"""

import errno
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from slotlab.framework.runs.json_shapes import Best, read_stored
from slotlab.framework.system.atomic import sync_folder, write_atomically
from slotlab.framework.system.json_files import write_json
from slotlab.registry import SlotlabError

FORMAT = 2
"""Version of the checkpoint's shape."""
_NAME = re.compile(r"step-(\d{9})-([0-9a-f]{16})\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint file, as described by its name."""

    path: Path
    step: int
    checksum: str

    @classmethod
    def at(cls, path: Path) -> "Checkpoint | None":
        """Read a file's name; None if it is not that of a checkpoint."""
        match = _NAME.fullmatch(path.name)
        return None if match is None else cls(path, int(match[1]), match[2])

    def read(self) -> dict[str, Any]:
        """Return the content, tensors on the CPU.

        Raises:
            SlotlabError: if the file cannot be read, is damaged or of another format.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise SlotlabError(f"{self.path} cannot be read: {error.strerror or error}") from None
        if checksum(data) != self.checksum:
            raise SlotlabError(f"{self.path} is damaged: its checksum is not the one in its name")
        import torch

        try:
            loaded: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # a foreign file fails in many ways
            raise SlotlabError(f"{self.path} cannot be read: {type(error).__name__}") from error
        if not isinstance(loaded, dict) or loaded.get("format") != FORMAT:
            raise SlotlabError(f"{self.path} is not a checkpoint of slotlab's format {FORMAT}")
        return loaded


@dataclass(frozen=True)
class Value:
    """The metric by which checkpoints are compared, and its value at one of them."""

    metric: str
    value: float


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run."""

    folder: Path
    sound: dict[Path, bool] = field(default_factory=dict, compare=False, repr=False)
    """Whether each file that was examined can be read; each is read only once."""

    @property
    def best_file(self) -> Path:
        """The file that names the best checkpoint."""
        return self.folder / "best.json"

    def all(self) -> Sequence[Checkpoint]:
        """Return the existing checkpoints, newest first.

        Raises:
            SlotlabError: if the folder cannot be read.
        """
        try:
            paths = list(self.folder.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise SlotlabError(f"{self.folder} cannot be read: {error.strerror or error}") from None
        found = (Checkpoint.at(path) for path in paths)
        return sorted((one for one in found if one is not None), key=lambda one: (-one.step, one.path.name))

    def newest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the content of the newest intact checkpoint, and messages about damaged newer ones."""
        found, complaints = self.newest_whole()
        return (None if found is None else found[1]), complaints

    def newest_whole(self) -> tuple[tuple[Checkpoint, dict[str, Any]] | None, list[str]]:
        """Return the same, and the checkpoint that has the content."""
        complaints: list[str] = []
        try:
            every = self.all()
        except SlotlabError as error:
            return None, [str(error)]
        for one in every:
            try:
                content = one.read()
            except SlotlabError as error:
                self.sound[one.path] = False
                complaints.append(str(error))
            else:
                self.sound[one.path] = True
                return (one, content), complaints
        return None, complaints

    def of_step(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step; of several (from an abandoned branch) the last written.

        Raises:
            SlotlabError: if there is none.
        """
        every = self.all()
        found = [one for one in every if one.step == step]
        if not found:
            steps = sorted({one.step for one in every})
            there = f"there are those of {', '.join(map(str, steps))}" if steps else "there are none at all"
            text = f"{self.folder} has no checkpoint of step {step}; {there}"
            raise SlotlabError(f"{text} (training.checkpoint says which are written and kept)")
        return max(found, key=lambda one: one.path.stat().st_mtime_ns)

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best value so far; None if there is none."""
        facts = self.best_facts()
        found = None if facts is None else Checkpoint.at(self.folder / facts["file"])
        return found if found is not None and found.path.is_file() else None

    def best_facts(self) -> dict[str, Any] | None:
        """Return file, metric, value and step of the best checkpoint; None if best.json cannot be read."""
        try:
            return read_stored(Best, self.best_file) or None
        except SlotlabError:  # damaged: the next measured value counts as the best
            return None

    def save(self, state: Mapping[str, Any], *, keep: int, best: Value | None = None) -> Checkpoint:
        """Write a checkpoint atomically; then remove all but the newest `keep` and the best.

        Args:
            state: the content, with the step under `step`.
            keep: how many of the newest are kept.
            best: its value, if it is the best so far.

        Raises:
            SlotlabError: if the disk is full; earlier checkpoints are kept.
        """
        import torch

        known = self.best_facts() if best is None and self.best() is not None else None
        if best is not None:  # the file's name depends on this very content
            known = {"file": None, "step": state["step"], "metric": best.metric, "value": best.value}
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state, "best": known}, buffer)
        data = buffer.getvalue()
        path = self.folder / f"step-{state['step']:09d}-{checksum(data)}.pt"
        try:
            write_atomically(path, data)
            sync_folder(self.folder)  # before others are removed in its favor
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
        self.sound[path] = True
        self.settle(saved, known, keep=keep)
        return saved

    def settle(self, newest: Checkpoint, best: Mapping[str, Any] | None, *, keep: int) -> None:
        """Write best.json as the newest checkpoint records it, and remove checkpoints that are not kept.

        This ends each save; a resume repeats it in case a kill came before.
        """
        if best is not None:
            facts = {**best, "file": best["file"] or newest.path.name}
            if facts != self.best_facts() and (self.folder / facts["file"]).is_file():
                write_json(self.best_file, facts)
        one = self.best()
        if one is not None and not self._is_sound(one):
            self.best_file.unlink(missing_ok=True)  # else no later checkpoint could be better
        spared = {newest.path} | ({one.path} if one is not None else set())
        # Never by step alone: a checkpoint of a later step may stem from an abandoned branch.
        others = [one for one in self.all() if one.path not in spared and self._is_sound(one)]
        for one in others[max(keep - 1, 0) :]:
            one.path.unlink(missing_ok=True)

    def is_better(self, new: Value, *, higher: bool) -> bool:
        """Return whether a value beats the best checkpoint's, or is the first one of its metric."""
        if not isfinite(new.value):
            return False
        facts = self.best_facts()
        if self.best() is None or facts is None or facts["metric"] != new.metric:
            return True
        best: float = facts["value"]
        return new.value > best if higher else new.value < best

    def _is_sound(self, one: Checkpoint) -> bool:
        if one.path not in self.sound:
            try:
                one.read()
                self.sound[one.path] = True
            except SlotlabError:
                self.sound[one.path] = False
        return self.sound[one.path]


def checksum(data: bytes) -> str:
    """Return a hash of a file's content: sixteen hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()
