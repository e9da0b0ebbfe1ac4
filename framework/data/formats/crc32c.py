"""CRC-32C (Castagnoli), the checksum of TFRecord files, of many bytes at once in NumPy.

A checksum without its initial value is linear over bits: that of two halves is that of the first, moved on
by the length of the second, plus that of the second. So words are folded in halves until one is left. To move
a state on by a number of zero bytes is a 32 x 32 matrix over bits, kept as a table for each byte of a state.

Sources: RFC 3720, appendix B.4 (polynomial and test values); TensorFlow's `record_writer.h` (the mask).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""Bits in reverse: the lowest bit is the highest power."""
_WORD = 4
_MASK_DELTA = 0xA282EAD8
_SHORT = 64
"""Up to so many bytes are faster one by one."""
Tables = NDArray[np.uint32]
"""(4, 256): what each value of each byte of a state becomes; a new state is the XOR of four of them."""


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as TFRecord files hold it: turned by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    single = len(data) if len(data) <= _SHORT else len(data) % _WORD
    state, table = 0xFFFFFFFF, _byte_table()
    for byte in data[:single]:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    if single < len(data):
        words = np.frombuffer(data, "<u4", offset=single).astype(np.uint32)
        words[0] ^= np.uint32(state)
        state = _fold(words)
    return state ^ 0xFFFFFFFF


def _fold(words: NDArray[np.uint32]) -> int:
    """Return the state after some words, the initial one being part of the first word."""
    while (number := len(words)) > 1:
        power = (number - 1).bit_length() - 1
        last = 1 << power
        rest = words[number - last :].copy()
        rest[2 * last - number :] ^= _moved(words[: number - last], _move(power))
        words = rest
    return int(_moved(words, _move(0))[0])


def _moved(states: NDArray[np.uint32], tables: Tables) -> NDArray[np.uint32]:
    """Return states after the zero bytes that the tables stand for."""
    bytes_N4 = np.ascontiguousarray(states, "<u4").view(np.uint8).reshape(-1, _WORD)
    found: NDArray[np.uint32] = tables[0][bytes_N4[:, 0]]
    for place in range(1, _WORD):
        found ^= tables[place][bytes_N4[:, place]]
    return found


@cache
def _move(power: int) -> Tables:
    """Return the tables that move a state on by 2**power words of zeros."""
    if power:
        before = _move(power - 1)
        return _moved(before.reshape(-1), before).reshape(before.shape)
    found = np.arange(256, dtype=np.uint32) << (8 * np.arange(_WORD, dtype=np.uint32)[:, None])
    table = np.array(_byte_table(), np.uint32)
    for _ in range(_WORD):
        found = table[found & 0xFF] ^ found >> 8
    return found


@cache
def _byte_table() -> list[int]:
    """Return what each lowest byte of a state adds to it after one zero byte."""
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return found
