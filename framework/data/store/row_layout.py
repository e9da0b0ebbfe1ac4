"""Arrays of equal rows on disk, one row an item: their shapes, their headers, where each row lies."""

import io
from abc import ABC, abstractmethod
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowLayout(ABC):
    """The shapes of a store's arrays, and where their rows lie."""

    items: int

    @property
    @abstractmethod
    def arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape, which begins with `items`, and type of each array, by file name."""

    def header(self, name: str) -> bytes:
        """Return the bytes before an array's first row."""
        shape, dtype = self.arrays[name]
        return npy_header(shape, dtype)

    def row_bytes(self, name: str) -> int:
        """Return the bytes of one row of an array."""
        shape, dtype = self.arrays[name]
        return prod(shape[1:]) * dtype.itemsize

    def file_bytes(self, name: str) -> int:
        """Return the bytes of an array's file."""
        return len(self.header(name)) + self.items * self.row_bytes(name)

    @property
    def bytes(self) -> int:
        """The bytes of all rows."""
        return sum(self.items * self.row_bytes(name) for name in self.arrays)


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return the bytes before the data of a .npy file."""
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(dtype)
    facts = {"descr": description, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, facts)
    return buffer.getvalue()


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Return an array as the content of a .npy file."""
    return npy_header(array.shape, array.dtype) + array.tobytes()
