"""A contact sheet: some images of each split above their masks, with ids and numbers of objects.

A label has the same color on every sheet, the background is black, void is white; from label 24 on colors
repeat.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from slotlab.framework.contracts import VOID
from slotlab.framework.data.inspection.findings import InspectedSplit
from slotlab.framework.data.inspection.statistics import PreparedImage
from slotlab.framework.data.store.format import COUNTINGS
from slotlab.framework.figures.slot_colors import BACKGROUND, VOID_COLOR, rgb, slot_colors
from slotlab.framework.system.atomic import write_output
from slotlab.framework.system.terminal import visible

COLUMNS = 6
_SIDE = 128
"""Approximate size of a picture in pixels: small ones are enlarged by a whole number."""
_GAP, _LINE = 6, 14
Color = tuple[int, int, int]
_PAPER: Color = (255, 255, 255)
_INK: Color = (0, 0, 0)


def draw_sheet(parts: Sequence[InspectedSplit], path: Path, *, rows: int = 2) -> None:
    """Write a PNG with evenly spaced images of each part, at most `rows` times `COLUMNS`."""
    strips = [strip for part in parts for strip in _strips(part, rows)]
    width = max((strip.width for strip in strips), default=1)
    sheet = Image.new("RGB", (width, max(1, sum(strip.height for strip in strips))), _PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    write_output(path, buffer.getvalue())


def spread(positions: Sequence[int], number: int) -> list[int]:
    """Return at most `number` of the positions, evenly spaced, including the first and the last."""
    if len(positions) <= number:
        return list(positions)
    last = len(positions) - 1
    return [positions[round(place * last / (number - 1))] for place in range(number)]


def paint(mask_HW: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return a mask in colors, uint8 (H, W, 3): black for 0, white for void, 23 colors in turn for others."""
    colors = np.concatenate([np.array([rgb(BACKGROUND)], dtype=np.uint8), slot_colors(23)])
    painted: NDArray[np.uint8] = colors[np.where(mask_HW == 0, 0, 1 + (mask_HW.astype(np.int64) - 1) % 23)]
    painted[mask_HW == VOID] = rgb(VOID_COLOR)
    return painted


def _strips(part: InspectedSplit, rows: int) -> list[Image.Image]:
    """Return the strips of a part: its title, the legend, and rows of images."""
    picks = spread(part.readable, rows * COLUMNS)
    tiles = [_tile(look) for look in part.items.read(picks)]
    broken = part.summary["broken"]
    title = f"{part.name}: {part.summary['images']} images" + (f", {broken} broken" if broken else "")
    legend = f"objects by {' / '.join(COUNTINGS)}"
    strips = [_write([title], COLUMNS * _SIDE, size=16), _write([legend], COLUMNS * _SIDE)]
    for start in range(0, len(tiles), COLUMNS):
        row = tiles[start : start + COLUMNS]
        strip = Image.new("RGB", (sum(tile.width for tile in row), max(tile.height for tile in row)), _PAPER)
        left = 0
        for tile in row:
            strip.paste(tile, (left, 0))
            left += tile.width
        strips.append(strip)
    return strips


def _tile(look: PreparedImage) -> Image.Image:
    """Return an image above its mask, id and numbers of objects."""
    image_HWC = look.sample.image_CHW.numpy().transpose(1, 2, 0)
    height, width = image_HWC.shape[:2]
    factor = max(1, _SIDE // max(height, width))
    size = (width * factor, height * factor)
    layers = [Image.fromarray(np.ascontiguousarray(image_HWC)).resize(size, Image.Resampling.NEAREST)]
    if look.sample.mask_HW is not None:
        mask = Image.fromarray(paint(look.sample.mask_HW.numpy()))
        layers.append(mask.resize(size, Image.Resampling.NEAREST))
    layers.append(_write([look.sample.id, _numbers(look)], size[0]))
    tile = Image.new("RGB", (size[0] + _GAP, sum(layer.height for layer in layers) + _GAP), _PAPER)
    top = _GAP // 2
    for layer in layers:
        tile.paste(layer, (_GAP // 2, top))
        top += layer.height
    return tile


def _numbers(look: PreparedImage) -> str:
    known = (look.counts.get(counting) for counting in COUNTINGS)
    return " / ".join("-" if number is None else str(number) for number in known)


def _write(lines: Sequence[str], width: int, size: int = 11) -> Image.Image:
    """Return lines of text as an image, `width` pixels wide; long lines are cut at the start."""
    font: Any = ImageFont.load_default(size)
    paper = Image.new("RGB", (width, (_LINE + size - 11) * len(lines) + 4), _PAPER)
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        shown = visible(line)
        while draw.textlength(shown, font) > width - _GAP and len(shown) > 1:
            shown = "…" + shown.removeprefix("…")[1:]
        draw.text((_GAP // 2, number * (_LINE + size - 11)), shown, _INK, font)
    return paper
