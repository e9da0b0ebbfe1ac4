"""Masks in colors: a slot has the same color everywhere, and a true object that of its slot."""

from itertools import count

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import VOID
from slotlab.framework.figures.slot_colors import BACKGROUND, UNUSED, VOID_COLOR, rgb, slot_colors


def paint_slots(slots_HW: NDArray[np.integer], kept: frozenset[int] | None = None) -> NDArray[np.uint8]:
    """Return slot numbers (H, W) as an RGB image (H, W, 3); slots not in `kept` are light gray."""
    colors = slot_colors(int(slots_HW.max()) + 1)
    if kept is not None:
        colors[[slot not in kept for slot in range(len(colors))]] = rgb(UNUSED)
    painted: NDArray[np.uint8] = colors[slots_HW]
    return painted


def paint_truth(
    true_HW: NDArray[np.integer], slots_HW: NDArray[np.integer] | None = None
) -> NDArray[np.uint8]:
    """Return true labels (H, W) as an RGB image (H, W, 3); label 0, the background, is black, void white.

    Args:
        true_HW: labels of any size.
        slots_HW: a segmentation by slots. An object takes the color of the slot that it is
            paired with (see `pair`), or a color after those of the slots if it has none.
            Without it, object i has color i - 1.
    """
    names, inverse = np.unique(true_HW, return_inverse=True)
    if slots_HW is None:
        color_of = {int(name): int(name) - 1 for name in names if name > 0}
    else:
        color_of = pair(true_HW, slots_HW)
    table = slot_colors(max(color_of.values(), default=0) + 1)
    others = {0: rgb(BACKGROUND), VOID: rgb(VOID_COLOR)}
    colors = np.array([table[color_of[name]] if name > 0 else others[name] for name in names.tolist()])
    painted: NDArray[np.uint8] = colors.astype(np.uint8)[inverse.reshape(true_HW.shape)]
    return painted


def pair(true_HW: NDArray[np.integer], slots_HW: NDArray[np.integer]) -> dict[int, int]:
    """Return a distinct slot for each true object, so that they share the most pixels in total.

    The background takes part, so that no object is paired with its slot; void does not. An object that
    shares no pixel with a free slot gets a number after the last slot.
    """
    from scipy.optimize import linear_sum_assignment

    slots = int(slots_HW.max()) + 1
    names, inverse = np.unique(true_HW[true_HW != VOID], return_inverse=True)
    shared = np.zeros((len(names), slots), dtype=np.int64)
    np.add.at(shared, (inverse.ravel(), slots_HW[true_HW != VOID]), 1)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    found = {
        int(names[row]): int(column) for row, column in zip(rows, columns, strict=True) if shared[row, column]
    }
    after = count(slots)
    return {name: found[name] if name in found else next(after) for name in names.tolist() if name > 0}
