"""Strikes at each change of the disk that a command makes: a kill, a kill half-way, an error of the disk."""

import builtins
import errno
import hashlib
import io
import json
import math
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from slotlab.framework.cli import main as cli
from slotlab.framework.system.cores import cores

SPEC = """
format: 1
name: small
plugins: [pixelwise.py]
data:
  dataset: {name: scenes, max_objects: 3, num_train: 4, num_val: 2, textures: [plain]}
  protocol: {name: whole, image_size: 16}
model:
  slots: 3
  slot_dim: 8
  encoder: pixelwise
  initializer: gaussian
  grouping: {name: slot_attention, iterations: 1}
  decoder: {name: spatial_broadcast, channels: [4], broadcast_size: 8, strides: [2]}
training:
  batch_size: 2
  log_every: 1
  ema_decay: 0.9
  checkpoint: {every_steps: 1, keep: 1, best: mse}
  phases: [{epochs: 2, lr: 0.05}]
evaluation: {metrics: [ari, mse], baselines: []}
"""
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
"""Audit events of Python besides `open`, each raised before the change is made."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FULL = (errno.ENOSPC, errno.EDQUOT)
KILL, HALF = "kill", "half"
"""SIGKILL before a change; SIGKILL when half of what is written was written."""
Way = str | int
"""Of striking: one of these, or the number of an error."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT)


@dataclass
class Disk:
    """Counts the changes under a folder, and strikes at one of them. Installed in a process to be lost."""

    root: Path
    at: int | None
    way: Way = KILL
    changes: list[str] = field(default_factory=list)
    full: bool = False
    """A full disk stays full, for all but what makes room."""

    def install(self) -> None:
        """Watch this process from now on; there is no way back."""
        sys.addaudithook(self.audited)
        plain_open, plain_write = open, os.write

        def place(number: int) -> str:
            return str(Path(f"/proc/self/fd/{number}").readlink())

        def opened(file: Any, mode: str = "r", buffering: int = -1, *words: Any, **options: Any) -> Any:
            path = place(file) if isinstance(file, int) else file
            if not set(mode) & set("wax+") or not self.is_inside(path):
                return plain_open(file, mode, buffering, *words, **options)
            closes = {key: options.pop(key) for key in ("closefd", "opener") if key in options}
            raw = Watched(self, file, mode.replace("b", "").replace("t", ""), **closes)
            both = "+" in mode
            buffered: Any = io.BufferedRandom(raw) if both else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *words, **options)

        def written(number: int, data: Any) -> int:
            self.change(f"write {place(number)}", data, lambda part: plain_write(number, part))
            return plain_write(number, data)

        def synced(number: Any) -> None:  # a kill takes nothing from the system's memory
            self.change(f"fsync {place(number if isinstance(number, int) else number.fileno())}")

        changed: Any = {(builtins, "open"): opened, (io, "open"): opened, (os, "write"): written}
        for (module, name), function in {**changed, (os, "fsync"): synced}.items():
            setattr(module, name, function)

    def is_inside(self, path: Any) -> bool:
        """Return whether a path is in the folder; those relative to an open folder are."""
        return Path.cwd().joinpath(os.fsdecode(path)).is_relative_to(self.root)

    def audited(self, event: str, facts: tuple[Any, ...]) -> None:
        """Take an audit event of Python."""
        path = facts[0] if facts else None
        changing = event in CHANGES or (event == "open" and bool(facts[2] & WRITING))
        if changing and isinstance(path, str | bytes | os.PathLike) and self.is_inside(path):
            self.change(f"{event} {os.fsdecode(path)}")

    def change(self, what: str, data: Any = None, write: Callable[[Any], Any] | None = None) -> None:
        """Count a change that is about to be made, and strike if it is the one."""
        number = len(self.changes)
        self.changes.append(what)
        if self.full and not what.startswith(("os.remove", "os.rmdir", "os.rename")):
            self.fail(what)
        if number != self.at:
            return
        if isinstance(self.way, int):
            self.full = self.way in FULL
            self.fail(what)
        if self.way == HALF and write is not None:
            write(bytes(data)[: len(data) // 2])
        os.killpg(0, signal.SIGKILL)

    def fail(self, what: str) -> None:
        """Raise the error of the disk."""
        assert isinstance(self.way, int)
        _, _, path = what.partition(" ")
        words = (path,) if what.startswith(("open", "os.")) else ()
        raise OSError(self.way, os.strerror(self.way), *words)


class Watched(io.FileIO):
    """A file whose writing is counted."""

    def __init__(self, disk: Disk, *words: Any, **options: Any):
        super().__init__(*words, **options)
        self.disk = disk

    def write(self, data: Any) -> int:
        self.disk.change(f"write {self.name}", data, super().write)
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self.disk.change(f"truncate {self.name}")
        return super().truncate(size)


@dataclass(frozen=True)
class Outcome:
    """How a command ended in a process of its own."""

    code: int
    """Negative for a signal."""
    printed: str
    changes: Sequence[str]

    def missed(self, at: int) -> bool:
        """Return whether the command was done before a change that it makes by the clock, if it makes it at all."""
        return self.code == 0 and 0 <= at - len(self.changes) < NOTED


NOTED = 12
"""Changes with which the account of time and energy is noted, every few seconds of a training."""


@dataclass(frozen=True)
class Crash:
    """A command, the folder that it is given in, and what it leaves there."""

    prepare: Callable[[Path], None]
    """Fills an empty folder with what the command needs."""
    words: Sequence[str]
    folder: Path
    """For what is not watched: the folders of all cases lie in it."""
    around: Callable[[Disk], None] = lambda disk: None
    """Called in the process that is watched, before the command."""

    def fresh(self, name: str) -> Path:
        """Return a new folder in which the command can be given."""
        root = self.folder / name / "work"
        root.mkdir(parents=True)
        self.prepare(root)
        return root

    def run(
        self, root: Path, at: int | None = None, way: Way = KILL, words: Sequence[str] | None = None
    ) -> Outcome:
        """Give the command in a folder, and strike at a change."""
        log, facts = root.parent / "log.txt", root.parent / "changes.json"
        facts.unlink(missing_ok=True)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setpgid(0, 0)
                code = self._inside(Disk(root, at, way), log, facts, words or self.words)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)  # no clean-up of the parent's
        _, status = os.waitpid(child, 0)
        changes = json.loads(facts.read_text()) if facts.is_file() else []
        return Outcome(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"), changes)

    def _inside(self, disk: Disk, log: Path, facts: Path, words: Sequence[str]) -> int:
        number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(number, 1)
        os.dup2(number, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.chdir(disk.root)
        plain_open = open
        disk.install()
        self.around(disk)
        sys.argv = ["slotlab", *words]
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        with plain_open(facts, "w") as file:
            json.dump(disk.changes, file)
        return code

    def undisturbed(self) -> tuple[dict[str, Any], Sequence[str]]:
        """Return what the command leaves when nothing happens, and the changes that it makes."""
        root = self.fresh("whole")
        outcome = self.run(root)
        assert outcome.code == 0, outcome.printed
        return contents(root), outcome.changes

    @staticmethod
    def cases(changes: Sequence[str]) -> Iterator[tuple[int, Way]]:
        """Yield each change with the ways to strike at it: both kills, and one error after the other."""
        for number, what in enumerate(changes):
            yield number, KILL
            if what.startswith("write"):
                yield number, HALF
            yield number, ERRORS[number % len(ERRORS)]

    def strike_all(self, chosen: Sequence[tuple[int, Way]], whole: Mapping[str, Any]) -> list[str]:
        """Strike in several processes at once, and return what went wrong."""
        shards = max(1, min(cores(), len(chosen) // 20))
        children = []
        for shard in range(shards):
            child = os.fork() if shards > 1 else 0
            if child == 0:
                wrong = [text for at, way in chosen[shard::shards] if (text := self.tried(at, way, whole))]
                if shards == 1:
                    return wrong
                (self.folder / f"wrong-{shard}.json").write_text(json.dumps(wrong))
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return [
            text
            for shard in range(shards)
            for text in json.loads((self.folder / f"wrong-{shard}.json").read_text())
        ]

    def tried(self, at: int, way: Way, whole: Mapping[str, Any]) -> str | None:
        """Strike, and return what went wrong."""
        try:
            self.strike(f"{at}-{way}", at, way, whole)
        except Exception:
            return f"{way} at change {at}\n{traceback.format_exc()}"
        return None

    def strike(self, name: str, at: int, way: Way, whole: Mapping[str, Any]) -> None:
        """Strike once, give the same command again, and compare what is there with what should be."""
        root = self.fresh(name)
        first = self.run(root, at, way)
        assert "Traceback" not in first.printed, first.printed
        if isinstance(way, str) and not first.missed(at):
            assert first.code == -signal.SIGKILL
        second = self.run(root)
        story = f"{way} at change {at}\n{first.printed}\n--- again ---\n{second.printed}"
        assert second.code == 0, story
        found = contents(root)
        assert found.keys() == whole.keys(), f"{sorted(found.keys() ^ whole.keys())}\n{story}"
        differ = [path for path in whole if found[path] != whole[path]]
        assert not differ, f"{[(path, found[path], whole[path]) for path in differ]}\n{story}"
        shutil.rmtree(root.parent)


def contents(root: Path) -> dict[str, Any]:
    """Return what each file holds, but for times: of a checkpoint the hash of what was learned, by its step."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            found[name] = "folder"
        elif path.suffix == ".pt":
            found[f"{path.parent.relative_to(root)}/{path.name[:14]}"] = learned(path)
        else:
            found[name] = plain(path, root)
    return found


def plain(path: Path, root: Path) -> Any:
    """Return what a file holds that does not depend on time and place, or on what happened before."""
    if path.name in ("provenance.json", "cost.json") or path.suffix == ".log":
        return "is there"
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]
    if path.name == "best.json":
        return {**json.loads(path.read_text()), "file": None}
    return path.read_bytes().replace(str(root).encode(), b"HERE")


def learned(path: Path) -> str:
    """Return a hash of all that a training goes on from, which the log is not part of."""
    state = torch.load(path, weights_only=True)
    marks = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            marks.update(value.numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                marks.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            marks.update(repr(value).encode())

    best = state.pop("best") or {}
    add({key: value for key, value in state.items() if key not in ("log", "log_bytes")})
    add({key: value for key, value in best.items() if key != "file"})
    return marks.hexdigest()


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., int]) -> None:
    """Give the commands once in this process, so that none of its copies imports everything anew."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "spec.yaml").write_text(
        SPEC.replace("plugins: [pixelwise.py]\n", "").replace("pixelwise", "cnn")
    )
    with pytest.MonkeyPatch.context() as patch:
        skip_drawing(patch)
        assert command("train", folder / "spec.yaml", "--run", folder / "run", "--device", "cpu") == 0


def skip_drawing(patch: pytest.MonkeyPatch) -> None:
    """Leave out what takes time and changes nothing on the disk: drawing, and measuring the machine."""
    from matplotlib.figure import Figure

    from slotlab.framework.cost import tally as cost

    axis: Any = MagicMock()
    nothing = {"flops_per_image": None, "flops_by_part": None, "flops_missing": ""}

    def subplots(figure: Any, rows: int = 1, columns: int = 1, **options: Any) -> Any:
        axes = np.empty((rows, columns), dtype=object)
        axes.fill(axis)
        return axes

    patch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"a figure"))
    patch.setattr(Figure, "subplots", subplots)
    patch.setattr(Figure, "add_subplot", lambda figure, *words, **options: axis)
    patch.setattr(cost, "_EVERY", math.inf)  # on a busy machine a note of the time would be one change more
    patch.setattr(cost, "operations_of", lambda spec: nothing)
    patch.setattr(cost, "peak_of", lambda engine: (None, ""))


@pytest.fixture
def crash(tmp_path: Path, warm: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Crash]:
    """Return a function that makes a command to strike at."""
    skip_drawing(monkeypatch)

    def make(prepare: Callable[[Path], None], *words: str, **options: Any) -> Crash:
        return Crash(prepare, words, tmp_path, **options)

    return make


@pytest.fixture
def prepare(plugin: Callable[..., Path]) -> Callable[[Path], None]:
    """Return what writes a spec and a plugin into a folder."""
    text = plugin().read_text()

    def write(root: Path) -> None:
        (root / "spec.yaml").write_text(SPEC)
        (root / "pixelwise.py").write_text(text)

    return write
