"""Rows of true mask, predicted mask, true image and reconstruction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.masks import paint_slots, paint_truth
from slotlab.framework.figures.style import new_grid, plain, save, show, styled
from slotlab.framework.figures.view import View


@dataclass(frozen=True)
class Panel:
    """One row of the figure, and what to write beside it."""

    title: str
    view: View


def draw_panels(panels: Sequence[Panel], stem: Path, *, title: str) -> None:
    """Draw the rows as `stem`.png and .pdf; a picture that there is none of says so."""
    with styled():
        columns = list(pictures(panels[0].view))
        figure, axes = new_grid(len(panels), len(columns), title=title)
        for row, panel in zip(axes, panels, strict=True):
            for axis, picture in zip(row, pictures(panel.view).values(), strict=True):
                show(axis, picture)
            row[0].set_ylabel(plain(panel.title))
        for axis, name in zip(axes[0], columns, strict=True):
            axis.set_title(name)
        save(figure, stem)


def pictures(view: View) -> Mapping[str, NDArray[np.uint8] | None]:
    """Return the pictures of one row by column; None for those that there are none of.

    True objects have the colors of the slots that found them.
    """
    true_HW, predicted_HW = view.true_HW, view.predicted_HW
    return {
        "true mask": None if true_HW is None else paint_truth(true_HW, predicted_HW),
        "predicted mask": None if predicted_HW is None else paint_slots(predicted_HW),
        "true image": view.image_HWC,
        "reconstruction": view.reconstruction_HWC,
    }
