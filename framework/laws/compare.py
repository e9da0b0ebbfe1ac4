"""Tensors compared for laws."""

from collections.abc import Sequence

import torch
from torch import Tensor

from slotlab.framework.laws.verdict import Broken, Place


def apart(a: Tensor, b: Tensor) -> float:
    """Return the greatest difference of two tensors; infinity for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    return float((a.detach().double() - b.detach().double()).abs().max()) if a.numel() else 0.0


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    """Return whether two tensors are equal but for rounding; NaN equals NaN."""
    if a.shape != b.shape:
        return False
    a, b = a.detach().double(), b.detach().double()
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance / 10, equal_nan=True)


def all_close(found: Sequence[Tensor], other: Sequence[Tensor], tolerance: float = 1e-4) -> bool:
    """Return whether all tensors are equal but for rounding."""
    return len(found) == len(other) and all(close(a, b, tolerance) for a, b in zip(found, other, strict=True))


def same(found: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether all tensors are equal to the last bit; NaN equals NaN."""
    return len(found) == len(other) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))
        for a, b in zip(found, other, strict=True)
    )


def greatest(found: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the greatest difference among tensors."""
    return max((apart(a, b) for a, b in zip(found, other, strict=False)), default=0.0)


def expect_close(
    found: Sequence[Tensor],
    other: Sequence[Tensor],
    reason: str,
    place: Place | None,
    tolerance: float = 1e-4,
) -> None:
    """Compare tensors.

    Raises:
        Broken: with the reason and the greatest difference.
    """
    if not all_close(found, other, tolerance):
        raise Broken(f"{reason} (they differ by up to {greatest(found, other):.3g})", place=place)
