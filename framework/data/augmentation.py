"""Random mirroring and cropping of training images, on the images' device, and windows when they are read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Field
from slotlab.framework.data.resizing import Window
from slotlab.framework.randomness.seeds import mix, streams

_STREAM = 0x5EED
_WINDOWS = 0x51DE
"""Separate these draws from others with the same seed."""
_HALF = 0.5
"""The part of the images that are mirrored."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Mirrors and crops. The result for an image depends only on the seed, the epoch and its position."""

    seed: int
    flip: bool = False
    """Whether half of the images, at random, are mirrored left to right."""
    crop: float = 1.0
    """The part of each side, from 0 to 1, that a random crop keeps before it is resized to full size."""

    def __call__(self, images_BCHW: Tensor, positions: Sequence[int], epoch: int) -> Tensor:
        """Return the augmented images, uint8 of the same shape (B, C, H, W), on the same device.

        Args:
            images_BCHW: uint8, in any memory format.
            positions: the position of each image in the dataset.
            epoch: the number of the epoch.
        """
        rows, columns = images_BCHW.shape[2:]
        cut_BCHW = self._cut(images_BCHW, positions, epoch)
        if cut_BCHW.shape == images_BCHW.shape:
            return cut_BCHW
        full_BCHW = F.interpolate(cut_BCHW.float(), (rows, columns), mode="bilinear", align_corners=False)
        return full_BCHW.round().to(torch.uint8)

    def masks(self, masks_BHW: Tensor, positions: Sequence[int], epoch: int) -> Tensor:
        """Return the masks of images, of the images' size, as the images are: each label the nearest one."""
        cut_B1HW = self._cut(masks_BHW[:, None], positions, epoch)
        if cut_B1HW.shape[2:] == masks_BHW.shape[1:]:
            return cut_B1HW[:, 0]
        full_B1HW = F.interpolate(cut_B1HW.double(), masks_BHW.shape[1:], mode="nearest-exact")
        return full_B1HW[:, 0].to(masks_BHW.dtype)

    def field(self, name: Field, field_BCHW: Tensor, positions: Sequence[int], epoch: int) -> Tensor:
        """Return a field of images as the images are; flow is mirrored, and grows with a part that grows."""
        rows, columns = field_BCHW.shape[2:]
        cut_BCHW = self._cut(field_BCHW, positions, epoch)
        height, width = cut_BCHW.shape[2:]
        full_BCHW = cut_BCHW
        if (height, width) != (rows, columns):
            full_BCHW = F.interpolate(cut_BCHW, (rows, columns), mode="bilinear", align_corners=False)
        if name != "flow":
            return full_BCHW
        mirrored_B = self.mirrored(positions, epoch).to(field_BCHW.device)
        down_B = torch.full_like(mirrored_B, rows / height, dtype=field_BCHW.dtype)
        right_B = torch.where(mirrored_B, -columns / width, columns / width).to(field_BCHW.dtype)
        return full_BCHW * torch.stack([down_B, right_B], dim=1)[:, :, None, None]

    def _cut(self, pixels_BCHW: Tensor, positions: Sequence[int], epoch: int) -> Tensor:
        # The part that is kept, mirrored if it is to be.
        rows, columns = pixels_BCHW.shape[2:]
        height, width = max(1, round(self.crop * rows)), max(1, round(self.crop * columns))
        draws_B3 = self._draws(positions, epoch).to(pixels_BCHW.device)
        top_B1 = (draws_B3[:, 0:1] * (rows - height + 1)).long()
        left_B1 = (draws_B3[:, 1:2] * (columns - width + 1)).long()
        y_BH = top_B1 + torch.arange(height, device=top_B1.device)
        x_BW = left_B1 + torch.arange(width, device=top_B1.device)
        if self.flip:
            x_BW = torch.where(draws_B3[:, 2:3] < _HALF, x_BW.flip(1), x_BW)
        image_B11 = torch.arange(len(positions), device=top_B1.device)[:, None, None]
        # Indexed with channels last, so that the result has that memory format.
        cut_BHWC = pixels_BCHW.permute(0, 2, 3, 1)[image_B11, y_BH[:, :, None], x_BW[:, None, :]]
        return cut_BHWC.permute(0, 3, 1, 2)

    def mirrored(self, positions: Sequence[int], epoch: int) -> Tensor:
        """Return which of the images are mirrored, bool (B), on the CPU, by the arguments of a call."""
        return (self._draws(positions, epoch)[:, 2] < _HALF) & self.flip

    def _draws(self, positions: Sequence[int], epoch: int) -> Tensor:
        # Three numbers in [0, 1) per image, drawn on the CPU so that they are the same on every device.
        seed = mix(mix(self.seed, _STREAM), epoch)
        sources: list[Generator] = streams(seed, positions, torch.device("cpu"))
        return torch.stack([torch.rand(3, generator=source) for source in sources])


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Draws which part of a picture is cut out. It depends only on the seed, the epoch and the position."""

    seed: int

    def __call__(self, positions: Sequence[int], epoch: int) -> list[Window]:
        """Return, for the pictures at these positions of the dataset, how far down and right the parts lie.

        Both numbers are in [0, 1): 0 is the first place, and the greatest the last.
        """
        sources = streams(mix(mix(self.seed, _WINDOWS), epoch), positions, torch.device("cpu"))
        draws = [torch.rand(2, generator=source, dtype=torch.float64).tolist() for source in sources]
        return [(down, right) for down, right in draws]
