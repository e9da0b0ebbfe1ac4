"""Void: pixels of a true mask that nobody labeled, such as the borders of objects. They are not scored."""

from torch import Tensor

VOID = -1
"""The label of void pixels in every true mask. Masks without void need no signed type."""


def scored(true_BHW: Tensor) -> Tensor | None:
    """Return which pixels are not void, bool of the same shape; None if all are."""
    if not true_BHW.dtype.is_signed or int(true_BHW.min()) != VOID:
        return None
    return true_BHW != VOID
