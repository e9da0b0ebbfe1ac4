"""Pinhole cameras similar to CLEVR's, one for each of B pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.counter_random import Chance
from slotlab.framework.scenes.vectors import cosine, dot, normalize, sine

HALF_VIEW = {"crop": 0.274, "full": 0.274 * 240 / 192}
"""The tangent of half the angle of view along the smaller side, by the recipe's `view`."""
_STEEPEST = 80.0
"""The steepest angle, in degrees, at which a camera looks down."""
_BELOW_HORIZON = 7.0
"""The least angle, in degrees, of the picture's top edge below the horizon, so that no sky is visible."""
_CAMERA, _TARGET = range(2)  # streams
CENTERS: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
"""The one sample of a pixel of masks and depth, as in `QUARTERS`."""
QUARTERS: tuple[tuple[float, float], ...] = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))
"""The samples of a pixel of the image: (row, column) in pixels from the pixel's center."""


@dataclass(frozen=True)
class Camera:
    """Cameras. All vectors are of shape (3, B); the axes have length 1."""

    position_3B: Tensor
    right_3B: Tensor
    up_3B: Tensor
    forward_3B: Tensor
    half_view: float
    size: Size

    @property
    def tall(self) -> float:
        """The picture's height in units of its smaller side."""
        return self.size[0] / min(self.size)

    @property
    def wide(self) -> float:
        """The picture's width in units of its smaller side."""
        return self.size[1] / min(self.size)

    @property
    def reach(self) -> float:
        """A distance from the camera, in world units, beyond which no object is."""
        return 20.0

    @property
    def pixel(self) -> float:
        """The width of a pixel at depth 1, in world units."""
        return 2 * self.half_view / min(self.size)

    def rays(self, samples: tuple[tuple[float, float], ...]) -> tuple[Tensor, Tensor]:
        """Return unit directions, (3, B, S, H*W), and the ratio of depth to distance, (1, S, H*W)."""
        rows, columns = self.size
        device = self.position_3B.device
        down_H = torch.arange(rows, device=device) + 0.5 - rows / 2
        right_W = torch.arange(columns, device=device) + 0.5 - columns / 2
        shape = (1, len(samples), rows, columns)
        v = torch.stack([-(down_H + row)[:, None].expand(rows, columns) for row, _ in samples])
        u = torch.stack([(right_W + column)[None, :].expand(rows, columns) for _, column in samples])
        v, u = (v * self.pixel).reshape(shape).flatten(2), (u * self.pixel).reshape(shape).flatten(2)
        scale = 1 / (u * u + v * v + 1).sqrt()
        u, v = u * scale, v * scale
        right, up, ahead = (axis[:, :, None, None] for axis in (self.right_3B, self.up_3B, self.forward_3B))
        return right * u + up * v + ahead * scale, scale

    def project(self, points_3Bm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (u, v, depth) of points of shape (3, B, ...), each of shape (B, ...).

        u points right and v up, both 1 at the edge of the smaller side; depth is in world units.
        """
        extra = (1,) * (points_3Bm.ndim - 2)
        away = points_3Bm - self.position_3B.reshape(3, -1, *extra)
        axes = (self.right_3B, self.up_3B, self.forward_3B)
        right, up, depth = (dot(axis.reshape(3, -1, *extra), away) for axis in axes)
        return right / depth / self.half_view, up / depth / self.half_view, depth

    def holds(self, points_3Bm: Tensor, radius_Bm: Tensor) -> Tensor:
        """Return whether balls are in view, except for a little of their edges; bool of shape (B, ...)."""
        u, v, depth = self.project(points_3Bm)
        edge = 0.8 * radius_Bm / depth.clamp(min=1) / self.half_view
        return (depth > 4) & (u.abs() + edge < self.wide) & (v.abs() + edge < self.tall)


def draw_camera(chance: Chance, view: str, size: Size) -> Camera:
    """Draw cameras that look at the middle of the field from about 11 units away and 29 degrees above.

    In the view `full` the camera stands on the field's diagonal, as CLEVR's does. In the view `crop` it looks
    along the y axis, so that the field fills the square.
    """
    jitter = chance.uniform(_CAMERA, 3, low=-1, high=1)
    target_3B = torch.cat(
        [0.25 * chance.uniform(_TARGET, 2, low=-1, high=1).T, torch.full_like(jitter[:, :1].T, 0.4)]
    )
    distance = 11.2 + 0.7 * jitter[:, 0]
    half_view = HALF_VIEW[view]
    # A tall picture sees further up: look down more steeply, short of straight down.
    least = math.degrees(math.atan(half_view * size[0] / min(size))) + _BELOW_HORIZON
    tilt = (29.5 + 4.5 * jitter[:, 1]).clamp(min=min(least, _STEEPEST)) / 360
    yaw = (0.125 if view == "full" else 0.0) + 0.018 * jitter[:, 2]
    ahead_3B = torch.stack([sine(-yaw) * cosine(tilt), cosine(yaw) * cosine(tilt), -sine(tilt)])
    right_3B = torch.stack([cosine(yaw), sine(yaw), torch.zeros_like(yaw)])
    up_3B = torch.stack(
        [
            right_3B[1] * ahead_3B[2] - right_3B[2] * ahead_3B[1],
            right_3B[2] * ahead_3B[0] - right_3B[0] * ahead_3B[2],
            right_3B[0] * ahead_3B[1] - right_3B[1] * ahead_3B[0],
        ]
    )
    position_3B = target_3B - distance * ahead_3B
    return Camera(position_3B, right_3B, normalize(up_3B), ahead_3B, half_view, size)
