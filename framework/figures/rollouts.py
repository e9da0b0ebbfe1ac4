"""Rollouts against the truth: what was foretold beside what came, and the error by step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.by_frame import COLORS
from slotlab.framework.figures.clips import ClipPanel, spaced
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.style import FAINT, TILE, fold, plain, save, show, styled
from slotlab.registry import SlotlabError

SHOWN = 8
"""Frames of a clip, evenly spaced."""
WHITE = 0.5
"""The absolute error, of values from 0 to 1, that is shown white."""
CHART = 1.7
"""The height of the curves, in pictures."""
ROWS = ("truth", "model", "error")


def draw_rollouts(panels: Sequence[ClipPanel], stem: Path, *, foretold: int, title: str) -> None:
    """Draw, as `stem`.png and .pdf, clips with what was foretold of them, and their squared errors by frame.

    Args:
        panels: the clips with their labels.
        stem: the path without ending.
        foretold: the first frame of which the model has seen nothing.
        title: of the figure.

    Raises:
        SlotlabError: if there are no clips, or the model has no pictures.
    """
    from matplotlib.figure import Figure

    shown = [panel for panel in panels if all(view.reconstruction_HWC is not None for view in panel.frames)]
    if not shown:
        raise SlotlabError("the model makes no pictures" if panels else "no metric has a value for any clip")
    columns = min(max(len(panel.frames) for panel in shown), SHOWN)
    rows = len(ROWS) * len(shown)
    size = (TILE * columns + 0.8, TILE * 1.06 * (rows + CHART) + 0.9)
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1] * rows + [CHART])
        for place, panel in enumerate(shown):
            for column, number in enumerate(spaced(len(panel.frames), SHOWN)):
                view, state = panel.frames[number], "seen" if number < foretold else "foretold"
                cells = [
                    figure.add_subplot(grid[len(ROWS) * place + row, column]) for row in range(len(ROWS))
                ]
                _draw_frame(cells, view, f"{number}, {state}", panel.title if column == 0 else None)
        axis = figure.add_subplot(grid[rows, :])
        for color, panel in zip(COLORS, shown, strict=False):
            axis.plot(
                errors(panel.frames), marker="o", color=color, label=plain(panel.title.replace("\n", ", "))
            )
        axis.axvline(foretold - 0.5, color=FAINT, linestyle="--", linewidth=1)
        axis.set_xlabel("frame; what is right of the line was foretold")
        axis.set_ylabel("squared error\n(values 0 to 1)")
        axis.set_ylim(bottom=0)
        axis.grid()
        axis.legend()
        figure.suptitle(fold(title, width=int(size[0] / 0.077)))
        save(figure, stem)


def errors(frames: Sequence[ImageView]) -> list[float]:
    """Return the mean squared error of each frame's picture, of values from 0 to 1."""
    return [float((difference(view) ** 2).mean()) for view in frames]


def difference(view: ImageView) -> NDArray[np.float64]:
    """Return picture minus frame, of values from 0 to 1, (H, W, 3)."""
    assert view.reconstruction_HWC is not None
    return (view.reconstruction_HWC.astype(np.float64) - view.image_HWC) / 255


def _draw_frame(cells: Sequence[Any], view: ImageView, head: str, title: str | None) -> None:
    """Draw truth, the model's picture, and its absolute error of one frame, one below the other."""
    error_HW = np.abs(difference(view)).mean(axis=2) / WHITE
    for axis, picture in zip(cells, (view.image_HWC, view.reconstruction_HWC, error_HW), strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        show(axis, picture)
    cells[0].set_title(head)
    if title is not None:
        cells[0].set_ylabel(plain(f"{title}\n{ROWS[0]}"))
        for axis, name in zip(cells[1:], ROWS[1:], strict=True):
            axis.set_ylabel(name)
