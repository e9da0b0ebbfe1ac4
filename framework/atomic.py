"""Files that are written whole or not at all, folders that one process has for itself, the user's cache.

A file is written under a temporary name, `.NAME.RANDOM.tmp`, locked as long as its writer lives. What a
killed process leaves is known by its being unlocked, whatever process has that one's number by now.

A folder is held by a lock (flock) that nobody but those who want it ever takes. Beside it the holder shows
a second one of another kind (a record lock of the open file), which can be asked for without being taken.
"""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

from slotlab.registry import SlotlabError

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:\d+|[0-9a-f]{8})\.(?:tmp|old)", re.DOTALL)
"""Names of temporary files and folders; with digits alone, those of earlier versions."""
_SEE = getattr(fcntl, "F_OFD_GETLK", None)
"""Asks for a lock without taking it; Linux has it."""
_FLOCK = "hhqqi0q"
"""The system's `struct flock`: kind, origin, start, length, process."""
_PATIENCE_S = 1.0
MOST_BYTES = 256 * 2**20
"""Of a small file of a run or a study."""
MOST_LEVELS = 64
"""Of lists and mappings within one another."""
LARGEST = 1e100
"""Of numbers: what is measured is far below, and sums and squares of such are numbers too."""


def user_cache() -> Path:
    """Return the folder for what slotlab can make again: in $XDG_CACHE_HOME, or in ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # Its specification: a relative path is to be ignored.
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "slotlab"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    with written_whole(path) as file:
        file.write(data)


def write_output(path: Path, data: bytes) -> None:
    """Do the same with a file that a user asked for, and clear what killed commands left of it before."""
    clear_leavings(leavings(path.parent, of=path.name))
    write_atomically(path, data)


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes the name `path` when the block ends well and it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _Temporary.of(path) as temporary:
        yield temporary.file
        temporary.sync()
        temporary.place()


@contextmanager
def replaced_together(folder: Path, files: Mapping[str, bytes | None], *, last: str) -> Iterator[None]:
    """Replace files of which a reader who finds `last` takes all to be of one call.

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
    """Name the file that the user knows in errors, and not the temporary one."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and Path(os.fsdecode(error.filename)).name.startswith(f".{path.name}."):
            error.filename = str(path)
        raise


@dataclass
class _Temporary:
    """A new file beside the one that it is to replace, locked: by this others know that it is no leaving."""

    path: Path
    final: Path
    file: BinaryIO
    placed: bool = False

    @classmethod
    @contextmanager
    def of(cls, final: Path) -> "Iterator[_Temporary]":
        """Make one; it is removed at the end unless it was given its place."""
        number = -1
        while number < 0:
            path = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            _lock(number, wait=True)
            if not is_at(number, path):  # taken for a leaving before it was locked
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
        """Return when what was written is on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())

    def place(self) -> None:
        """Put it in the place of the file that it replaces."""
        self.path.replace(self.final)
        self.placed = True


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def leavings(folder: Path, *, of: str = "*") -> list[Path]:
    """Return the temporary files and folders directly in a folder, of the name `of`, that are there."""
    found = folder.glob(f".{of if of == '*' else escape(of)}.*")
    return [path for path in found if _TEMPORARY.fullmatch(path.name)]


def is_barely_begun(folder: Path, first: str) -> bool:
    """Return whether a folder is empty but for what a kill may have left of the first file written there."""
    return set(folder.iterdir()) <= set(leavings(folder, of=first))


def clear_leavings(paths: Iterable[Path]) -> None:
    """Remove the temporary files and folders that killed processes left; those being written stay.

    What was moved aside to be replaced, and was not, comes back. Nothing fails over what cannot be removed.
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


def to_json(data: Any) -> bytes:
    """Return indented JSON as it is written into files."""
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, to_json(data))


def is_content(path: Path, data: bytes) -> bool:
    """Return whether a file is there that holds this and nothing else."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; an empty mapping where there is none.

    Raises:
        SlotlabError: if it cannot be read, is no JSON, or holds no mapping.
    """
    data = load_json(path, missing={})
    if not isinstance(data, dict):
        raise SlotlabError(f"{path}: expected a JSON object {{...}}, and it holds none")
    return data


def load_json(path: Path, *, missing: Any = None) -> Any:
    """Read a JSON file; `missing` where there is none, unless that is None.

    Raises:
        SlotlabError: if it cannot be read, or is no JSON.
    """
    content = read_file(path)
    if content is None:
        if missing is None:
            raise SlotlabError(f"{path}: {os.strerror(errno.ENOENT)}")
        return missing
    try:
        return parse_json(content)
    except (ValueError, RecursionError) as error:
        raise SlotlabError(f"{path}: {fault(error)}") from None


def read_file(path: Path, most: int = MOST_BYTES) -> bytes | None:
    """Read a file of a run or a study; None where there is none.

    Raises:
        SlotlabError: if it cannot be read, has more than `most` bytes, or is no file (a folder, or a pipe,
            which would be waited for).
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise SlotlabError(f"{path}: this is {what}, and should be a file")
        if found.st_size > most:
            raise SlotlabError(f"{path}: {found.st_size:,} bytes, and at most {most:,} are read")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except NotADirectoryError:  # something above it is a file
        return None
    except OSError as error:
        raise SlotlabError(f"{path}: {error.strerror or error}") from None


def parse_json(content: bytes | str) -> Any:
    """Read JSON as slotlab writes it: finite numbers, text that can be written again, few levels.

    Raises:
        ValueError: for anything else.
        RecursionError: if it is nested far too deeply.
    """
    text = content if isinstance(content, str) else content.decode(json.detect_encoding(content))
    data = json.loads(text, parse_constant=_no_number, parse_float=_real, parse_int=_whole)
    if text.count("[") + text.count("{") > MOST_LEVELS:
        _refuse_depth(data)
    if "\\u" in text:
        written = json.dumps(data, ensure_ascii=False)
        if "\\u0000" in written:
            raise ValueError("a text holds the character U+0000")
        written.encode()  # UnicodeEncodeError, a ValueError, for half a character
    return data


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _real(text: str) -> float:
    value = float(text)
    if not -LARGEST <= value <= LARGEST:
        raise ValueError(f"the number {text[:40]} is beyond all that is measured")
    return value


def _whole(text: str) -> int:
    if len(text) > 18 and abs(int(text[:100])) >= 2**63:
        raise ValueError(f"the number {text[:40]} is beyond the whole numbers of 64 bits")
    return int(text)


def _refuse_depth(data: Any) -> None:
    level = [data]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise RecursionError


def fault(error: Exception) -> str:
    """Say in words why JSON cannot be understood: what was raised while it was read and taken apart."""
    if isinstance(error, KeyError):
        return f"it has no '{error.args[0]}'"
    if isinstance(error, UnicodeEncodeError):
        return "not valid JSON: a text holds half a character (a lone surrogate)"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid JSON: byte {error.start} is no UTF-8"
    if isinstance(error, RecursionError):
        return "not valid JSON: it is nested too deeply"
    if isinstance(error, ValueError):
        return f"not valid JSON: {error}"
    return "what it holds is not in the form that slotlab writes"


@contextmanager
def exclusive(place: Path, taken: str) -> Iterator[None]:
    """Lock a folder or a file while the block runs; the system lets go of it when the process ends.

    Raises:
        SlotlabError: with the text `taken`, if another process holds it.
    """
    number = os.open(place, os.O_RDONLY)
    try:
        if not _lock(number):
            raise SlotlabError(taken)
        _show(number)
        yield
    finally:
        os.close(number)


@contextmanager
def exclusive_file(path: Path, taken: str) -> Iterator[None]:
    """Do the same with a file that is made if need be, and that whoever held it may have removed.

    Raises:
        SlotlabError: with the text `taken`, if another process holds it.
        FileNotFoundError: if its folder is not there.
    """
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _lock(number):
                raise SlotlabError(taken)
            if is_at(number, path):
                yield
                return
        finally:
            os.close(number)


def is_held(place: Path) -> bool:
    """Return whether a process has a folder for itself. Looking never takes the lock, where Linux lets us."""
    try:
        number = os.open(place, os.O_RDONLY)
    except OSError:  # gone
        return False
    try:
        if _SEE is None:
            return not _lock(number, shared=True)
        answer = fcntl.fcntl(number, _SEE, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(number)


def is_at(number: int, path: Path) -> bool:
    """Return whether an open file still is the one at `path`."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _lock(number: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file; return False if another process holds it. True on a file system without locks."""
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    # Where looking takes a shared lock for a moment, one who wants the lock tries again.
    until = time.monotonic() + (0.0 if wait or shared or _SEE is not None else _PATIENCE_S)
    while True:
        try:
            fcntl.flock(number, how)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.002)
        except OSError:  # better unguarded than not at all
            return True
        else:
            return True


def _show(number: int) -> None:
    """Let others see that this open file is locked, without their taking the lock."""
    if _SEE is not None:
        with suppress(OSError):
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_RDLCK, 0, 0, 0, 0))
