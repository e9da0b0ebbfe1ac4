"""Folders and files that one process holds exclusively.

The holder has an flock, which only processes that want the folder try to take. It also sets a second lock of
another kind (a record lock of the open file), which others can query without taking a lock themselves.
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
"""Queries a lock without taking it; only Linux has this."""
_FLOCK = "hhqqi0q"
"""The system's `struct flock`: kind, origin, start, length, process."""
_PATIENCE_S = 1.0


@contextmanager
def exclusive(place: Path, taken: str) -> Iterator[None]:
    """Lock a folder or a file while the block runs; the system releases it when the process ends.

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
    """Lock a file while the block runs; it is created if need be, and its last holder may have removed it.

    Raises:
        SlotlabError: with the text `taken`, if another process holds it.
        FileNotFoundError: if its folder does not exist.
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
    """Return whether a process holds the folder's lock. On Linux the check itself takes no lock."""
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
    """Return whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def lock(number: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file; return False if another process holds it. True on a file system without locks."""
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    # Without `_SEE` a check takes a shared lock for a moment: an exclusive lock is then tried again.
    until = time.monotonic() + (0.0 if wait or shared or _SEE is not None else _PATIENCE_S)
    while True:
        try:
            fcntl.flock(number, how)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.002)
        except OSError:  # without locks: better unguarded than not at all
            return True
        else:
            return True


def _show(number: int) -> None:
    """Let others see that this open file is locked without trying to lock it."""
    if _SEE is not None:
        with suppress(OSError):
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_RDLCK, 0, 0, 0, 0))
