"""The nine orders in which SPOT's decoder goes through the positions of a grid."""

import torch
from torch import Tensor

from slotlab.framework.contracts import Size


def nine_orders(size: Size) -> Tensor:
    """Return nine permutations of the positions of a grid, numbered row by row: int64 (9, rows * columns).

    The first is row by row from the top left. With it come the other ways to read a grid from a corner, by
    rows or by columns; the last is a spiral from the middle that ends at the top right.
    Source: Kakogeorgiou et al. 2024 (SPOT), section 3.3, in the order of the authors' code.
    """
    rows, columns = size
    grid_HW = torch.arange(rows * columns).view(rows, columns)
    by_rows = (grid_HW, grid_HW.flip(1), grid_HW.flip(0, 1), grid_HW.flip(0))
    left_top, right_top, right_bottom, left_bottom = by_rows
    top_left, top_right, bottom_right, bottom_left = (read.T for read in by_rows)
    readings = (
        left_top,
        top_left,
        top_right,
        right_top,
        bottom_right,
        right_bottom,
        bottom_left,
        left_bottom,
    )
    return torch.stack([*(read.flatten() for read in readings), spiral(grid_HW).flip(0)])


def spiral(grid_HW: Tensor) -> Tensor:
    """Return a grid's entries from the top right corner clockwise inwards."""
    sides = []
    while grid_HW.numel():
        grid_HW = grid_HW.rot90()  # the right column comes to lie on top
        sides.append(grid_HW[0])
        grid_HW = grid_HW[1:]
    return torch.cat(sides)
