"""Memory is kept during a training on a CPU, and the system's behavior is restored after it."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from slotlab.framework.system.allocator import keeping_memory

CPU = torch.device("cpu")


class Libc:
    """Records the calls that it receives."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def mallopt(self, option: int, value: int) -> int:
        self.calls.append((option, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append((pad,))
        return 1


def test_what_is_kept_is_given_back_in_the_end_whatever_happens() -> None:
    libc = Libc()

    def fail() -> None:
        with keeping_memory(CPU, enabled=True, libc=libc) as kept:
            assert kept
            assert libc.calls == [(-4, 0), (-1, 2**31 - 1)]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert libc.calls[2:] == [(-4, 65536), (-3, 131072), (-1, 131072), (0,)]


@pytest.mark.parametrize(
    ("device", "enabled", "libc"),
    [(torch.device("cuda"), True, Libc()), (CPU, False, Libc()), (CPU, True, SimpleNamespace(calls=[]))],
    ids=["on a GPU", "not wanted", "another C library"],
)
def test_where_nothing_is_done(device: torch.device, enabled: bool, libc: Libc) -> None:
    with keeping_memory(device, enabled=enabled, libc=libc) as kept:
        assert not kept
    assert libc.calls == []


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_the_numbers_are_those_of_malloc_h() -> None:
    with keeping_memory(CPU, enabled=True) as kept:  # glibc answers 0 to an option it does not know
        assert kept
        assert all(ctypes.CDLL(None).mallopt(option, 0) == 1 for option in (-4, -1, -3))
