"""One picture of a few images, or clips, with their masks: small and quickly made, for looks in a training.

Images have a row each: image, true masks, predicted masks, reconstruction, as far as there are such. Clips
have a row for each of these, with time to the right. Colors are those of all figures: a true object has that
of its slot.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slotlab.framework.figures.clips import films, spaced
from slotlab.framework.figures.image_view import ImageView
from slotlab.framework.figures.png import to_png

SIDE = 128
"""About how many pixels the shorter side of a picture has: its scale, or the inverse, is a whole number."""
GAP, LINE, LABEL = 4, 16, 92
"""Pixels between pictures, of a line of text, and of the names of a clip's rows."""
NAMES = {"image": "image", "true": "truth", "predicted": "masks", "reconstruction": "reconstruction"}
Tile = NDArray[np.uint8]


def draw_watched(samples: Sequence[Sequence[ImageView]]) -> bytes:
    """Return a PNG of images, each a sequence of one view, or of clips, with a view for each frame."""
    shown = [films(frames) for frames in samples]
    columns = list(dict.fromkeys(name for one in shown for name in one))
    size = tile_size(samples[0][0].image_HWC)
    if max(map(len, samples)) > 1:
        rows = [
            (NAMES[name], [one[name][number] for number in spaced(len(frames))])
            for one, frames in zip(shown, samples, strict=True)
            for name in columns
            if name in one
        ]
        return to_png(sheet(rows, (), size))
    pictures = [("", [one[name][0] if name in one else None for name in columns]) for one in shown]
    return to_png(sheet(pictures, [NAMES[name] for name in columns], size))


def tile_size(image_HWC: Tile) -> tuple[int, int]:
    """Return (rows, columns) of each picture, of the image's proportion."""
    rows, columns = image_HWC.shape[:2]
    least = min(rows, columns)
    if least < SIDE:
        return rows * (SIDE // least), columns * (SIDE // least)
    return -(-rows // (least // SIDE)), -(-columns // (least // SIDE))


def sheet(
    rows: Sequence[tuple[str, Sequence[Tile | None]]], titles: Sequence[str], size: tuple[int, int]
) -> Tile:
    """Return rows of pictures beside their names, below the titles of columns; None leaves a gap."""
    height, width = size
    left = LABEL if any(name for name, _ in rows) else 0
    top = LINE if titles else 0
    most = max(len(tiles) for _, tiles in rows)
    whole = (left + most * (width + GAP) - GAP, top + len(rows) * (height + GAP) - GAP)
    paper = Image.new("RGB", whole, "white")
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    for column, title in enumerate(titles):
        draw.text((column * (width + GAP), 0), title, "black", font)
    for row, (name, tiles) in enumerate(rows):
        y = top + row * (height + GAP)
        draw.text((0, y + height // 2 - LINE // 2), name, "black", font)
        for column, tile in enumerate(tiles):
            if tile is not None:
                scaled = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
                paper.paste(scaled, (left + column * (width + GAP), y))
    return np.asarray(paper)
