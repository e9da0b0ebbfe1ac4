"""Folders and files that one process holds for itself.

The holder has a lock (flock) that nobody but those who want the folder ever takes. Beside it the holder shows
a second lock of another kind (a record lock of the open file), which others can query without taking it.
"""

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slotlab.registry import SlotlabError

_SEE = getattr(fcntl, "F_OFD_GETLK", None)
"""Asks for a lock without taking it; Linux has it."""
_FLOCK = "hhqqi0q"
"""The system's `struct flock`: kind, origin, start, length, process."""
_PATIENCE_S = 1.0


@contextmanager
def exclusive(place: Path, taken: str) -> Iterator[None]:
    """Lock a folder or a file while the block runs; the system lets go of it when the process ends.

    Raises:
        SlotlabError: with the text `taken`, if another process holds it.
    """
    number = os.open(place, os.O_RDONLY)
    try:
        if not lock(number):
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
            if not lock(number):
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
            return not lock(number, shared=True)
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


def lock(number: int, *, wait: bool = False, shared: bool = False) -> bool:
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
