"""Solids intersected by sphere tracing: a torus, and a blob of balls that melt into each other.

Hart 1996, "Sphere tracing": a ray may always advance by its distance to the surface. The balls are joined
by Quilez' polynomial smooth minimum ("smooth minimum", 2013), which is never less than the distance to the
balls, each enlarged by a quarter of the softness. Therefore a trace of the blob begins where the ray enters
the first of the enlarged balls, and few steps are enough.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from slotlab.framework.scenes.vectors import cosine, dot, normalize, sine

TORUS = 0.7
TORUS_TUBE = 0.3
BLOB_LOW = -0.85
"""The height of the blob's lowest point."""
_SOFT = 0.24
_GROWN = 0.75 * _SOFT
"""The most by which three smooth minima can enlarge a ball."""
_STEPS = {"torus": (10, 20, 60), "blob": (4, 6, 10)}
"""The number of steps for all rays, then twice for those that have neither met nor passed the solid."""
_CLOSE = 2e-3
"""A ray that ends this close to the surface has met it."""
_NEAR = 1e-2
"""Hits closer than this belong to the surface that the ray starts from."""
_FLATTEST = {"torus": 1.0, "blob": 0.5}
"""The least slope for which the secant is used; with 1 steps are the distance itself."""
_GONE = 1.0
"""A ray at this distance has passed the solid, whose parts are all closer together."""

Distance = Callable[[Tensor, Tensor], Tensor]


def draw_balls(uniform_BK12: Tensor) -> Tensor:
    """Return the balls of blobs, (16, B, K): x, y, z and radius of a body and three lobes."""
    lobes = uniform_BK12.reshape(*uniform_BK12.shape[:2], 3, 4).unbind(2)
    body = torch.zeros_like(uniform_BK12[..., 0])
    rows = [body, body, body + (BLOB_LOW + 0.6), body + 0.6]
    for number, lobe in enumerate(lobes):
        around = (number + 0.6 * lobe[..., 0]) / 3
        reach = 0.4 + 0.15 * lobe[..., 1]
        rows += [reach * cosine(around), reach * sine(around)]
        rows += [0.75 * lobe[..., 2] - 0.2, 0.26 + 0.14 * lobe[..., 3]]
    return torch.stack(rows)


def ball_bound(balls_16BK: Tensor) -> Tensor:
    """Return the radius of the sphere around the origin that holds each blob."""
    x, y, z, radius = (balls_16BK[row::4] for row in range(4))
    return ((x * x + y * y + z * z).sqrt() + radius).amax(0) + 0.25 * _SOFT


def torus_distance(points_3Rn: Tensor, balls_16Rn: Tensor) -> Tensor:
    """Return the distance to a torus that lies on its side, negative inside."""
    x, y, z = points_3Rn
    ring = (x * x + y * y).sqrt() - TORUS
    distance_Rn: Tensor = (ring * ring + z * z).sqrt() - TORUS_TUBE
    return distance_Rn


def blob_distance(points_3Rn: Tensor, balls_16Rn: Tensor) -> Tensor:
    """Return a lower bound of the distance to the melted balls, negative inside."""
    x_4Rn, y_4Rn, z_4Rn = (points_3Rn[axis] - balls_16Rn[axis::4] for axis in range(3))
    away_4Rn = (x_4Rn * x_4Rn + y_4Rn * y_4Rn + z_4Rn * z_4Rn).sqrt() - balls_16Rn[3::4]
    total, *others = away_4Rn.unbind(0)
    for other in others:
        overlap = (_SOFT - (total - other).abs()).clamp(min=0)
        total = torch.minimum(total, other) - overlap * overlap * (0.25 / _SOFT)
    return total


def balls_of(balls_16M: Tensor, body_R1: Tensor) -> Tensor:
    """Return the balls of the blob that each row is of, (16, R, 1)."""
    return balls_16M.index_select(1, body_R1[:, 0])[..., None]


def meet_torus(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the torus begins; inf for a miss."""
    start = _enter_ball(origin_3Rn, ray_3Rn, TORUS + TORUS_TUBE)
    return _trace(torus_distance, origin_3Rn, ray_3Rn, balls_16M, start, "torus")


def meet_blob(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the blob begins; inf for a miss."""
    balls_16Rn = balls_of(balls_16M, body_R1)
    starts = [
        _enter_ball(origin_3Rn - balls_16Rn[ball : ball + 3], ray_3Rn, balls_16Rn[ball + 3] + _GROWN)
        for ball in range(0, 16, 4)
    ]
    start_Rn = torch.stack(starts).amin(0)
    # Only rays that reach a ball are traced, a third of those that come here.
    rows_R = torch.isfinite(start_Rn).any(1).nonzero()[:, 0]
    origin, ray, balls = (values.index_select(1, rows_R) for values in (origin_3Rn, ray_3Rn, balls_16Rn))
    hit = _trace(blob_distance, origin, ray, balls, start_Rn.index_select(0, rows_R), "blob")
    return torch.full_like(start_Rn, float("inf")).index_copy_(0, rows_R, hit)


def torus_slope(points_3Rn: Tensor) -> Tensor:
    """Return the direction away from a torus that lies on its side, of length 1."""
    x, y, z = points_3Rn
    radius = (x * x + y * y).clamp(min=1e-12).sqrt()
    inward = 1 - TORUS / radius
    return normalize(torch.stack([x * inward, y * inward, z]))


def blob_slope(points_3Rn: Tensor, balls_16Rn: Tensor) -> Tensor:
    """Return the direction away from the melted balls, of length 1: a mean of those from the balls."""
    total, slope = torch.zeros_like(points_3Rn[0]), torch.zeros_like(points_3Rn)
    for ball in range(0, 16, 4):
        away_3Rn = points_3Rn - balls_16Rn[ball : ball + 3]
        length_Rn = dot(away_3Rn, away_3Rn).clamp(min=1e-12).sqrt()
        gap_Rn = length_Rn - balls_16Rn[ball + 3]
        if not ball:
            total, slope = gap_Rn, away_3Rn / length_Rn
            continue
        # The slope of the smooth minimum, whose value is as in `blob_distance`.
        part_Rn = (0.5 + (total - gap_Rn) * (0.5 / _SOFT)).clamp(0, 1)
        slope = slope + part_Rn * (away_3Rn / length_Rn - slope)
        overlap = (_SOFT - (total - gap_Rn).abs()).clamp(min=0)
        total = torch.minimum(total, gap_Rn) - overlap * overlap * (0.25 / _SOFT)
    return normalize(slope)


def _enter_ball(origin_3Rn: Tensor, ray_3Rn: Tensor, radius: Tensor | float) -> Tensor:
    # How far ahead a ball around the origin begins, 0 inside it; inf for a miss.
    (x, y, z), (dx, dy, dz) = origin_3Rn, ray_3Rn
    b = x * dx + y * dy + z * dz
    inside = b * b - (x * x + y * y + z * z - radius * radius)
    root = inside.clamp(min=0).sqrt()
    missed = (inside <= 0) | (root < b)
    enter: Tensor = (-b - root).clamp(min=0).masked_fill(missed, float("inf"))
    return enter


def _trace(
    distance: Distance, origin_3Rn: Tensor, ray_3Rn: Tensor, balls_16Rn: Tensor, start: Tensor, solid: str
) -> Tensor:
    # Most rays end after few steps; those that pass close by a part of the solid go on.
    missed_Rn = torch.isinf(start)
    reached_Rn = start.masked_fill(missed_Rn, 0.0).clamp(min=_NEAR)
    for steps in _STEPS[solid]:
        gap_Rn = distance(origin_3Rn + reached_Rn * ray_3Rn, balls_16Rn)
        open_Rn = (gap_Rn > _CLOSE) & (gap_Rn < _GONE) & ~missed_Rn
        rows_R = open_Rn.any(1).nonzero()[:, 0]
        origin, ray = (values.index_select(1, rows_R) for values in (origin_3Rn, ray_3Rn))
        balls = balls_16Rn.index_select(1, rows_R) if solid == "blob" else balls_16Rn
        state = (reached_Rn.index_select(0, rows_R), gap_Rn.index_select(0, rows_R))
        ended = _march(distance, origin, ray, balls, state, steps, _FLATTEST[solid])
        reached_Rn = reached_Rn.index_copy(0, rows_R, ended)
    gap_Rn = distance(origin_3Rn + reached_Rn * ray_3Rn, balls_16Rn)
    return reached_Rn.masked_fill(missed_Rn | (gap_Rn > _CLOSE) | (reached_Rn <= _NEAR), float("inf"))


def _march(
    distance: Distance,
    origin_3Rn: Tensor,
    ray_3Rn: Tensor,
    balls_16Rn: Tensor,
    state: tuple[Tensor, Tensor],
    steps: int,
    flattest: float,
) -> Tensor:
    # Along a ray the distance to a ball is convex: a line through the last two steps meets zero
    # before the surface, so that the secant is as safe as the distance itself, and far faster.
    # Not so for a torus, which is hollow.
    reached_Rn, gap_Rn = state
    step_Rn = gap_Rn
    for _ in range(steps):
        reached_Rn = reached_Rn + step_Rn
        before_Rn, gap_Rn = gap_Rn, distance(origin_3Rn + reached_Rn * ray_3Rn, balls_16Rn)
        slope_Rn = (before_Rn - gap_Rn) / (step_Rn + (step_Rn == 0))
        # On the way out again the next part may be near: no more than the distance itself.
        slope_Rn = slope_Rn.clamp(flattest, 1.0).masked_fill(slope_Rn < 0, 1.0)
        step_Rn = (gap_Rn / slope_Rn).clamp(max=_GONE)
    return reached_Rn
