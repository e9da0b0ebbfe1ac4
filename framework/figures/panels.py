"""Rows of true mask, predicted mask, true image and reconstruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mask_colors import paint_slots, paint_truth
from slotlab.framework.figures.style import new_grid, plain, save, show, styled


@dataclass(frozen=True)
class Panel:
    """One row of the figure, and its label."""

    title: str
    view: ImageView


def draw_panels(panels: Sequence[Panel], stem: Path, *, title: str) -> None:
    """Draw the rows as `stem`.png and .pdf; pictures that some rows lack are marked as missing.

    There is no column for what no row has, such as reconstructions of a model that makes none.
    """
    with styled():
        rows = [pictures(panel.view) for panel in panels]
        columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        figure, axes = new_grid(len(panels), len(columns), title=title)
        for row, panel, shown in zip(axes, panels, rows, strict=True):
            for axis, name in zip(row, columns, strict=True):
                show(axis, shown[name])
            row[0].set_ylabel(plain(panel.title))
        for axis, name in zip(axes[0], columns, strict=True):
            axis.set_title(name)
        save(figure, stem)


def pictures(view: ImageView) -> Mapping[str, NDArray[np.uint8] | None]:
    """Return the pictures of one row by column; None for missing ones.

    True objects have the colors of the slots that found them.
    """
    true_HW, predicted_HW = view.true_HW, view.predicted_HW
    return {
        "true mask": None if true_HW is None else paint_truth(true_HW, predicted_HW),
        "predicted mask": None if predicted_HW is None else paint_slots(predicted_HW),
        "true image": view.image_HWC,
        "reconstruction": view.reconstruction_HWC,
    }
