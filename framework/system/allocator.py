"""Memory of a training on a CPU: kept from step to step instead of given back to the system.

glibc takes each large tensor from the system anew and gives it back when it is freed. The system
fills it with zeros, page by page, which costs up to a third of a training step.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_GIVE_BACK = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 128 * 1024, _TRIM_THRESHOLD: 128 * 1024}
"""glibc's own values; setting one of them switches off its automatic adjustment."""


@contextmanager
def keeping_memory(device: torch.device, *, enabled: bool, libc: Any = None) -> Iterator[bool]:
    """Keep freed memory for later allocations while the block runs.

    Yields whether it does so: not on a GPU, whose allocator keeps memory by itself, and not where the
    system's C library is another one than glibc.
    """
    found = ctypes.CDLL(None) if libc is None else libc
    able = enabled and device.type == "cpu" and hasattr(found, "mallopt") and hasattr(found, "malloc_trim")
    if able:
        _set(found, _KEEP)
    try:
        yield able
    finally:
        if able:
            _set(found, _GIVE_BACK)
            give_back(found)


def give_back(libc: Any = None) -> None:
    """Return free memory to the system, where the C library is glibc; memory freed later is kept again."""
    found = ctypes.CDLL(None) if libc is None else libc
    if hasattr(found, "malloc_trim"):
        found.malloc_trim(0)


def _set(libc: Any, values: dict[int, int]) -> None:
    for option, value in values.items():
        libc.mallopt(option, value)
