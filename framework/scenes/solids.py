"""Intersections of rays with solids of unit size, upright and centered on the origin.

Closed forms are the textbook quadratics and slabs (Glassner 1989, "An Introduction to Ray
Tracing", chapter 2). Torus and blob are traced by their distance (see `solids_by_distance`). Axes: R
rays of n samples; every ray has length 1 and starts outside the solid, or on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from slotlab.framework.scenes.solids_by_distance import (
    BLOB_LOW,
    TORUS,
    TORUS_TUBE,
    balls_of,
    blob_slope,
    meet_blob,
    meet_torus,
    torus_slope,
)
from slotlab.framework.scenes.vectors import normalize

Shape = Literal["cube", "sphere", "cylinder", "blob", "cone", "icosahedron", "torus", "capsule"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
HOLLOW: tuple[Shape, ...] = ("blob", "torus")
"""The shapes that can cast a shadow on themselves."""

INF = float("inf")
_NEAR = 1e-3
"""Hits closer than this belong to the surface that the ray starts from."""
_TINY = 1e-9
_CUBE = 0.5**0.5
_CYLINDER = 0.85
_CONE = 0.95
_CAPSULE = 0.55
_GOLD = (1 + 5**0.5) / 2
_INRADIUS = 0.9
"""The inradius of the icosahedron; its corners are at 1.13."""


@dataclass(frozen=True)
class Extent:
    """The room that a solid of size 1 takes, in units of its size."""

    half_height: float
    footprint: float
    """The radius of the bounding circle on the ground."""
    bound: float
    """The radius of the bounding sphere around its center."""


EXTENTS: dict[Shape, Extent] = {
    "cube": Extent(_CUBE, _CUBE * 2**0.5, _CUBE * 3**0.5),
    "sphere": Extent(1.0, 1.0, 1.0),
    "cylinder": Extent(1.0, _CYLINDER, (1 + _CYLINDER**2) ** 0.5),
    "blob": Extent(-BLOB_LOW, 1.0, 1.15),
    "cone": Extent(1.0, _CONE, (1 + _CONE**2) ** 0.5),
    "icosahedron": Extent(_INRADIUS, 1.14, 1.14),
    "torus": Extent(TORUS_TUBE, TORUS + TORUS_TUBE, TORUS + TORUS_TUBE),
    "capsule": Extent(1.0, _CAPSULE, 1.0),
}


def meet_sphere(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the sphere begins; inf for a miss."""
    enter, leave = _roots(torch.ones_like(ray_3Rn[0]), origin_3Rn, ray_3Rn, 3, 1.0)
    return _first(enter, leave)


def meet_cylinder(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the cylinder begins; inf for a miss."""
    side = ray_3Rn[0] * ray_3Rn[0] + ray_3Rn[1] * ray_3Rn[1]
    walls = _roots(side, origin_3Rn, ray_3Rn, 2, _CYLINDER)
    return _first(*_cut(walls, _slab(origin_3Rn[2], ray_3Rn[2], 1.0)))


def meet_cube(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the cube begins; inf for a miss."""
    inside = _slab(origin_3Rn[0], ray_3Rn[0], _CUBE)
    for axis in (1, 2):
        inside = _cut(inside, _slab(origin_3Rn[axis], ray_3Rn[axis], _CUBE))
    return _first(*inside)


def meet_icosahedron(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the icosahedron begins: ten pairs of faces; inf for a miss."""
    inside: tuple[Tensor, Tensor] | None = None
    for x, y, z in _faces():
        place = x * origin_3Rn[0] + y * origin_3Rn[1] + z * origin_3Rn[2]
        slab = _slab(place, x * ray_3Rn[0] + y * ray_3Rn[1] + z * ray_3Rn[2], _INRADIUS)
        inside = slab if inside is None else _cut(inside, slab)
    assert inside is not None
    return _first(*inside)


def meet_cone(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the cone begins; inf for a miss.

    Its apex is at z = 1, its base at z = -1. The quadratic also describes the mirrored cone
    above the apex, so its roots count only where z is in range.
    """
    (x, y, z), (dx, dy, dz) = origin_3Rn, ray_3Rn
    slope = (_CONE / 2) ** 2
    a = _nonzero(dx * dx + dy * dy - slope * dz * dz)
    b = x * dx + y * dy + slope * (1 - z) * dz
    c = x * x + y * y - slope * (1 - z) * (1 - z)
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    nearest = torch.full_like(a, INF)
    for hit in ((-b - root) / a, (-b + root) / a):
        valid = (inside > 0) & ((z + hit * dz).abs() <= 1) & (hit > _NEAR)
        nearest = torch.where(valid, torch.minimum(nearest, hit), nearest)
    base = (-1 - z) / _nonzero(dz)
    across, along = x + base * dx, y + base * dy
    valid = (across * across + along * along <= _CONE**2) & (base > _NEAR)
    return torch.where(valid, torch.minimum(nearest, base), nearest)


def meet_capsule(balls_16M: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return how far along each ray the capsule, two balls and a tube, begins; inf for a miss."""
    side = ray_3Rn[0] * ray_3Rn[0] + ray_3Rn[1] * ray_3Rn[1]
    walls = _roots(side, origin_3Rn, ray_3Rn, 2, _CAPSULE)
    nearest = _first(*_cut(walls, _slab(origin_3Rn[2], ray_3Rn[2], 1 - _CAPSULE)))
    for height in (_CAPSULE - 1, 1 - _CAPSULE):
        moved = torch.stack([origin_3Rn[0], origin_3Rn[1], origin_3Rn[2] - height])
        ball = _first(*_roots(torch.ones_like(side), moved, ray_3Rn, 3, _CAPSULE))
        nearest = torch.minimum(nearest, ball)
    return nearest


def sphere_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals of length 1 at points of the sphere."""
    return normalize(points_3Rn)


def cube_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the cube."""
    x, y, z = points_3Rn.abs()
    on_x, on_y = (x >= y) & (x >= z), y >= z
    axes = torch.stack([on_x, ~on_x & on_y, ~on_x & ~on_y])
    return axes * points_3Rn.sign()


def cylinder_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the cylinder."""
    x, y, z = points_3Rn
    radius = (x * x + y * y).clamp(min=1e-12).sqrt()
    flat = 1 - z.abs() < _CYLINDER - radius
    return torch.stack([~flat * x / radius, ~flat * y / radius, flat * z.sign()])


def cone_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the cone."""
    x, y, z = points_3Rn
    radius = (x * x + y * y).clamp(min=1e-12).sqrt()
    flat = z + 1 < _CONE / 2 * (1 - z) - radius
    length = (1 + (_CONE / 2) ** 2) ** 0.5
    upward = ~flat * (_CONE / 2 / length) - flat.float()
    return torch.stack([~flat * x / radius / length, ~flat * y / radius / length, upward])


def icosahedron_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the icosahedron: the face that reaches furthest."""
    best = torch.zeros_like(points_3Rn[0])
    normals_3Rn = torch.zeros_like(points_3Rn)
    for x, y, z in _faces():
        reach = x * points_3Rn[0] + y * points_3Rn[1] + z * points_3Rn[2]
        further, sign = reach.abs() > best, reach.sign()
        face_3Rn = torch.stack([x * sign, y * sign, z * sign])
        normals_3Rn = torch.where(further, face_3Rn, normals_3Rn)
        best = torch.maximum(best, reach.abs())
    return normals_3Rn


def capsule_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the capsule."""
    x, y, z = points_3Rn
    middle = z.clamp(_CAPSULE - 1, 1 - _CAPSULE)
    return normalize(torch.stack([x, y, z - middle]))


def torus_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the torus."""
    return torus_slope(points_3Rn)


def blob_normals(balls_16M: Tensor, points_3Rn: Tensor, body_R1: Tensor) -> Tensor:
    """Return outward normals at points of the blob."""
    return blob_slope(points_3Rn, balls_of(balls_16M, body_R1))


Meet = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Normals = Callable[[Tensor, Tensor, Tensor], Tensor]
SOLIDS: dict[Shape, tuple[Meet, Normals]] = {
    "cube": (meet_cube, cube_normals),
    "sphere": (meet_sphere, sphere_normals),
    "cylinder": (meet_cylinder, cylinder_normals),
    "blob": (meet_blob, blob_normals),
    "cone": (meet_cone, cone_normals),
    "icosahedron": (meet_icosahedron, icosahedron_normals),
    "torus": (meet_torus, torus_normals),
    "capsule": (meet_capsule, capsule_normals),
}
"""The functions for intersections and for normals. Each takes the balls of all M blobs; the origins and
rays, or the points, in the solid's own axes; and the number among the M of each row's object, int64."""


def _roots(a: Tensor, origin_3Rn: Tensor, ray_3Rn: Tensor, axes: int, radius: float) -> tuple[Tensor, Tensor]:
    # Where a ray is within `radius` of the origin (axes=3) or of the z axis (axes=2).
    b = origin_3Rn[0] * ray_3Rn[0] + origin_3Rn[1] * ray_3Rn[1]
    c = origin_3Rn[0] * origin_3Rn[0] + origin_3Rn[1] * origin_3Rn[1] - radius**2
    if axes == 3:
        b = b + origin_3Rn[2] * ray_3Rn[2]
        c = c + origin_3Rn[2] * origin_3Rn[2]
    a = a.clamp(min=_TINY)
    inside = b * b - a * c
    root = inside.clamp(min=0).sqrt()
    return ((-b - root) / a).masked_fill(inside <= 0, INF), (root - b) / a


def _slab(origin: Tensor, ray: Tensor, half: float) -> tuple[Tensor, Tensor]:
    # Where a ray is between -half and half along one axis.
    safe = _nonzero(ray)
    first, second = (-half - origin) / safe, (half - origin) / safe
    return torch.minimum(first, second), torch.maximum(first, second)


def _cut(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.maximum(a[0], b[0]), torch.minimum(a[1], b[1])


def _first(enter: Tensor, leave: Tensor) -> Tensor:
    return enter.masked_fill(~((enter < leave) & (enter > _NEAR)), INF)


def _nonzero(values: Tensor) -> Tensor:
    return values.masked_fill(values.abs() < _TINY, _TINY)


def _faces() -> list[tuple[float, float, float]]:
    # One of each pair of face normals, turned so that one pair is level with the ground.
    raw = [(1.0, sy, sz) for sy in (1.0, -1.0) for sz in (1.0, -1.0)]
    for sign in (1.0, -1.0):
        a, b = sign / _GOLD, _GOLD
        raw += [(0.0, a, b), (a, b, 0.0), (b, 0.0, a)]
    cos, sin = _leveling()
    length = 3**0.5
    return [(x / length, (cos * y - sin * z) / length, (sin * y + cos * z) / length) for x, y, z in raw]


def _leveling() -> tuple[float, float]:
    # Turns the normal (0, 1/gold, gold) around the x axis onto the z axis.
    length = 3**0.5
    return _GOLD / length, 1 / _GOLD / length
