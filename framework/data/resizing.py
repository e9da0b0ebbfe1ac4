"""Resize images and masks as published code does: by PIL, or by torch on values in [0, 1].

Sources: torchvision's `Resize` on PIL images and on tensors, and its `CenterCrop`; the object-centric
learning framework of DINOSAUR, which resizes tensors bicubically, clamps them to [0, 1], and resizes masks by
`nearest-exact`.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Interpolation, MaskResize, Resize, Size

Window = tuple[float, float]
"""How far down and right a part of a picture lies, each in [0, 1) of the places that it can have."""
_PIL = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resized_image(image_CHW: Tensor, size: Size, resize: Resize, interpolation: Interpolation) -> Tensor:
    """Return an image, uint8 of shape (3, H, W), resized to (rows, columns) and rounded to uint8."""
    rows, columns = size
    if resize == "pil":
        picture = Image.fromarray(np.ascontiguousarray(image_CHW.numpy().transpose(1, 2, 0)))
        resized_HWC = np.array(picture.resize((columns, rows), _PIL[interpolation]))
        return torch.from_numpy(resized_HWC.transpose(2, 0, 1).copy())
    unit_1CHW = image_CHW[None].to(torch.float32) / 255
    antialias = resize == "torch_antialias"
    resized_1CHW = F.interpolate(
        unit_1CHW, size, mode=interpolation, align_corners=False, antialias=antialias
    )
    return (resized_1CHW[0] * 255).round().clamp(0, 255).to(torch.uint8)


def resized_mask(mask_HW: Tensor, size: Size, resize: Resize, rule: MaskResize) -> Tensor:
    """Return labels of an integer type, (H, W), resized to (rows, columns) by nearest neighbor."""
    rows, columns = size
    if resize == "pil":
        values_HW = np.ascontiguousarray(mask_HW.numpy())
        picture = Image.fromarray(values_HW if values_HW.dtype == np.uint8 else values_HW.astype(np.int32))
        resized_HW = np.array(picture.resize((columns, rows), Image.Resampling.NEAREST))
        return torch.from_numpy(resized_HW).to(mask_HW.dtype)
    mode = "nearest-exact" if rule == "nearest_exact" else "nearest"
    resized_11HW = F.interpolate(mask_HW[None, None].to(torch.float64), size, mode=mode)
    return resized_11HW[0, 0].to(mask_HW.dtype)


def resized_field(field_CHW: Tensor, size: Size) -> Tensor:
    """Return numbers (C, H, W) resized to (rows, columns), each mixed of the four nearest, as in SAVi."""
    return F.interpolate(field_CHW[None], size, mode="bilinear", align_corners=False)[0]


def covering(size: Size, wanted: Size) -> Size:
    """Return the size that a picture of `size` gets to cover `wanted` while it keeps its proportions.

    One side becomes the wanted one, the other is at least as long, rounded down: torchvision's rule for a
    square, whose short side becomes the square's.
    """
    (rows, columns), (tall, wide) = size, wanted
    if tall * columns >= wide * rows:
        return tall, max(wide, int(tall * columns / rows))
    return max(tall, int(wide * rows / columns)), wide


def cut_at(pixels_xHW: Tensor, size: Size, window: Window | None) -> Tensor:
    """Return the (rows, columns) of an image (3, H, W) or a mask (H, W) at a window; None for the middle."""
    if window is None:
        return centered(pixels_xHW, size)
    rows, columns = pixels_xHW.shape[-2:]
    top, left = int(window[0] * (rows - size[0] + 1)), int(window[1] * (columns - size[1] + 1))
    return pixels_xHW[..., top : top + size[0], left : left + size[1]]


def centered(pixels_xHW: Tensor, size: Size) -> Tensor:
    """Return the middle (rows, columns) of an image (3, H, W) or a mask (H, W), as torchvision rounds it."""
    rows, columns = pixels_xHW.shape[-2:]
    top, left = round((rows - size[0]) / 2), round((columns - size[1]) / 2)
    return pixels_xHW[..., top : top + size[0], left : left + size[1]]
