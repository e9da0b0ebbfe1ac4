"""Files that are written whole or not at all.

A file is written under a temporary name, `.NAME.RANDOM.tmp`, locked as long as its writer lives. A file that
a killed process left behind is recognized by its missing lock.
"""

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import BinaryIO

from slotlab.framework.system.locks import exclusive, is_at, lock
from slotlab.registry import SlotlabError

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:\d+|[0-9a-f]{8})\.(?:tmp|old)", re.DOTALL)
"""Names of temporary files and folders; earlier versions wrote digits alone."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    with written_whole(path) as file:
        file.write(data)


def write_output(path: Path, data: bytes) -> None:
    """Write a file that a user asked for, atomically; what killed commands left of it is cleared first."""
    clear_leavings(leavings(path.parent, of=path.name))
    write_atomically(path, data)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file, which gets the name `path` once the block has ended well and it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _Temporary.of(path) as temporary:
        yield temporary.file
        temporary.sync()
        temporary.place()


@contextmanager
def replaced_together(folder: Path, files: Mapping[str, bytes | None], *, last: str) -> Iterator[None]:
    """Replace several files so that a reader who finds `last` finds all of them from one call.

    All of them are on the disk before the first of the old ones goes: a full disk changes nothing. Then
    `last` is removed, the block runs, the others are replaced (None removes one), and `last` comes back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        written: dict[str, _Temporary] = {}
        for name, data in files.items():
            if data is not None:
                stack.enter_context(_naming(folder / name))
                written[name] = stack.enter_context(_Temporary.of(folder / name))
                written[name].file.write(data)
                written[name].sync()
        (folder / last).unlink(missing_ok=True)
        yield
        for name in (*(name for name in files if name != last), last):
            if name in written:
                written[name].place()
            else:
                (folder / name).unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError name the file that the user knows instead of the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)).name.startswith(f".{path.name}."):
            error.filename = str(path)
        raise


@dataclass
class _Temporary:
    """A new file beside the one that it will replace; its lock shows that its writer is alive."""

    path: Path
    final: Path
    file: BinaryIO
    placed: bool = False

    @classmethod
    @contextmanager
    def of(cls, final: Path) -> "Iterator[_Temporary]":
        """Create one; it is removed at the end unless `place` was called."""
        number = -1
        while number < 0:
            path = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            lock(number, wait=True)
            if not is_at(number, path):  # another process cleared it away before it was locked
                os.close(number)
                number = -1
        with open(number, "wb") as file:  # noqa: PTH123 - it is open already
            temporary = cls(path, final, file)
            try:
                yield temporary
            finally:  # while it is locked
                if not temporary.placed:
                    path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Write everything to the disk before returning."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def place(self) -> None:
        """Give it its final name, in place of the file that it replaces."""
        self.path.replace(self.final)
        self.placed = True


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk before returning."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def leavings(folder: Path, *, of: str = "*") -> list[Path]:
    """Return the temporary files and folders directly in a folder: those of the final name `of`, or all."""
    found = folder.glob(f".{of if of == '*' else escape(of)}.*")
    return [path for path in found if _TEMPORARY.fullmatch(path.name)]


def is_barely_begun(folder: Path, first: str) -> bool:
    """Return whether a folder holds nothing but temporary files of `first`, the first file written there."""
    return set(folder.iterdir()) <= set(leavings(folder, of=first))


def clear_leavings(paths: Iterable[Path]) -> None:
    """Remove the temporary files and folders that killed processes left; those being written stay.

    What was moved aside (`.old`) and never replaced gets its name back. What cannot be removed is left, and
    no error is raised.
    """
    for path in paths:
        with suppress(OSError, SlotlabError), exclusive(path, "is being written"):
            name = _TEMPORARY.fullmatch(path.name)
            before = None if name is None else path.with_name(name["name"])
            if path.suffix == ".old" and before is not None and not before.exists():
                path.rename(before)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def is_content(path: Path, data: bytes) -> bool:
    """Return whether a file exists and holds exactly `data`."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False
