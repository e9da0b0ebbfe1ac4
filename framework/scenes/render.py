"""From a scene to its picture and its mask, by casting rays.

A ray is tested against a solid only if it passes the solid's bounding sphere. Light:
Lambert and Blinn-Phong from the key light with hard shadows, Lambert from the fill light,
ambient light dimmed on the ground near objects (each taken for a sphere). All float32.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.geometry import EXTENTS, Floats, dot, intersect, normalize, normals, turn
from slotlab.framework.scenes.scene import Body, Recipe, Scene, Vector, draw_scene

_SAMPLES = 2
"""Color is the mean of so many rays along each side of a pixel."""
_SHININESS = 40
_MARGIN = 1.001
"""Bounding spheres are taken a little larger than they are, against rounding."""
_LEAST_SLOPE = 0.02
"""Rays go down at least so steeply: the ground reaches up to where the sky would be."""
_TRIES = 30
"""Scenes drawn before an object is given up."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A scene and what it looks like."""

    scene: Scene
    image_HW3: NDArray[np.uint8]
    mask_HW: NDArray[np.uint8]
    """0 for the ground, i + 1 for body i: the surface at the pixel's center."""


def draw_picture(
    rng: np.random.Generator, recipe: Recipe, size: Size, counts: tuple[int, int], min_visible: float
) -> Picture | None:
    """Draw a picture with counts[0] to counts[1] objects, each on `min_visible` of the picture.

    `min_visible` is a part of the pixels, of the middle square's where sides differ, as the
    smaller side sets how large objects look. The number of objects is drawn first, all alike
    likely. Scenes are drawn until one shows enough of every object; after 30 in vain there
    is one object fewer. None if not even counts[0] objects found room.
    """
    least = max(1, int(np.ceil(min_visible * min(size) ** 2)))
    for count in range(int(rng.integers(counts[0], counts[1] + 1)), counts[0] - 1, -1):
        for _ in range(_TRIES):
            scene = draw_scene(rng, recipe, size, count)
            if scene is None:
                continue
            mask_HW = render_mask(scene, size)
            if np.bincount(mask_HW.ravel(), minlength=count + 1)[1:].min() >= least:
                return Picture(scene, render_image(scene, size), mask_HW)
    return None


def render_mask(scene: Scene, size: Size) -> NDArray[np.uint8]:
    """Return what each pixel's center shows, uint8 of shape (rows, columns)."""
    _, ids_N = _trace(scene, scene.camera.rays(size, 1))
    return ids_N.reshape(size)


def render_image(scene: Scene, size: Size) -> NDArray[np.uint8]:
    """Return the picture, uint8 sRGB of shape (rows, columns, 3)."""
    rays_3N = scene.camera.rays(size, _SAMPLES)
    distance_N, ids_N = _trace(scene, rays_3N)
    points_3N = _column(scene.camera.position) + distance_N * rays_3N
    albedo_3N, normals_3N = np.empty_like(points_3N), np.zeros_like(points_3N)
    gloss_N = np.full(len(ids_N), 0.03, np.float32)
    floor_N = np.flatnonzero(ids_N == 0)
    albedo_3N[:, floor_N] = scene.ground.colors(points_3N[:, floor_N])
    normals_3N[2, floor_N] = 1
    for number, body in enumerate(scene.bodies, start=1):
        own_N = np.flatnonzero(ids_N == number)
        local_3N = body.to_local(points_3N[:, own_N] - _column(body.center))
        albedo_3N[:, own_N] = body.texture.colors(local_3N)
        normals_3N[:, own_N] = turn(normals(body.shape, local_3N), body.yaw)
        gloss_N[own_N] = body.gloss
    light_3N = _shade(scene, points_3N, normals_3N, rays_3N, ids_N, albedo_3N, gloss_N)
    rows, columns = size
    light_3HW = light_3N.reshape(3, rows, _SAMPLES, columns, _SAMPLES).mean(axis=(2, 4))
    srgb_3HW = np.clip(light_3HW, 0, 1) ** np.float32(1 / 2.2)
    return np.ascontiguousarray((255 * srgb_3HW + 0.5).astype(np.uint8).transpose(1, 2, 0))


def _trace(scene: Scene, rays_3N: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    # Distance to the nearest surface and its mask value.
    x, y, z = scene.camera.position
    distance_N = z / np.maximum(-rays_3N[2], np.float32(_LEAST_SLOPE))
    ids_N = np.zeros(rays_3N.shape[1], np.uint8)
    origin_31 = _column((x, y, z))
    for number, body in enumerate(scene.bodies, start=1):
        near_N = np.flatnonzero(_passes(body, origin_31, rays_3N))
        hits_N = _hits(body, origin_31, rays_3N[:, near_N])
        closer_N = hits_N < distance_N[near_N]
        distance_N[near_N[closer_N]] = hits_N[closer_N]
        ids_N[near_N[closer_N]] = number
    return distance_N, ids_N


def _passes(body: Body, origin_3N: Floats, rays_3N: Floats) -> NDArray[np.bool_]:
    # Whether rays of length 1 enter the body's bounding sphere ahead of their origin.
    to_center_3N = _column(body.center) - origin_3N
    along_N = dot(to_center_3N, rays_3N)
    reach = (EXTENTS[body.shape].bound * body.size * _MARGIN) ** 2
    inside_N: NDArray[np.bool_] = (dot(to_center_3N, to_center_3N) - along_N**2 < reach) & (along_N > 0)
    return inside_N


def _hits(body: Body, origin_3N: Floats, rays_3N: Floats) -> Floats:
    local_3N = body.to_local(origin_3N - _column(body.center))
    return intersect(body.shape, local_3N, body.to_local(rays_3N))


def _shade(
    scene: Scene,
    points_3N: Floats,
    normals_3N: Floats,
    rays_3N: Floats,
    ids_N: NDArray[np.uint8],
    albedo_3N: Floats,
    gloss_N: Floats,
) -> Floats:
    lights = scene.lights
    to_key_3N = _column(lights.key) - points_3N
    squared_N = dot(to_key_3N, to_key_3N)
    to_key_3N /= np.sqrt(squared_N)
    facing_N = np.maximum(dot(normals_3N, to_key_3N), 0)
    # Light of a point falls off with the square of the distance; 1 at the scene's middle.
    key_N = lights.key_power * sum(part**2 for part in lights.key) / squared_N
    key_N *= (facing_N > 0) & ~_shadow(scene, points_3N, to_key_3N, ids_N)
    halfway_3N = normalize(to_key_3N - rays_3N)
    shine_N = gloss_N * np.maximum(dot(normals_3N, halfway_3N), 0) ** _SHININESS
    fill_N = lights.fill_power * (0.5 + 0.5 * dot(normals_3N, _column(lights.fill)))
    around_N = (lights.ambient * (0.7 + 0.3 * normals_3N[2]) + fill_N) * _openness(scene, points_3N, ids_N)
    light_3N: Floats = albedo_3N * (key_N * facing_N + around_N) + key_N * shine_N
    return light_3N


def _shadow(
    scene: Scene, points_3N: Floats, to_key_3N: Floats, ids_N: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    # A convex body never shades a side of itself that faces the light.
    dark_N = np.zeros(len(ids_N), np.bool_)
    for number, body in enumerate(scene.bodies, start=1):
        near_N = np.flatnonzero(_passes(body, points_3N, to_key_3N) & (ids_N != number) & ~dark_N)
        hits_N = _hits(body, points_3N[:, near_N], to_key_3N[:, near_N])
        dark_N[near_N[np.isfinite(hits_N)]] = True
    return dark_N


def _openness(scene: Scene, points_3N: Floats, ids_N: NDArray[np.uint8]) -> Floats:
    # The part of the sky that a ground point sees past each object, were it a sphere
    # (Quilez, "sphere ambient occlusion"); 1 on the objects themselves.
    open_N = np.ones(len(ids_N), np.float32)
    floor_N = np.flatnonzero(ids_N == 0)
    x_N, y_N, _ = points_3N[:, floor_N]
    part_N = np.ones(len(floor_N), np.float32)
    for body in scene.bodies:
        x, y, z = body.center
        squared_N = (x_N - x) ** 2 + (y_N - y) ** 2 + z**2
        part_N *= 1 - np.minimum(0.8, z * body.size**2 / (squared_N * np.sqrt(squared_N)))
    open_N[floor_N] = part_N
    return open_N


def _column(vector: Vector) -> Floats:
    return np.array(vector, np.float32)[:, None]
