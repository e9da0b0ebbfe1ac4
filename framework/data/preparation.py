"""Crop and resize a picture and its mask as a protocol says, and count objects.

Source of the official preparation: `clevrtex_eval.py` (github.com/karazijal/clevrtex-generation): crop before
resizing, images bilinear and masks nearest, both with PIL.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import VOID, Crop, DataError, DataProblem, Resize, Sample, Size
from slotlab.framework.spec.protocol import ProtocolConfig


@dataclass(frozen=True)
class PreparedSample:
    """A sample as the model sees it, and its number of objects by each definition."""

    sample: Sample
    counts: dict[str, int | None]
    """By `Counting`; None where the data does not say."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How each picture and its mask are prepared."""

    size: Size
    """(rows, columns) of the result."""
    crop: Crop = None
    resize: Resize = "pil"
    max_labels: int | None = None
    """The most labels, background included, that a mask may have; None for any number."""

    @classmethod
    def of(cls, protocol: ProtocolConfig) -> "Preparation":
        """Return the preparation that a protocol defines."""
        size = (protocol.image_size, protocol.image_size)
        return cls(size=size, crop=protocol.crop, resize=protocol.resize, max_labels=protocol.max_labels)

    def __call__(self, sample: Sample) -> PreparedSample:
        """Return the sample cropped and resized, with its numbers of objects.

        Raises:
            DataError: if the picture is too small for the crop, mask and picture differ in
                size, or the mask has more labels than allowed.
        """
        image_CHW, mask_HW = sample.image_CHW, sample.mask_HW
        size = (image_CHW.shape[1], image_CHW.shape[2])
        if mask_HW is not None and mask_HW.shape != size:
            texts = ("x".join(map(str, shape[::-1])) for shape in (tuple(mask_HW.shape), size))
            turned = tuple(mask_HW.shape) == size[::-1]
            hint = ": is one of them turned by its EXIF orientation, and the other not?" if turned else ""
            raise complaint(sample, "its mask has {} pixels, its picture {}".format(*texts) + hint)
        self._check_crop(sample, size)
        listed: int | None = sample.attributes.get("num_objects")
        counts = {"metadata": listed, "mask_colors": None, "visible": None}
        small_HW = None
        if mask_HW is not None:
            cut_HW = self.cut(mask_HW)
            found = count_labels(mask_HW)
            counts |= {"mask_colors": found, "visible": count_labels(cut_HW)}
            self._check_labels(sample, found + 1)
            small_HW = self.resize_mask(cut_HW)
        small_CHW = self.resize_image(self.cut(image_CHW))
        return PreparedSample(replace(sample, image_CHW=small_CHW, mask_HW=small_HW), counts)

    def cut(self, pixels_xHW: Tensor) -> Tensor:
        """Return the part of an image (3, H, W) or a mask (H, W) that the crop keeps."""
        rows, columns = pixels_xHW.shape[-2:]
        top, left, height, width = self._box((rows, columns))
        return pixels_xHW[..., top : top + height, left : left + width]

    def resize_image(self, image_CHW: Tensor) -> Tensor:
        """Return an image, uint8 of shape (3, H, W), resized to the protocol's size."""
        rows, columns = self.size
        if self.resize == "pil":
            picture = Image.fromarray(np.ascontiguousarray(image_CHW.numpy().transpose(1, 2, 0)))
            resized_HWC = np.array(picture.resize((columns, rows), Image.Resampling.BILINEAR))
            return torch.from_numpy(resized_HWC.transpose(2, 0, 1).copy())
        unit_1CHW = image_CHW[None].to(torch.float32) / 255
        antialias = self.resize == "torch_antialias"
        resized_1CHW = F.interpolate(
            unit_1CHW, self.size, mode="bilinear", align_corners=False, antialias=antialias
        )
        return (resized_1CHW[0] * 255).round().clamp(0, 255).to(torch.uint8)

    def resize_mask(self, mask_HW: Tensor) -> Tensor:
        """Return labels of an integer type, (H, W), resized to the protocol's size by nearest neighbor."""
        rows, columns = self.size
        if self.resize == "pil":
            values_HW = np.ascontiguousarray(mask_HW.numpy())
            picture = Image.fromarray(
                values_HW if values_HW.dtype == np.uint8 else values_HW.astype(np.int32)
            )
            resized_HW = np.array(picture.resize((columns, rows), Image.Resampling.NEAREST))
            return torch.from_numpy(resized_HW).to(mask_HW.dtype)
        resized_11HW = F.interpolate(mask_HW[None, None].to(torch.float64), self.size, mode="nearest")
        return resized_11HW[0, 0].to(mask_HW.dtype)

    def _box(self, size: Size) -> tuple[int, int, int, int]:
        # Top, left, height, width; centered squares are rounded as the official loader does.
        rows, columns = size
        if self.crop is None:
            return 0, 0, rows, columns
        if isinstance(self.crop, tuple):
            return self.crop
        side = min(size) if self.crop == "square" else self.crop
        return (rows - side) // 2, (columns - side) // 2, side, side

    def _check_crop(self, sample: Sample, size: Size) -> None:
        top, left, height, width = self._box(size)
        if top < 0 or left < 0 or top + height > size[0] or left + width > size[1]:
            crop = list(self.crop) if isinstance(self.crop, tuple) else self.crop
            raise complaint(sample, f"it has {size[1]}x{size[0]} pixels, too few for a crop of {crop}")

    def _check_labels(self, sample: Sample, found: int) -> None:
        if self.max_labels is not None and found > self.max_labels:
            raise complaint(sample, f"its mask has {found} values, the protocol allows {self.max_labels}")


def count_labels(mask_HW: Tensor) -> int:
    """Return the number of labels in a mask without void, minus one for the ground."""
    values_HW = mask_HW.numpy()
    if values_HW.dtype == np.uint8:  # takes a quarter of the time of unique
        return int(np.count_nonzero(np.bincount(values_HW.ravel()))) - 1
    values = np.unique(values_HW)
    return max(0, int(np.count_nonzero(values != VOID)) - 1)


def complaint(sample: Sample, reason: str) -> DataError:
    """Return the error for a sample, which names its file."""
    return DataError(DataProblem(sample.path or sample.id, reason))
