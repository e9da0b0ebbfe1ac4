"""Laws of the scenes' solids: rays meet them where marching through their definitions does."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from slotlab.framework.scenes.counter_random import Chance, picture_keys
from slotlab.framework.scenes.solids import EXTENTS, SHAPES, SOLIDS, Shape
from slotlab.framework.scenes.solids_by_distance import draw_balls

Floats = NDArray[np.float64]
RAYS = 900


@cache
def balls() -> torch.Tensor:
    chance = Chance(picture_keys(0, 0, torch.arange(RAYS)))
    return draw_balls(chance.uniform(0, 1, 12))[:, :, 0]


def gap(shape: Shape, points_3N: Floats) -> Floats:
    """Below 0 inside the solid: written from its definition, not from the rays' formulas."""
    x, y, z = points_3N
    radius = np.hypot(x, y)
    extent = EXTENTS[shape]
    if shape == "sphere":
        return np.sqrt(radius**2 + z**2) - 1
    if shape == "cube":
        return np.abs(points_3N).max(axis=0) - extent.half_height
    if shape == "cylinder":
        return np.maximum(radius / extent.footprint, np.abs(z)) - 1
    if shape == "cone":
        return np.maximum(2 * radius / extent.footprint + z, -z) - 1
    if shape == "capsule":
        tube = extent.footprint
        return np.hypot(radius, z - np.clip(z, tube - 1, 1 - tube)) - tube
    if shape == "torus":
        tube = extent.half_height
        return np.hypot(radius - (extent.footprint - tube), z) - tube
    if shape == "icosahedron":
        return (dodecahedron() @ points_3N).max(axis=0) - extent.half_height
    return melted(points_3N)


@cache
def dodecahedron() -> Floats:
    """The icosahedron's face normals, from its twelve corners: every three that are neighbors."""
    gold = (1 + 5**0.5) / 2
    corners = np.array([[0, b * gold, a] for a in (-1, 1) for b in (-1, 1)], dtype=float)
    corners = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    normals = []
    for i in range(12):
        for j in range(i):
            for k in range(j):
                sides = [np.linalg.norm(corners[a] - corners[b]) for a, b in ((i, j), (j, k), (i, k))]
                if np.allclose(sides, 2):
                    normals.append(corners[[i, j, k]].sum(axis=0))
    faces = np.array(normals) / np.linalg.norm(normals, axis=1, keepdims=True)
    assert len(faces) == 20
    upward = faces[np.argmax(faces @ [0, 1 / gold, gold])]
    x = np.array([1.0, 0, 0])
    return faces @ np.stack([x, np.cross(upward, x), upward]).T


def melted(points_3N: Floats) -> Floats:
    rows = balls().double().numpy()
    total = None
    for ball in range(0, 16, 4):
        x, y, z, radius = rows[ball : ball + 4]
        away = np.sqrt(((points_3N - np.stack([x, y, z])) ** 2).sum(axis=0)) - radius
        if total is None:
            total = away
        else:
            part = np.clip(0.5 + 0.5 * (away - total) / 0.24, 0, 1)
            total = away * (1 - part) + total * part - 0.24 * part * (1 - part)
    assert total is not None
    return total


@cache
def rays() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    origin_3N = rng.normal(size=(3, RAYS))
    origin_3N *= 4 / np.linalg.norm(origin_3N, axis=0)
    direction_3N = rng.uniform(-0.8, 0.8, size=(3, RAYS)) - origin_3N
    return origin_3N, direction_3N / np.linalg.norm(direction_3N, axis=0)


def single(values_3N: Floats) -> torch.Tensor:
    return torch.from_numpy(values_3N).float()[..., None]


@pytest.mark.parametrize("shape", SHAPES)
def test_rays_meet_each_solid_where_marching_does(shape: Shape) -> None:
    origin_3N, direction_3N = rays()
    meet, normals = SOLIDS[shape]
    body_R1 = torch.arange(RAYS)[:, None]
    hit_N = meet(balls(), single(origin_3N), single(direction_3N), body_R1)[:, 0].double().numpy()
    steps = np.linspace(2.6, 5.4, 1401)
    inside_SN = np.stack([gap(shape, origin_3N + step * direction_3N) < 0 for step in steps])
    marched_N = np.where(inside_SN.any(axis=0), steps[inside_SN.argmax(axis=0)], np.inf)
    both_N = np.isfinite(hit_N) & np.isfinite(marched_N)
    assert both_N.sum() > 300
    near_N = np.abs(hit_N[both_N] - marched_N[both_N]) < 0.008
    # Marching may step over a grazed edge, and sphere tracing stop short of one.
    assert (~near_N).sum() <= 8
    assert (np.isinf(hit_N) & np.isfinite(marched_N)).sum() <= 8
    assert (np.isfinite(hit_N) & np.isinf(marched_N)).sum() <= 8

    good_N = both_N.copy()
    good_N[both_N] = near_N
    points_3N = origin_3N + np.where(good_N, hit_N, 0) * direction_3N
    normals_3N = normals(balls(), single(points_3N), body_R1)[..., 0].double().numpy()
    outside_N = gap(shape, points_3N + 0.01 * normals_3N) > 0
    inside_N = gap(shape, points_3N - 0.012 * normals_3N) < 0
    np.testing.assert_allclose(np.linalg.norm(normals_3N[:, good_N], axis=0), 1, atol=1e-4)
    assert ((normals_3N * direction_3N).sum(axis=0)[good_N] < 0.05).all()
    assert outside_N[good_N].all()
    assert inside_N[good_N].mean() > 0.98  # not at a sharp edge


@pytest.mark.parametrize("shape", SHAPES)
def test_solids_fit_their_extents(shape: Shape) -> None:
    rng = np.random.default_rng(1)
    extent = EXTENTS[shape]
    touched = False
    for _ in range(40):
        points_3N = rng.uniform(-1.4, 1.4, size=(3, RAYS))
        inside_3N = points_3N[:, gap(shape, points_3N) < 0]
        assert np.linalg.norm(inside_3N, axis=0).max() <= extent.bound
        assert np.hypot(inside_3N[0], inside_3N[1]).max() <= extent.footprint
        assert inside_3N[2].min() >= -extent.half_height - 1e-6
        touched |= bool(inside_3N[2].min() < -0.8 * extent.half_height)
    assert touched


@pytest.mark.parametrize("shape", SHAPES)
def test_rays_that_leave_a_surface_do_not_meet_it(shape: Shape) -> None:
    origin_3N, direction_3N = rays()
    meet, normals = SOLIDS[shape]
    body_R1 = torch.arange(RAYS)[:, None]
    hit_N1 = meet(balls(), single(origin_3N), single(direction_3N), body_R1)
    keep = torch.isfinite(hit_N1[:, 0])
    points = (single(origin_3N) + hit_N1.nan_to_num(posinf=0.0) * single(direction_3N))[:, keep]
    outward = normals(balls(), points, body_R1[keep])
    again = meet(balls(), points + 0.02 * outward, outward, body_R1[keep])
    if shape != "torus":  # a ray may leave its inside and meet the other side
        assert torch.isinf(again).float().mean() > (0.97 if shape == "blob" else 0.9999)
