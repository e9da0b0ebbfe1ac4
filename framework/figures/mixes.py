"""Mixes of two images: pictures decoded from some slots of one and some slots of the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mask_colors import paint_slots
from slotlab.framework.figures.style import new_grid, save, show, styled

COLUMNS = ("image A", "slots of A", "image B", "slots of B", "mix")


@dataclass(frozen=True)
class Mix:
    """One row: two images, the slots kept from each, and the picture decoded from these slots."""

    a: ImageView
    kept_a: tuple[int, ...]
    b: ImageView
    kept_b: tuple[int, ...]
    decoded_HWC: NDArray[np.uint8]


def halves(a: ImageView, b: ImageView) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the slots to keep: of A the background and half of the objects, of B objects for the rest.

    The slot that covers the most pixels counts as the background; of the others, those that cover the
    most are kept. In total there are as many slots as A has.
    """
    of_a, of_b = by_area(a), by_area(b)
    kept_a = of_a[: 1 + len(of_a[1:]) // 2]
    return tuple(sorted(kept_a)), tuple(sorted(of_b[1 : 1 + len(of_a) - len(kept_a)]))


def by_area(view: ImageView) -> list[int]:
    """Return the slots of an image by the areas of their masks, the largest first."""
    assert view.masks_KHW is not None
    areas = view.masks_KHW.sum(axis=(1, 2))
    return [int(slot) for slot in np.argsort(-areas, kind="stable")]


def draw_mixes(mixes: Sequence[Mix], stem: Path, *, title: str) -> None:
    """Draw one row per mix as `stem`.png and .pdf: each image with its kept slots, and the mix."""
    with styled():
        figure, axes = new_grid(len(mixes), len(COLUMNS), title=title)
        for row, mix in zip(axes, mixes, strict=True):
            pictures = (
                mix.a.image_HWC,
                segments(mix.a, mix.kept_a),
                mix.b.image_HWC,
                segments(mix.b, mix.kept_b),
                mix.decoded_HWC,
            )
            for axis, picture in zip(row, pictures, strict=True):
                show(axis, picture)
        for axis, name in zip(axes[0], COLUMNS, strict=True):
            axis.set_title(name)
        save(figure, stem)


def segments(view: ImageView, kept: Sequence[int]) -> NDArray[np.uint8]:
    """Return the decoder's segmentation of an image, with slots that are not kept in light gray."""
    assert view.masks_KHW is not None
    return paint_slots(view.masks_KHW.argmax(axis=0), frozenset(kept))
