"""Clips over time: as rows of pictures, and as one animated picture."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.mask_colors import paint_slots, paint_truth
from slotlab.framework.figures.style import new_grid, plain, save, show, styled
from slotlab.registry import SlotlabError

SHOWN = 8
"""The most frames of a clip in a figure, evenly spaced."""
SIDE = 128
"""An animated picture is enlarged until its shorter side has so many pixels."""
FRAME_MS = 160
"""How long an animation shows a frame, in milliseconds."""
Film = Sequence[NDArray[np.uint8]]
"""One picture (H, W, 3) for each frame."""


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


def spaced(frames: int) -> list[int]:
    """Return the numbers of at most `SHOWN` frames, evenly spaced, the first and the last among them."""
    shown = min(frames, SHOWN)
    return [round(place * (frames - 1) / max(shown - 1, 1)) for place in range(shown)]


def films(frames: Sequence[ImageView]) -> Mapping[str, Film]:
    """Return what there is of a clip, by name: `image`, `true`, `predicted`, `reconstruction`.

    A true object has, in all frames, the color of the slot with which it shares the most pixels in all.
    """
    found: dict[str, Film] = {"image": [view.image_HWC for view in frames]}
    true = [view.true_HW for view in frames if view.true_HW is not None]
    predicted = [view.predicted_HW for view in frames if view.predicted_HW is not None]
    if true:
        same = bool(predicted) and true[0].shape == predicted[0].shape
        joined = paint_truth(np.concatenate(true), np.concatenate(predicted) if same else None)
        found["true"] = np.split(joined, len(true))
    if predicted:
        found["predicted"] = np.split(paint_slots(np.concatenate(predicted)), len(predicted))
    back = [view.reconstruction_HWC for view in frames if view.reconstruction_HWC is not None]
    return {**found, "reconstruction": back} if back else found


def animation(frames: Sequence[ImageView]) -> bytes:
    """Return a WebP that plays a clip for ever: its `films` side by side, parted by a white line."""
    beside = [[enlarged(film[number]) for film in films(frames).values()] for number in range(len(frames))]
    height = max(picture.shape[0] for picture in beside[0])
    pictures = [Image.fromarray(joined(row, height)) for row in beside]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=FRAME_MS,
        loop=0,
        lossless=True,
    )
    return buffer.getvalue()


def enlarged(picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a small picture with each pixel repeated, so that its shorter side has about `SIDE` pixels."""
    factor = max(1, SIDE // min(picture_HWC.shape[:2]))
    return picture_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def joined(row: Sequence[NDArray[np.uint8]], height: int, gap: int = 4) -> NDArray[np.uint8]:
    """Return pictures (H, W, 3) side by side on white, as high as the highest."""
    width = sum(picture.shape[1] for picture in row) + gap * (len(row) - 1)
    whole_HWC = np.full((height, width, 3), 255, dtype=np.uint8)
    left = 0
    for picture in row:
        whole_HWC[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return whole_HWC
