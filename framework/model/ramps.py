"""Four ramps over the positions of a map, of which codes of the position are made."""

from typing import Literal

import torch
from torch import Tensor

from slotlab.framework.contracts import Size

Points = Literal["ends", "centers"]
"""Where along a side of length 1 its n positions are: at i / (n - 1), both ends included, or at the centers
(i + 1/2) / n of equal cells."""


def ramps(
    size: Size, points: Points, *, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Tensor:
    """Return (y, x, 1 - y, 1 - x) of each position, in [0, 1], of shape (H, W, 4), by default float32.

    Source: Locatello et al. 2020, section E.2 (`ends`); Singh et al. 2022 (STEVE) and LSD, code (`centers`).
    """
    sides = []
    for number in size:
        if points == "ends":
            sides.append(torch.linspace(0, 1, number, dtype=dtype, device=device))
        else:
            sides.append((torch.arange(number, dtype=dtype or torch.float32, device=device) + 0.5) / number)
    y_HW, x_HW = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([y_HW, x_HW, 1 - y_HW, 1 - x_HW], dim=-1)
