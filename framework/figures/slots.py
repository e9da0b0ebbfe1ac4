"""Slot-wise figures: the part and the mask of each slot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.figures.image_view import ImageView, by_mask
from slotlab.framework.figures.slot_colors import slot_color
from slotlab.framework.figures.style import fold, frame, new_grid, save, show, styled
from slotlab.registry import SlotlabError

ROWS = ("mask", "part", "part · mask")


def draw_slots(views: Sequence[ImageView], stem: Path, *, title: str, dropped: str = "") -> None:
    """Draw, for each image, its slots' masks, parts and parts times masks, as `stem`.png and .pdf.

    Args:
        views: the images.
        stem: the path without ending.
        title: of the figure.
        dropped: why slots' pictures were not kept, if the decoder may have made them.

    Raises:
        SlotlabError: if there are no images, or the model has no masks or parts.
    """
    shown = [view for view in views if view.masks_KHW is not None and view.parts_KHWC is not None]
    if not shown:
        raise SlotlabError(_lacking(views, dropped=dropped))
    count = max(len(view.masks_KHW) for view in shown if view.masks_KHW is not None)
    with styled():
        figure, axes = new_grid(len(ROWS) * len(shown), 1 + count, title=title)
        for start, view in zip(range(0, len(axes), len(ROWS)), shown, strict=True):
            assert view.masks_KHW is not None
            assert view.parts_KHWC is not None
            block = axes[start : start + len(ROWS)]
            _draw_image(block[:, 0], view)
            products = by_mask(view.parts_KHWC, view.masks_KHW)
            for slot, mask_HW in enumerate(view.masks_KHW):
                column = block[:, 1 + slot]
                column[0].set_title(f"slot {slot}")
                for axis, picture in zip(
                    column, (mask_HW, view.parts_KHWC[slot], products[slot]), strict=True
                ):
                    show(axis, picture)
                    frame(axis, slot_color(slot))
            for axis, name in zip(block[:, 1], ROWS, strict=True):
                axis.set_ylabel(name)
        save(figure, stem)


def _lacking(views: Sequence[ImageView], *, dropped: str) -> str:
    """Return the reason why no slots can be shown."""
    if not views:
        return "no metric has a value for any image"
    if all(view.masks_KHW is None for view in views):
        return "the decoder has no masks"
    if all(view.reconstruction_HWC is None for view in views):
        return "the objective does not predict images, so slots have no pictures"
    return dropped or "the decoder has no pictures of single slots"


def _draw_image(column: Any, view: ImageView) -> None:
    """Draw the image and its reconstruction beside the slots."""
    image, reconstruction, name = column
    show(image, view.image_HWC)
    image.set_title("image")
    show(reconstruction, view.reconstruction_HWC)
    reconstruction.set_title("reconstruction")
    name.axis("off")
    name.text(0.5, 0.9, fold(view.id, width=18), ha="center", va="top", transform=name.transAxes)
