"""A grid of composed pictures."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.style import new_grid, save, show, styled

COLUMNS = 6
"""Pictures per row."""


def draw_grid(pictures: Sequence[NDArray[np.uint8]], stem: Path, *, title: str) -> None:
    """Draw pictures, uint8 (H, W, 3), in rows as `stem`.png and .pdf."""
    with styled():
        rows = ceil(len(pictures) / COLUMNS)
        figure, axes = new_grid(rows, min(COLUMNS, len(pictures)), title=title)
        for axis in axes.flat[len(pictures) :]:
            axis.set_visible(False)
        for axis, picture in zip(axes.flat, pictures, strict=False):
            show(axis, picture)
        save(figure, stem)
