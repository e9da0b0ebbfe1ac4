"""The colors of slots, of the background and of void, in every figure, sample and page.

Slot k has color k in every figure, sample and page. The first seven are those of Okabe and Ito
("Color Universal Design", 2008), made for color-blind readers, without their black, which is
the background's. The others were chosen one after another among the RGB colors in steps of
17, each as far as possible from all before it. The distance is that of OKLab, the least over
normal vision, protanopia, deuteranopia and tritanopia.
"""

import numpy as np
from numpy.typing import NDArray

SLOT_COLORS = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    *("#552200", "#99FFFF", "#0000AA", "#884444", "#9966FF", "#AACCAA", "#7700EE", "#553366"),
    *("#DDFFBB", "#BB2288", "#66DDEE", "#BBAA77", "#EEBB66", "#0044BB", "#772233", "#BB0000"),
)
"""One color per slot; from slot 23 on they repeat."""
BACKGROUND = "#000000"
"""The background of true masks; no slot has this color."""
VOID_COLOR = "#FFFFFF"
"""Pixels of true masks that are not scored; no slot has this color."""
UNUSED = "#C4C4C4"
"""Pixels of slots that are not shown; no slot has this color."""


def rgb(code: str) -> tuple[int, int, int]:
    """Return the color `#RRGGBB` as three numbers from 0 to 255."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def slot_color(slot: int) -> str:
    """Return the color of a slot, `#RRGGBB`."""
    return SLOT_COLORS[slot % len(SLOT_COLORS)]


def slot_colors(count: int) -> NDArray[np.uint8]:
    """Return the colors of slots 0 to `count` - 1, RGB, of shape (count, 3)."""
    return np.array([rgb(slot_color(slot)) for slot in range(count)], dtype=np.uint8).reshape(count, 3)
