"""Clips over time: as rows of pictures, and as one animated picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slotlab.framework.figures.films import Film, beside, webp
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mask_colors import paint_slots, paint_truth
from slotlab.framework.figures.style import new_grid, plain, save, show, styled
from slotlab.registry import SlotlabError

SHOWN = 8
"""The most frames of a clip in a figure, evenly spaced."""


@dataclass(frozen=True)
class ClipPanel:
    """One clip of a figure, and its label."""

    title: str
    frames: Sequence[ImageView]


def draw_clips(panels: Sequence[ClipPanel], stem: Path, *, title: str) -> None:
    """Draw clips as `stem`.png and .pdf: for each what there is of `films`, a row each, time to the right."""
    if not panels:
        raise SlotlabError("no metric has a value for any clip")
    rows = [(panel, name, film) for panel in panels for name, film in films(panel.frames).items()]
    longest = max(len(film) for _, _, film in rows)
    with styled():
        figure, axes = new_grid(len(rows), min(longest, SHOWN), title=title)
        for row, (panel, name, film) in zip(axes, rows, strict=True):
            first = name == next(iter(films(panel.frames)))
            row[0].set_ylabel(plain(f"{panel.title}\n{name}" if first else name))
            for axis in row[len(film) :]:
                axis.set_visible(False)
            for axis, number in zip(row, spaced(len(film)), strict=False):
                show(axis, film[number])
                if first:
                    axis.set_title(f"frame {number}")
        save(figure, stem)


def spaced(frames: int, most: int = SHOWN) -> list[int]:
    """Return the numbers of at most `most` frames, evenly spaced, the first and the last among them."""
    shown = min(frames, most)
    return [round(place * (frames - 1) / max(shown - 1, 1)) for place in range(shown)]


def films(frames: Sequence[ImageView], *, slots: bool = False, shared: bool = False) -> Mapping[str, Film]:
    """Return what there is of a clip: `image`, `true`, `predicted`, `reconstruction`, perhaps `slots`.

    Args:
        frames: of the clip.
        slots: also what each slot shows where its mask is, side by side.
        shared: whether true objects have colors that do not depend on the model, object i that of i - 1; else
            each has, in all frames, the color of the slot with which it shares the most pixels in all.
    """
    found: dict[str, Film] = {"image": [view.image_HWC for view in frames]}
    true = [view.true_HW for view in frames if view.true_HW is not None]
    predicted = [view.predicted_HW for view in frames if view.predicted_HW is not None]
    if true:
        same = bool(predicted) and true[0].shape == predicted[0].shape and not shared
        joined = paint_truth(np.concatenate(true), np.concatenate(predicted) if same else None)
        found["true"] = np.split(joined, len(true))
    if predicted:
        found["predicted"] = np.split(paint_slots(np.concatenate(predicted)), len(predicted))
    back = [view.reconstruction_HWC for view in frames if view.reconstruction_HWC is not None]
    if back:
        found["reconstruction"] = back
    apart = [one for view in frames if slots and (one := view.by_slot()) is not None]
    return {**found, "slots": [np.concatenate(one, axis=1) for one in apart]} if apart else found


def animation(frames: Sequence[ImageView]) -> bytes:
    """Return a WebP that plays a clip for ever: its `films` side by side, parted by a white line."""
    every = films(frames)
    return webp([beside([film[number] for film in every.values()]) for number in range(len(frames))])
