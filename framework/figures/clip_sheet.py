"""Clips playing in one picture: frames, masks, reconstructions and slots, truth beside prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.figures.clips import ClipPanel, films
from slotlab.framework.figures.films import Film, enlarged
from slotlab.framework.system.terminal import visible

SIDE = 96
"""Pixels of the shorter side of each picture, about."""
LEFT, TOP, GAP = 150, 22, 6
"""Pixels for labels of rows and of columns, and between pictures."""
LETTERS = 22
"""Letters of a line in a row's label."""
SIZE = 12
"""Of letters, in pixels."""
HEADS = {"image": "frame", "true": "true masks", "predicted": "predicted", "reconstruction": "reconstruction"}


def draw_sheet(panels: Sequence[ClipPanel], *, foretold: int = 0) -> Film:
    """Return a film of several clips, a row each; a shorter one waits at its end.

    Args:
        panels: the clips with their labels.
        foretold: the first frame of which the model has seen nothing; 0 if it sees all.
    """
    rows = [columns_of(panel) for panel in panels]
    names = list(dict.fromkeys(name for row in rows for name in row))
    frames = max(len(panel.frames) for panel in panels)
    return [_page(panels, rows, names, number, frames, foretold) for number in range(frames)]


def columns_of(panel: ClipPanel) -> Mapping[str, Film]:
    """Return the films of one clip by their heads; each slot has its own."""
    found = dict(films(panel.frames, slots=True))
    apart = found.pop("slots", [])
    columns = {HEADS[name]: film for name, film in found.items()}
    width = panel.frames[0].image_HWC.shape[1]
    for slot in range(apart[0].shape[1] // width if apart else 0):
        columns[f"slot {slot}"] = [whole[:, slot * width : (slot + 1) * width] for whole in apart]
    return columns


def _page(
    panels: Sequence[ClipPanel],
    rows: Sequence[Mapping[str, Film]],
    names: Sequence[str],
    number: int,
    frames: int,
    foretold: int,
) -> NDArray[np.uint8]:
    """Return the sheet at one frame."""
    from PIL import Image, ImageDraw, ImageFont

    font: Any = ImageFont.load_default(SIZE)
    height, width = enlarged(panels[0].frames[0].image_HWC, SIDE).shape[:2]
    size = (LEFT + (width + GAP) * len(names), 2 * TOP + (height + GAP) * len(rows))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    state = "" if foretold == 0 else ", seen" if number < foretold else ", foretold"
    pen.text((GAP, GAP), f"frame {number + 1} of {frames}{state}", fill="black", font=font)
    for column, name in enumerate(names):
        pen.text((LEFT + (width + GAP) * column, TOP + GAP), name, fill="black", font=font)
    for place, (panel, row) in enumerate(zip(panels, rows, strict=True)):
        top = 2 * TOP + (height + GAP) * place
        lines = [visible(line)[:LETTERS] for line in panel.title.splitlines()]
        pen.multiline_text((GAP, top), "\n".join(lines), fill="black", font=font)
        for name, film in row.items():
            shown = Image.fromarray(enlarged(film[min(number, len(film) - 1)], SIDE))
            if shown.size != (width, height):  # masks may have a size of their own
                shown = shown.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(shown, (LEFT + (width + GAP) * names.index(name), top))
    return np.asarray(sheet)
