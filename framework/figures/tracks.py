"""Tracks: the center of each slot's mask through time, drawn over frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.clips import ClipPanel, spaced
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.slot_colors import slot_color
from slotlab.framework.figures.style import new_grid, plain, save, show, styled
from slotlab.registry import SlotlabError

SHOWN = 5
"""Frames of a clip, evenly spaced."""


def draw_tracks(panels: Sequence[ClipPanel], stem: Path, *, title: str) -> None:
    """Draw, as `stem`.png and .pdf, how slots have moved until each of some frames; crosses are true objects.

    Raises:
        SlotlabError: if there are no clips, or the model has no masks.
    """
    shown = [panel for panel in panels if all(view.predicted_HW is not None for view in panel.frames)]
    if not shown:
        raise SlotlabError("the model has no masks" if panels else "no metric has a value for any clip")
    longest = max(len(panel.frames) for panel in shown)
    with styled():
        figure, axes = new_grid(len(shown), min(longest, SHOWN), title=title)
        for row, panel in zip(axes, shown, strict=True):
            row[0].set_ylabel(plain(panel.title))
            numbers = spaced(len(panel.frames), SHOWN)
            for axis in row[len(numbers) :]:
                axis.set_visible(False)
            for axis, number in zip(row, numbers, strict=False):
                show(axis, panel.frames[number].image_HWC)
                axis.set_title(f"frame {number}")
                _draw_tracks(axis, panel.frames[: number + 1])
        save(figure, stem)


def tracks(labels_THW: Sequence[NDArray[np.integer]], names: Sequence[int]) -> NDArray[np.float64]:
    """Return the centers of the pixels with each label, (x, y) from 0 to 1, of shape (T, names, 2).

    NaN where a frame has no such pixel.
    """
    found = np.full((len(labels_THW), len(names), 2), np.nan)
    for frame, labels_HW in enumerate(labels_THW):
        height, width = labels_HW.shape
        for place, name in enumerate(names):
            rows, columns = np.nonzero(labels_HW == name)
            if len(rows):
                found[frame, place] = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
    return found


def _draw_tracks(axis: Any, frames: Sequence[ImageView]) -> None:
    """Draw the tracks of all slots up to the last frame, and the true objects there."""
    height, width = frames[0].image_HWC.shape[:2]
    size = np.array([width, height])
    labels = [view.predicted_HW for view in frames if view.predicted_HW is not None]
    slots = range(max(int(label.max()) for label in labels) + 1)
    for slot, track_T2 in zip(slots, tracks(labels, slots).swapaxes(0, 1), strict=True):
        x, y = (track_T2 * size - 0.5).T
        axis.plot(x, y, color="white", linewidth=2.6)
        axis.plot(x, y, color=slot_color(slot), linewidth=1.4)
        look = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.8}
        axis.plot(x[-1], y[-1], "o", color=slot_color(slot), **look)
    true_HW = frames[-1].true_HW
    if true_HW is not None:
        objects = [int(name) for name in np.unique(true_HW) if name > 0]
        x, y = (tracks([true_HW], objects)[0] * size - 0.5).T
        axis.plot(x, y, "x", color="white", markersize=5, markeredgewidth=2)
        axis.plot(x, y, "x", color="black", markersize=4, markeredgewidth=1)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
