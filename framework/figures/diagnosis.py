"""What masks do: some images with their masks slot by slot, and each slot's mean mask over all images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.mask_colors import paint_slots, paint_truth
from slotlab.framework.figures.slot_colors import slot_color
from slotlab.framework.figures.style import frame, new_grid, save, show, styled


@dataclass(frozen=True)
class ShownImage:
    """One image: uint8 (H, W, 3), true labels or None, the slot of each pixel, and soft masks (K, H, W)."""

    image_HWC: NDArray[np.uint8]
    true_HW: NDArray[np.int64] | None
    labels_HW: NDArray[np.int64]
    masks_KHW: NDArray[np.float32]


def draw_diagnosis(
    images: Sequence[ShownImage], mean_KHW: NDArray[np.float32], stem: Path, *, title: str
) -> None:
    """Draw a row for each image and one for the mean masks, as `stem`.png and .pdf.

    A mean mask that is as sharp as those above it says that the slot goes by position.
    """
    slots = len(mean_KHW)
    with styled():
        figure, axes = new_grid(len(images) + 1, 3 + slots, title=title)
        for row, image in zip(axes, images, strict=False):
            truth = None if image.true_HW is None else paint_truth(image.true_HW, image.labels_HW)
            for axis, picture in zip(
                row, (image.image_HWC, truth, paint_slots(image.labels_HW)), strict=False
            ):
                show(axis, picture)
            for slot, (axis, mask_HW) in enumerate(zip(row[3:], image.masks_KHW, strict=True)):
                show(axis, mask_HW)
                frame(axis, slot_color(slot))
        names = ("image", "true mask", "largest mask", *(f"slot {slot}" for slot in range(slots)))
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(name)
        last = axes[-1]
        for axis in last[:3]:
            axis.set_visible(False)
        for slot, (axis, mask_HW) in enumerate(zip(last[3:], mean_KHW, strict=True)):
            show(axis, mask_HW)
            frame(axis, slot_color(slot))
        last[3].set_ylabel("mean of all images")
        save(figure, stem)
