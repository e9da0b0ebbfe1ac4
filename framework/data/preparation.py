"""Crop and resize a picture and its mask as a protocol says, and count objects.

Source of the official preparation: `clevrtex_eval.py` (github.com/karazijal/clevrtex-generation): crop before
resizing, images bilinear and masks nearest, both with PIL.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.contracts import (
    VOID,
    Crop,
    DataError,
    DataProblem,
    Field,
    Fit,
    Interpolation,
    MaskResize,
    Resize,
    Sample,
    Size,
)
from slotlab.framework.data.resizing import (
    Window,
    centered,
    covering,
    cut_at,
    resized_field,
    resized_image,
    resized_mask,
)
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
    """(rows, columns) of the images."""
    crop: Crop = None
    resize: Resize = "pil"
    max_labels: int | None = None
    """The most labels, background included, that a mask may have; None for any number."""
    mask_size: Size | None = None
    """(rows, columns) of the masks; None for those of the images."""
    interpolation: Interpolation = "bilinear"
    mask_resize: MaskResize = "nearest"
    fit: Fit = "squash"

    @classmethod
    def of(cls, protocol: ProtocolConfig) -> "Preparation":
        """Return the preparation that a protocol defines."""
        return cls(
            size=protocol.size,
            crop=protocol.crop,
            resize=protocol.resize,
            max_labels=protocol.max_labels,
            mask_size=protocol.other_mask_size,
            interpolation=protocol.interpolation,
            mask_resize=protocol.mask_resize,
            fit=protocol.fit,
        )

    def identity(self) -> dict[str, Any]:
        """Return the settings by which packed stores are named.

        Those that earlier versions did not have are left out at their default, so that their stores stay.
        """
        late = {"mask_size", "interpolation", "mask_resize", "fit"}
        usual = {field.name: field.default for field in fields(self) if field.name in late}
        found = asdict(self)
        return {name: found[name] for name in found if name not in usual or found[name] != usual[name]}

    def __call__(self, sample: Sample, window: Window | None = None) -> PreparedSample:
        """Return the sample cropped and resized, with its numbers of objects.

        `window` is the part that `fit: cover` cuts out; None for the center.

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
            counts |= {"mask_colors": found, "visible": count_labels(self.seen(mask_HW))}
            self._check_labels(sample, found + 1)
            small_HW = self.resize_mask(cut_HW, window)
        small_CHW = self.resize_image(self.cut(image_CHW), window)
        return PreparedSample(replace(sample, image_CHW=small_CHW, mask_HW=small_HW), counts)

    def cut(self, pixels_xHW: Tensor) -> Tensor:
        """Return the part of an image (3, H, W) or a mask (H, W) that the crop keeps."""
        rows, columns = pixels_xHW.shape[-2:]
        top, left, height, width = self._box((rows, columns))
        return pixels_xHW[..., top : top + height, left : left + width]

    def seen(self, mask_HW: Tensor) -> Tensor:
        """Return the part of a mask (H, W), at the size of its file, that is left after every crop."""
        cut_HW = self.cut(mask_HW)
        if self.fit == "squash":
            return cut_HW
        size = (cut_HW.shape[0], cut_HW.shape[1])
        wanted = self.mask_size or self.size
        scale = max(wanted[0] / size[0], wanted[1] / size[1])
        rows, columns = (min(side, round(to / scale)) for side, to in zip(size, wanted, strict=True))
        return centered(cut_HW, (rows, columns))

    def resize_image(self, image_CHW: Tensor, window: Window | None = None) -> Tensor:
        """Return an image, uint8 of shape (3, H, W), brought to the protocol's size."""
        size = self._whole(image_CHW, self.size)
        whole_CHW = resized_image(image_CHW, size, self.resize, self.interpolation)
        return cut_at(whole_CHW, self.size, window).contiguous()

    def resize_mask(self, mask_HW: Tensor, window: Window | None = None) -> Tensor:
        """Return labels of an integer type, (H, W), brought to the protocol's size of masks."""
        wanted = self.mask_size or self.size
        size = self._whole(mask_HW, wanted)
        whole_HW = resized_mask(mask_HW, size, self.resize, self.mask_resize)
        return cut_at(whole_HW, wanted, window).contiguous()

    def resize_field(self, name: Field, field_CHW: Tensor, window: Window | None = None) -> Tensor:
        """Return a field of a picture (C, H, W), at the size of its file, as it is in the prepared image.

        It is cut and resized like the picture; flow gets longer or shorter as the picture does.
        """
        cut_CHW = self.cut(field_CHW)
        size = self._whole(cut_CHW, self.size)
        whole_CHW = resized_field(cut_CHW, size)
        if name == "flow":
            whole_CHW = whole_CHW * scale_of((cut_CHW.shape[1], cut_CHW.shape[2]), size)
        return cut_at(whole_CHW, self.size, window).contiguous()

    def moved(self, column: float, row: float, size: Size) -> tuple[float, float]:
        """Return where a point of a picture's file comes to lie in the prepared image, perhaps outside of it.

        Args:
            column: in pixels from the left edge; the middle of the first pixel is at 0.5.
            row: likewise from the top.
            size: (rows, columns) of the file.
        """
        top, left, height, width = self._box(size)
        whole = self.size if self.fit == "squash" else covering((height, width), self.size)
        up, over = (
            round((side - to) / 2) for side, to in zip(whole, self.size, strict=True)
        )  # as `centered`
        return (column - left) * whole[1] / width - over, (row - top) * whole[0] / height - up

    def _whole(self, pixels_xHW: Tensor, wanted: Size) -> Size:
        # The size to which all of a picture is resized, before its middle is cut out.
        rows, columns = pixels_xHW.shape[-2:]
        return wanted if self.fit == "squash" else covering((rows, columns), wanted)

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


def scale_of(size: Size, to: Size) -> Tensor:
    """Return by how much vectors (row, column) grow where a picture is resized, float32 (2, 1, 1)."""
    return torch.tensor([to[0] / size[0], to[1] / size[1]])[:, None, None]


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
