"""Pixels as bytes, and as the numbers that a model reads."""

import torch
from torch import Tensor


def normalize(images_BCHW: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return uint8 images as float32 in `bounds`, (0, 1) or (-1, 1), bit for bit as torchvision."""
    if bounds == (0.0, 1.0):
        return images_BCHW.to(torch.float32).div_(255)
    # (x / 255 - 0.5) / 0.5 in fewer passes: scaling by 2 is exact, so the bits are the same.
    return images_BCHW.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(images_BCHW: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return float images in `bounds` as uint8; values outside are clipped."""
    low, high = bounds
    unit_BCHW = (images_BCHW.float() - low) / (high - low)
    return (unit_BCHW.clamp(0, 1) * 255).round().to(torch.uint8)
