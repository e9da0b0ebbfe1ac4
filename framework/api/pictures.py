"""Pictures as users have them, brought to uint8 (3, H, W): arrays, tensors, PIL images and files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from slotlab.framework.data.formats.pictures import decode, rgb
from slotlab.registry import SlotlabError

CHANNELS = (1, 3, 4)
"""Gray, RGB, RGBA."""
GivenImages = Any
"""One picture, a batch of one size, or a list of pictures: a NumPy array (H, W), (H, W, C) or (B, H, W, C), a
tensor (H, W), (C, H, W) or (B, C, H, W), a PIL image, or the path of a file. C is 1, 3 or 4."""


def as_pictures(given: GivenImages) -> list[Tensor]:
    """Return each picture as uint8 (3, H, W) on the CPU.

    Values are uint8, or floats from 0 to 1, which are rounded to 8 bits. Gray becomes RGB, alpha is dropped,
    as for pictures that are read from files.

    Raises:
        SlotlabError: for what is no picture, saying which one it is and what would be right.
        DataError: for a file that cannot be read.
    """
    if isinstance(given, list | tuple):
        found = [one for i, item in enumerate(given) for one in pictures_in(item, f"image {i}", batch=False)]
    else:
        found = list(pictures_in(given, "images", batch=True))
    if not found:
        raise SlotlabError("there are no images; give at least one")
    return found


def pictures_in(item: Any, what: str, *, batch: bool) -> Iterator[Tensor]:
    """Yield the pictures of an item, which may be a batch.

    Raises:
        SlotlabError: if it is none.
    """
    if isinstance(item, str | Path):
        yield torch.from_numpy(rgb(decode(Path(item), str(item), upright=True), str(item)))
    elif isinstance(item, Image.Image):
        yield torch.from_numpy(rgb(item, what))
    elif isinstance(item, Tensor):
        yield from from_pixels(item.detach().cpu(), what, batch=batch, last=False)
    elif isinstance(item, np.ndarray):
        yield from from_pixels(tensor_of(item, what), what, batch=batch, last=True)
    else:
        kinds = "a NumPy array, a torch tensor, a PIL image or the path of a file"
        raise SlotlabError(f"{what}: it is a {type(item).__name__}; an image is {kinds}")


def tensor_of(pixels: NDArray[Any], what: str) -> Tensor:
    """Return an array as a tensor.

    Raises:
        SlotlabError: if it holds no numbers that torch has.
    """
    try:
        return torch.from_numpy(np.ascontiguousarray(pixels))
    except TypeError:
        raise SlotlabError(f"{what}: it holds {pixels.dtype}; {_VALUES}") from None


_VALUES = "write values as uint8 (0 to 255), or as floats from 0 to 1"


def from_pixels(pixels: Tensor, what: str, *, batch: bool, last: bool) -> Iterator[Tensor]:
    """Yield the pictures of a tensor; `last` says whether channels are its last axis, as in NumPy.

    Raises:
        SlotlabError: for other shapes and values.
    """
    shape = tuple(pixels.shape)
    if pixels.dim() == 2:
        pixels = pixels[..., None] if last else pixels[None]
    if pixels.dim() == 3:
        pixels = pixels[None]
    elif not (batch and pixels.dim() == 4):
        raise SlotlabError(f"{what}: it has shape {shape}; {_shapes(batch=batch, last=last)}")
    channels = pixels.shape[-1 if last else 1]
    if channels not in CHANNELS or not pixels.numel():
        other = pixels.shape[1 if last else -1] in CHANNELS and bool(pixels.numel())
        hint = f"; channels seem to be {_TURN[last]}" if other else ""
        raise SlotlabError(f"{what}: it has shape {shape}; {_shapes(batch=batch, last=last)}{hint}")
    values = to_bytes(pixels, what)
    for one in values.movedim(-1, 1) if last else values:
        yield one[:3].contiguous() if channels > 1 else one.expand(3, -1, -1).contiguous()


_TURN = {
    True: "first, as in torch: write np.moveaxis(images, -3, -1)",
    False: "last, as in NumPy: write images.movedim(-1, -3)",
}


def _shapes(*, batch: bool, last: bool) -> str:
    one, several = ("(H, W, C)", "(B, H, W, C)") if last else ("(C, H, W)", "(B, C, H, W)")
    kind = "NumPy array" if last else "tensor"
    more = f" or, for several of one size, {several}" if batch else ""
    return f"a {kind} of an image has shape (H, W), {one}{more}, where C is 1, 3 or 4"


def to_bytes(pixels: Tensor, what: str) -> Tensor:
    """Return values as uint8; floats from 0 to 1 are rounded to 8 bits.

    Raises:
        SlotlabError: for other values.
    """
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.dtype.is_floating_point:
        kind = str(pixels.dtype).removeprefix("torch.")
        raise SlotlabError(f"{what}: it holds {kind}; {_VALUES}")
    values = pixels.to(torch.float32) if pixels.dtype.itemsize < 4 else pixels
    if not bool(torch.isfinite(values).all()):
        raise SlotlabError(f"{what}: it holds values that are not finite; {_VALUES}")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        raise SlotlabError(f"{what}: it holds floats from {low:.3g} to {high:.3g}; {_VALUES}")
    return (values * 255).round().to(torch.uint8)
