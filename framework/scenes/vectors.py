"""Arithmetic whose every step is rounded identically on every device and in every batch.

Vectors lie along the first axis: `points_3M` is x, y and z of M points. Inner products are written out, and
the cosine is a polynomial, because library functions of whole tensors may round differently at the end of a
tensor or for another batch size.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

SceneT = TypeVar("SceneT", bound=Any)


def dot(a_3M: Tensor, b_3M: Tensor) -> Tensor:
    """Return the inner products along the first axis, of shape (M,)."""
    return a_3M[0] * b_3M[0] + a_3M[1] * b_3M[1] + a_3M[2] * b_3M[2]


def cross(a_3M: Tensor, b_3M: Tensor) -> Tensor:
    """Return the cross products, of shape (3, M)."""
    (ax, ay, az), (bx, by, bz) = a_3M, b_3M
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def normalize(vectors_3M: Tensor) -> Tensor:
    """Return the vectors scaled to length 1."""
    return vectors_3M / dot(vectors_3M, vectors_3M).clamp(min=1e-12).sqrt()


def cosine(turns: Tensor) -> Tensor:
    """Return the cosine of an angle in full turns, to within 5e-6 (its Taylor polynomial)."""
    folded = (0.25 - (turns - torch.round(turns)).abs()) * (2 * math.pi)
    square = folded * folded
    total = 1 - square * (1 / 72)
    for divisor in (42, 20, 6):
        total = 1 - square * (1 / divisor) * total
    return folded * total


def sine(turns: Tensor) -> Tensor:
    """Return the sine of an angle in full turns."""
    return cosine(turns - 0.25)


def turn(vectors_3M: Tensor, cosine_M: Tensor, sine_M: Tensor) -> Tensor:
    """Rotate around the z axis by the angle with this cosine and sine."""
    x_M, y_M, z_M = vectors_3M
    return torch.stack([cosine_M * x_M - sine_M * y_M, sine_M * x_M + cosine_M * y_M, z_M.expand_as(x_M)])


def pictures(scene: SceneT, start: int, stop: int) -> SceneT:
    """Return the dataclass with pictures `start` to `stop` - 1 of every tensor in it, as views."""
    return _each(scene, lambda values, axis: values.narrow(axis, start, stop - start))


def select(scene: SceneT, rows_M: Tensor) -> SceneT:
    """Return the dataclass with the pictures of these numbers, int64, in this order; as often as named."""
    return _each(scene, lambda values, axis: values.index_select(axis, rows_M.to(values.device)))


def _each(scene: SceneT, change: Callable[[Tensor, int], Tensor]) -> SceneT:
    # A tensor's name gives its axes: B is the axis of pictures, and 2, 3 and 16 are one axis each.
    parts: dict[str, Any] = {}
    for name in (field.name for field in fields(scene)):
        value = getattr(scene, name)
        if isinstance(value, Tensor):
            axis = re.findall("16|2|3|[A-Z]", name.rsplit("_", 1)[1]).index("B")
            parts[name] = change(value, axis)
        elif is_dataclass(value) and not isinstance(value, type):
            parts[name] = _each(value, change)
    return replace(scene, **parts)


def by_kind(kinds_R: Tensor, functions: Sequence[Callable[..., Tensor]], *values: Tensor) -> Tensor:
    """Apply functions[kinds_R[r]] to row r, many rows at once.

    Args:
        kinds_R: int64, the number of the function for each row.
        functions: each takes some rows of all `values` and returns a tensor (..., rows, n).
        values: tensors whose second to last axis is that of rows.
    """
    order_R = kinds_R.to(torch.uint8).sort(stable=True).indices
    counts = kinds_R.bincount(minlength=len(functions)).tolist()
    present = [(function, count) for function, count in zip(functions, counts, strict=True) if count]
    if len(present) <= 1:
        return (present[0][0] if present else functions[0])(*values)
    parts = []
    start = 0
    for function, count in present:
        rows = order_R[start : start + count]
        parts.append(function(*(value.index_select(-2, rows) for value in values)))
        start += count
    joined = torch.cat(parts, -2)
    return torch.empty_like(joined).index_copy_(joined.ndim - 2, order_R, joined)
