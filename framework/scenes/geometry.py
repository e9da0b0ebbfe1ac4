"""Where rays meet the solids, in closed form.

All solids are convex and given in local coordinates: centered on the origin, upright,
of unit size. Source: the textbook quadratics and slabs (Glassner 1989, "An Introduction
to Ray Tracing", chapter 2).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Shape = Literal["sphere", "cube", "cylinder", "cone"]

_NEAR = 1e-4
"""Hits closer than this are the surface the ray starts from."""
_TINY = 1e-9
_CUBE = 0.75
_CYLINDER = 0.72
_CONE = 0.95


@dataclass(frozen=True)
class Extent:
    """How much room a solid of size 1 takes, in units of its size."""

    half_height: float
    footprint: float
    """Radius of the circle on the ground that holds it."""
    bound: float
    """Radius of the sphere around its center that holds it."""


EXTENTS: dict[Shape, Extent] = {
    "sphere": Extent(1.0, 1.0, 1.0),
    "cube": Extent(_CUBE, _CUBE * 2**0.5, _CUBE * 3**0.5),
    "cylinder": Extent(1.0, _CYLINDER, (1 + _CYLINDER**2) ** 0.5),
    "cone": Extent(1.0, _CONE, (1 + _CONE**2) ** 0.5),
}


def dot(a_3N: Floats, b_3N: Floats) -> Floats:
    """Return the N inner products."""
    product_N: Floats = a_3N[0] * b_3N[0] + a_3N[1] * b_3N[1] + a_3N[2] * b_3N[2]
    return product_N


def normalize(vectors_3N: Floats) -> Floats:
    """Return vectors of length 1."""
    length_N: Floats = np.sqrt(np.maximum(dot(vectors_3N, vectors_3N), np.float32(1e-12)))
    return vectors_3N / length_N


def turn(vectors_3N: Floats, yaw: float) -> Floats:
    """Rotate around the z axis by `yaw` radians."""
    cosine, sine = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    turned_3N: Floats = np.empty_like(vectors_3N)
    turned_3N[0] = cosine * vectors_3N[0] - sine * vectors_3N[1]
    turned_3N[1] = sine * vectors_3N[0] + cosine * vectors_3N[1]
    turned_3N[2] = vectors_3N[2]
    return turned_3N


def intersect(shape: Shape, origin_3N: Floats, direction_3N: Floats) -> Floats:
    """Return how far along each ray the solid begins, in lengths of its direction; inf for a miss.

    Rays start outside the solid, or on it and leave it.
    """
    with np.errstate(over="ignore"):
        if shape == "cone":
            return _cone(origin_3N, direction_3N)
        if shape == "sphere":
            enter_N, leave_N = _roots(dot(direction_3N, direction_3N), origin_3N, direction_3N, 3, 1.0)
        elif shape == "cylinder":
            side_N = direction_3N[0] ** 2 + direction_3N[1] ** 2
            enter_N, leave_N = _roots(side_N, origin_3N, direction_3N, 2, _CYLINDER)
            enter_N, leave_N = _cut((enter_N, leave_N), _slab(origin_3N[2], direction_3N[2], 1.0))
        else:
            enter_N, leave_N = _slab(origin_3N[0], direction_3N[0], _CUBE)
            for axis in (1, 2):
                slab = _slab(origin_3N[axis], direction_3N[axis], _CUBE)
                enter_N, leave_N = _cut((enter_N, leave_N), slab)
    return np.where((enter_N < leave_N) & (enter_N > _NEAR), enter_N, np.float32(np.inf))


def normals(shape: Shape, points_3N: Floats) -> Floats:
    """Return the outward normals, of length 1, at points of the solid's surface."""
    if shape == "sphere":
        return normalize(points_3N)
    if shape == "cube":
        face_N = np.abs(points_3N).argmax(axis=0)
        return np.where(np.arange(3)[:, None] == face_N, np.sign(points_3N), 0).astype(np.float32)
    x_N, y_N, z_N = points_3N
    radius_N = np.sqrt(np.maximum(x_N**2 + y_N**2, 1e-12))
    if shape == "cylinder":
        side_3N, height = np.stack([x_N / radius_N, y_N / radius_N, 0 * z_N]), np.abs(z_N)
        flat_N = 1 - height < _CYLINDER - radius_N
    else:
        side_3N = normalize(np.stack([x_N / radius_N, y_N / radius_N, np.full_like(z_N, _CONE / 2)]))
        flat_N = z_N + 1 < _CONE / 2 * (1 - z_N) - radius_N
    cap_3N = np.stack([0 * z_N, 0 * z_N, np.sign(z_N) if shape == "cylinder" else -np.ones_like(z_N)])
    return np.where(flat_N, cap_3N, side_3N)


def _roots(
    a_N: Floats, origin_3N: Floats, direction_3N: Floats, axes: int, radius: float
) -> tuple[Floats, Floats]:
    # Where a ray is within `radius` of the origin (axes=3) or of the z axis (axes=2).
    b_N = (origin_3N[:axes] * direction_3N[:axes]).sum(axis=0)
    c_N = (origin_3N[:axes] ** 2).sum(axis=0) - radius**2
    a_N = np.maximum(a_N, _TINY)
    inside_N = b_N**2 - a_N * c_N
    root_N = np.sqrt(np.maximum(inside_N, 0))
    enter_N = np.where(inside_N > 0, (-b_N - root_N) / a_N, np.float32(np.inf))
    return enter_N, (-b_N + root_N) / a_N


def _slab(origin_N: Floats, direction_N: Floats, half: float) -> tuple[Floats, Floats]:
    # Where a ray is between -half and half along one axis.
    safe_N = _nonzero(direction_N)
    first_N, second_N = (-half - origin_N) / safe_N, (half - origin_N) / safe_N
    return np.minimum(first_N, second_N), np.maximum(first_N, second_N)


def _cut(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return np.maximum(a[0], b[0]), np.minimum(a[1], b[1])


def _cone(origin_3N: Floats, direction_3N: Floats) -> Floats:
    # Apex at z = 1, base of radius _CONE at z = -1; the quadratic also describes the mirrored
    # cone above the apex, so its roots count only where z is in range.
    (x_N, y_N, z_N), (dx_N, dy_N, dz_N) = origin_3N, direction_3N
    slope = (_CONE / 2) ** 2
    a_N = _nonzero(dx_N**2 + dy_N**2 - slope * dz_N**2)
    b_N = x_N * dx_N + y_N * dy_N + slope * (1 - z_N) * dz_N
    c_N = x_N**2 + y_N**2 - slope * (1 - z_N) ** 2
    inside_N = b_N**2 - a_N * c_N
    root_N = np.sqrt(np.maximum(inside_N, 0))
    nearest_N = np.full_like(a_N, np.inf)
    for hit_N in ((-b_N - root_N) / a_N, (-b_N + root_N) / a_N):
        valid_N = (inside_N > 0) & (np.abs(z_N + hit_N * dz_N) <= 1) & (hit_N > _NEAR)
        nearest_N = np.where(valid_N, np.minimum(nearest_N, hit_N), nearest_N)
    base_N = (-1 - z_N) / _nonzero(dz_N)
    in_disc_N = (x_N + base_N * dx_N) ** 2 + (y_N + base_N * dy_N) ** 2 <= _CONE**2
    return np.where(in_disc_N & (base_N > _NEAR), np.minimum(nearest_N, base_N), nearest_N)


def _nonzero(values_N: Floats) -> Floats:
    return np.where(np.abs(values_N) < _TINY, np.float32(_TINY), values_N)
