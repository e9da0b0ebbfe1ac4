"""Where each slot is, how large and how turned: a frame of its own for each slot.

Coordinates are (y, x), from -1 at the first row and column of a grid to 1 at the last. A pose lies in
`Slots.extras`, so that it goes with the slots wherever they are chosen or mixed. Source: Biza et al. 2023,
"Invariant Slot Attention", section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from slotlab.framework.contracts import Size, Slots

POSITION, SCALE, ROTATION = "position", "scale", "rotation"
"""The names of a pose's parts in `Slots.extras`."""


@dataclass(frozen=True)
class Pose:
    """The pose of each slot; floats."""

    position_BK2: Tensor
    """The center, (y, x) in [-1, 1]."""
    scale_BK2: Tensor | None = None
    """The extent along the slot's own (y, x) axes, positive; None if slots have no scale."""
    rotation_BK22: Tensor | None = None
    """A rotation matrix for (x, y), its columns the slot's axes; None if slots are not turned."""

    @classmethod
    def of(cls, slots: Slots) -> Self | None:
        """Return the pose of slots, or None if they have none."""
        position_BK2 = slots.extras.get(POSITION)
        if position_BK2 is None:
            return None
        return cls(position_BK2, slots.extras.get(SCALE), slots.extras.get(ROTATION))

    def put_in(self, extras: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return `Slots.extras` with this pose in the place of any other, of which nothing is left."""
        parts = {POSITION: self.position_BK2, SCALE: self.scale_BK2, ROTATION: self.rotation_BK22}
        others = {name: extra for name, extra in extras.items() if name not in parts}
        return others | {name: part for name, part in parts.items() if part is not None}

    def relative(self, coordinates_N2: Tensor, factor: float) -> Tensor:
        """Return coordinates as each slot sees them, (B, K, N, 2).

        Args:
            coordinates_N2: (y, x) of the places.
            factor: divides what is scaled, since scales are small; without scales it is not used.
        """
        offsets_BKN2 = coordinates_N2 - self.position_BK2[:, :, None]
        if self.rotation_BK22 is not None:
            offsets_BKN2 = turned(offsets_BKN2, self.rotation_BK22)
        if self.scale_BK2 is not None:
            offsets_BKN2 = offsets_BKN2 / factor / self.scale_BK2[:, :, None]
        return offsets_BKN2


@runtime_checkable
class RelativePosition(Protocol):
    """A position code that may be of coordinates as each slot sees them, for decoders."""

    relative: bool
    """Whether it is, with its present settings."""

    def follow(self, features_MCHW: Tensor, slots: Slots) -> Tensor:
        """Return the features, M = B * K maps, with the code of each slot's own coordinates."""


def coordinates(grid: Size) -> Tensor:
    """Return (y, x) of each place of a grid, row by row, in [-1, 1]; float of shape (N, 2)."""
    y_HW, x_HW = torch.meshgrid(*(torch.linspace(-1, 1, side) for side in grid), indexing="ij")
    return torch.stack([y_HW, x_HW], dim=-1).flatten(0, 1)


def turned(offsets_BKN2: Tensor, rotation_BK22: Tensor) -> Tensor:
    """Return (y, x) offsets in axes that are turned: against the rotation of the slot."""
    # No matrix product, which half precision would round.
    terms_BKN22 = offsets_BKN2.flip(-1)[..., None] * rotation_BK22[:, :, None]
    return terms_BKN22.sum(dim=-2).flip(-1)


def rotation(angle_BK: Tensor) -> Tensor:
    """Return the matrices (B, K, 2, 2) of rotations by angles in radians."""
    cosine_BK, sine_BK = angle_BK.cos(), angle_BK.sin()
    rows = (torch.stack([cosine_BK, -sine_BK], dim=-1), torch.stack([sine_BK, cosine_BK], dim=-1))
    return torch.stack(rows, dim=-2)


def main_angle(offsets_BKN2: Tensor, weights_BKN: Tensor, *, quarter: bool) -> Tensor:
    """Return the angle (B, K) of the longest axis of weighted places, in radians.

    Args:
        offsets_BKN2: (y, x) of the places from their mean.
        weights_BKN: not negative, with a sum of about one over N.
        quarter: whether to name the axis that is nearer to horizontal, so that angles are within 45 degrees;
            if not, they are within 90.

    Where the axes lie along the grid already, or all weights are zero, there is no gradient, and the angle is
    0; within 90 degrees it is -90 degrees there, unless x has the larger variance.
    """
    y_BKN, x_BKN = offsets_BKN2.unbind(-1)
    covariance_BK = (weights_BKN * x_BKN * y_BKN).sum(-1)
    difference_BK = (weights_BKN * (x_BKN.square() - y_BKN.square())).sum(-1)
    aligned_BK = covariance_BK.abs() < 1e-6
    # The gradient of atan2 is infinite at the origin; what is aligned gets other numbers, and none of it.
    safe_BK = torch.where(aligned_BK, torch.ones_like(difference_BK), difference_BK)
    angle_BK = torch.atan2(2 * covariance_BK, safe_BK) / 2
    if quarter:
        angle_BK = torch.where(angle_BK.abs() > pi / 4, angle_BK - angle_BK.sign() * pi / 2, angle_BK)
        return torch.where(aligned_BK, torch.zeros_like(angle_BK), angle_BK)
    upright_BK = (difference_BK <= 0) * torch.full_like(angle_BK, -pi / 2)
    return torch.where(aligned_BK, upright_BK, angle_BK)
