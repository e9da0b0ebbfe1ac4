"""Files inside tar archives, read by their offset without unpacking.

A `.tar` is read in place. A `.tar.gz` has no random access: it is read once from end to end, and the files
that are wanted are copied into a plain tar:

    <stores>/archives/NAME-<fingerprint>.tar     the copy of a compressed archive
    <stores>/archives/NAME-<fingerprint>.json    the index: where each file lies, in the copy or the archive

Nothing is ever extracted to a path that an archive names.
"""

import gzip
import json
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.formats.pictures import Blob, fingerprint
from slotlab.framework.system.atomic import clear_leavings, leavings, write_atomically, written_whole
from slotlab.framework.system.cache import stores_folder
from slotlab.framework.system.terminal import visible
from slotlab.registry import SlotlabError

ReportArchive = Callable[[Path, int, int], None]
"""Receives the archive, how many of its bytes are read, and how many there are."""
Stream = BinaryIO | gzip.GzipFile
FORMAT = 1
"""Version of the index's shape."""
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_LEFT_OUT = "all of it is left out: download it again"


class DamagedError(Exception):
    """An archive that cannot be read to its end."""


class TarMember(NamedTuple):
    """A file in a plain tar: its bytes begin at `offset`."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class Contents:
    """The wanted files of an archive."""

    members: Sequence[TarMember] = ()
    left_out: Sequence[str] = ()
    """Wanted members that are left out because they cannot be trusted, each with the reason."""


@dataclass(frozen=True)
class Opened:
    """The wanted files of an archive as readable parts of a file, and what is wrong with the archive."""

    files: Sequence[Blob] = ()
    problems: Sequence[DataProblem] = ()


@dataclass
class ArchiveProgress:
    """Prints on stderr how much of an archive is read, every few seconds."""

    every_s: float = 5.0
    _last: float = field(default_factory=time.monotonic)

    def __call__(self, archive: Path, done: int, total: int) -> None:
        """Print a line, unless the last one is less than `every_s` seconds old."""
        now = time.monotonic()
        if now - self._last >= self.every_s:
            self._last = now
            text = f"reading {archive}: {done / max(total, 1):.0%} of {total / 1e9:.1f} GB"
            print(visible(text), file=sys.stderr)


def open_archive(
    archive: Path,
    wanted: Callable[[str], bool],
    *,
    stores: Path | None = None,
    report: ReportArchive | None = None,
) -> Opened:
    """Return where the files of an archive lie whose names (without folders) are `wanted`.

    The archive is read completely the first time, later only its index is. Its content, not its name, tells
    whether it is compressed. All of a damaged archive is left out.

    Args:
        archive: a tar, compressed by gzip or not.
        wanted: tells whether a file of a name is wanted.
        stores: where copies and indices go; None for `stores_folder()`.
        report: receives the progress while an archive is read completely.

    Raises:
        SlotlabError: if the copy cannot be written.
    """
    try:
        facts = archive.stat()
        with archive.open("rb") as file:
            compressed = file.read(len(_GZIP)) == _GZIP
    except OSError as error:
        return _left_out(archive, f"cannot be read: {error.strerror or error}")
    key = fingerprint([(archive.name, facts.st_size, facts.st_mtime_ns)])
    stem = stores_folder(stores) / "archives" / f"{archive.name.split('.tar')[0]}-{key}"
    index, copy = (stem.with_name(f"{stem.name}{ending}") for ending in (".json", ".tar"))
    tar = copy if compressed else archive
    try:
        contents = _read_index(index) if tar.is_file() else None
        if contents is None:
            contents = _copy(archive, tar, wanted, report) if compressed else _scan(archive, wanted, report)
            _write_index(index, contents)
    except DamagedError as error:
        return _left_out(archive, f"is no whole tar archive ({error}); {_LEFT_OUT}")
    return _opened(archive, tar, contents)


def _left_out(archive: Path, reason: str) -> Opened:
    return Opened(problems=[DataProblem(str(archive), reason)])


def _opened(archive: Path, tar: Path, contents: Contents) -> Opened:
    start, path = f"{archive}/", str(tar)
    return Opened(
        files=[Blob(start + name, path, offset, size) for name, offset, size in contents.members],
        problems=[DataProblem(str(archive), text) for text in contents.left_out],
    )


def _scan(archive: Path, wanted: Callable[[str], bool], report: ReportArchive | None) -> Contents:
    members: list[TarMember] = []
    left_out: list[str] = []
    total = archive.stat().st_size
    with archive.open("rb") as stream:
        for info in _walk(stream):
            if _fits(info, wanted, left_out):
                members.append(TarMember(info.name, info.offset_data, info.size))
            if report is not None:
                report(archive, info.offset_data, total)
    return Contents(members, left_out)


def _copy(archive: Path, tar: Path, wanted: Callable[[str], bool], report: ReportArchive | None) -> Contents:
    """Copy the wanted members into a plain tar; only the index grows in memory with the archive."""
    members: list[TarMember] = []
    left_out: list[str] = []
    total = archive.stat().st_size
    with archive.open("rb") as file, gzip.GzipFile(fileobj=file) as stream, _written_whole(tar) as out:
        for info in _walk(stream):
            if _fits(info, wanted, left_out):
                header = tarfile.TarInfo(info.name)
                header.size = info.size
                out.write(header.tobuf(tarfile.GNU_FORMAT))
                members.append(TarMember(info.name, out.tell(), info.size))
                for chunk in _data(stream, info):
                    out.write(chunk)
                out.write(bytes(-info.size % tarfile.BLOCKSIZE))
            if report is not None:
                report(archive, file.tell(), total)
        out.write(bytes(2 * tarfile.BLOCKSIZE))
    return Contents(members, left_out)


def _walk(stream: Stream) -> Iterator[tarfile.TarInfo]:
    """Yield all members, with the stream at the data of each; it moves forward only.

    `tarfile`'s own iteration takes a broken header for the end of the archive, and keeps all members in
    memory. Archives joined by `cat` are read as one.

    Raises:
        DamagedError: if the archive is cut off, or is not a tar.
    """
    with _damage():
        tar = tarfile.TarFile(fileobj=stream)
        info, ended = tar.next(), False
        if info is not None:
            yield _checked(info, tar, 0)
        while True:
            start = tar.offset
            stream.seek(start)
            try:
                info, ended = tarfile.TarInfo.fromtarfile(tar), False
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros
                tar.offset, ended = start + tarfile.BLOCKSIZE, True
                continue
            except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]  # no block at all
                if ended:
                    return
                raise DamagedError("it has no end mark") from None
            yield _checked(info, tar, start)


def _checked(info: tarfile.TarInfo, tar: tarfile.TarFile, start: int) -> tarfile.TarInfo:
    if info.size < 0 or tar.offset <= start:  # else a hostile archive is read for ever
        raise DamagedError(f"its member {info.name!r} has a size below zero")
    return info


def _data(stream: Stream, info: tarfile.TarInfo) -> Iterator[bytes]:
    left = info.size
    stream.seek(info.offset_data)
    while left:
        with _damage():
            chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            raise DamagedError(f"it ends in the middle of {info.name}")
        left -= len(chunk)
        yield chunk


def _fits(info: tarfile.TarInfo, wanted: Callable[[str], bool], left_out: list[str]) -> bool:
    path = PurePosixPath(info.name)
    if info.isdir() or not wanted(path.name):
        return False
    if path.is_absolute() or ".." in path.parts:
        left_out.append(f"its member {info.name!r} is left out: the name leads out of the archive")
    elif not info.isreg() or info.issparse():
        left_out.append(f"its member {info.name!r} is left out: it is a link or special, not a plain file")
    else:
        return True
    return False


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DamagedError(str(error)) from error


@contextmanager
def _written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name once it is complete; files that killed processes left are removed."""
    try:
        clear_leavings(leavings(path.parent))
        with written_whole(path) as file:
            yield file
    except OSError as error:
        hint = "make room there, or set SLOTLAB_STORES to a folder elsewhere"
        raise SlotlabError(f"cannot write {path}: {error.strerror or error}; {hint}") from error


def _read_index(path: Path) -> Contents | None:
    try:
        data: Any = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            return None
        members = zip(data["names"], data["offsets"], data["sizes"], strict=True)
        return Contents([TarMember(*member) for member in members], data["left_out"])
    except (OSError, ValueError, KeyError, TypeError):  # the index only saves time: it is made again
        return None


def _write_index(path: Path, contents: Contents) -> None:
    columns = zip(*contents.members, strict=True) if contents.members else ((), (), ())
    names, offsets, sizes = map(list, columns)
    data = {
        "format": FORMAT,
        "names": names,
        "offsets": offsets,
        "sizes": sizes,
        "left_out": contents.left_out,
    }
    try:
        clear_leavings(leavings(path.parent))
        write_atomically(path, json.dumps(data).encode())
    except OSError as error:
        hint = "make room there, or set SLOTLAB_STORES to a folder elsewhere"
        raise SlotlabError(f"cannot write {path}: {error.strerror or error}; {hint}") from error
