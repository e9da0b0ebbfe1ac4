"""Bring images from one range of values to another."""

from torch import Tensor

SIGNED, UNIT = (-1.0, 1.0), (0.0, 1.0)
"""The two ranges that networks work in."""


def rescale(images_BCHW: Tensor, given: tuple[float, float], wanted: tuple[float, float]) -> Tensor:
    """Return images of the range `given` in the range `wanted`; values outside of it are not cut off."""
    if given == wanted:
        return images_BCHW
    factor = (wanted[1] - wanted[0]) / (given[1] - given[0])
    return images_BCHW * factor + (wanted[0] - given[0] * factor)
