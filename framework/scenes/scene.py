"""What stands where, under which light, seen from where: drawn at random.

Modeled on CLEVRTex (Karazija et al. 2021): a camera that looks down at objects of mixed
sizes on a ground, with jittered camera and lights. Lengths are in CLEVR's world units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.colors import GroundColors, draw_ground, draw_object, mean
from slotlab.framework.scenes.geometry import EXTENTS, Floats, Shape, turn
from slotlab.framework.scenes.textures import Family, Texture, draw_family, draw_texture

Vector = tuple[float, float, float]

_HALF_VIEW = 0.274
"""Tangent of half the angle seen along the smaller side: CLEVRTex's after its crop."""
_BELOW_HORIZON = np.deg2rad(7.0)
"""The picture's top edge looks at least so far down: no sky."""
_GAP = 0.12
"""Least distance between the footprints of two objects."""
_PLACINGS = 60


@dataclass(frozen=True)
class Recipe:
    """What scenes are made of."""

    shapes: tuple[Shape, ...]
    textures: tuple[Family, ...]
    ground_textures: tuple[Family, ...]
    size_range: tuple[float, float]
    """Least and greatest size (a sphere's radius), in world units."""
    ground_colors: GroundColors = "any"


@dataclass(frozen=True)
class Body:
    """One object, upright on the ground."""

    shape: Shape
    size: float
    x: float
    y: float
    yaw: float
    """Turn around the vertical, in radians."""
    texture: Texture
    gloss: float
    """Strength of the highlight."""

    @property
    def center(self) -> Vector:
        """The middle of the solid."""
        return self.x, self.y, EXTENTS[self.shape].half_height * self.size

    def to_local(self, vectors_3N: Floats) -> Floats:
        """Turn and scale world vectors (not points) to the solid's own axes."""
        local_3N: Floats = turn(vectors_3N, -self.yaw) / np.float32(self.size)
        return local_3N


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera."""

    position: Vector
    axes_33: Floats
    """Rows: right, up and forward, of length 1."""

    def rays(self, size: Size, samples: int) -> Floats:
        """Return directions of length 1, (3, N), N = rows*samples*columns*samples, row by row."""
        rows, columns = size
        step = 2 * _HALF_VIEW / min(size)
        u = (((np.arange(columns * samples) + 0.5) / samples - columns / 2) * step).astype(np.float32)
        v = ((rows / 2 - (np.arange(rows * samples) + 0.5) / samples) * step).astype(np.float32)
        u_N, v_N = np.tile(u, len(v)), np.repeat(v, len(u))
        right_3, up_3, forward_3 = self.axes_33[:, :, None]
        direction_3N: Floats = (right_3 * u_N + up_3 * v_N + forward_3) / np.sqrt(u_N**2 + v_N**2 + 1)
        return direction_3N

    def project(self, point: Vector) -> tuple[float, float, float]:
        """Return (u, v, depth): 1 is the smaller side's edge, v up; depth in world units."""
        right, up, depth = (self.axes_33 @ (np.array(point) - np.array(self.position))).tolist()
        return right / depth / _HALF_VIEW, up / depth / _HALF_VIEW, depth


@dataclass(frozen=True)
class Lights:
    """A key light that casts shadows, a fill light that does not, and light from all around."""

    key: Vector
    """Position of the key light, a point."""
    key_power: float
    """Brightness of a white surface under the key light at the scene's middle."""
    fill: Vector
    """Direction toward the fill light, of length 1."""
    fill_power: float
    ambient: float


@dataclass(frozen=True)
class Scene:
    """All that a picture shows. Body i has mask value i + 1."""

    camera: Camera
    lights: Lights
    ground: Texture
    bodies: tuple[Body, ...]


def draw_scene(rng: np.random.Generator, recipe: Recipe, size: Size, count: int) -> Scene | None:
    """Draw a scene of `count` objects, none in another; None if they found no room."""
    camera, lights = draw_camera(rng, size), draw_lights(rng)
    places = _draw_places(rng, recipe, camera, size, count)
    if places is None:
        return None
    ground_colors = draw_ground(rng, recipe.ground_colors)
    family = draw_family(rng, recipe.ground_textures)
    ground = draw_texture(rng, family, ground_colors, flat=True, scale=rng.uniform(0.9, 1.8))
    used = [ground_colors[0] if family == "plain" else mean(ground_colors)]
    bodies = []
    for shape, radius, x, y in places:
        colors = draw_object(rng, used)
        used.append(colors[0])
        family = draw_family(rng, recipe.textures)
        texture = draw_texture(rng, family, colors, flat=False, scale=1.0)
        gloss = float(rng.uniform(0.02, 0.3))
        bodies.append(Body(shape, radius, x, y, float(rng.uniform(0, 2 * np.pi)), texture, gloss))
    return Scene(camera, lights, ground, tuple(bodies))


def draw_camera(rng: np.random.Generator, size: Size) -> Camera:
    """Draw a camera that looks at the middle from about 11 units away, 24 to 34 degrees up."""
    distance, tilt = rng.uniform(10.3, 12.0), np.deg2rad(rng.uniform(25, 34))
    target_3 = np.array([*rng.uniform(-0.3, 0.3, 2), 0.4])
    # A tall picture sees further up: look down more steeply, short of straight down.
    tilt = min(max(tilt, np.arctan(_HALF_VIEW * size[0] / min(size)) + _BELOW_HORIZON), np.deg2rad(85))
    yaw = rng.uniform(-0.12, 0.12)
    forward_3 = np.array([np.sin(yaw) * np.cos(tilt), np.cos(yaw) * np.cos(tilt), -np.sin(tilt)])
    right_3 = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    axes_33 = np.stack([right_3, np.cross(right_3, forward_3), forward_3]).astype(np.float32)
    return Camera(_vector(target_3 - distance * forward_3), axes_33)


def draw_lights(rng: np.random.Generator) -> Lights:
    """Draw lights: the key from one side and above, the fill from the other."""
    side = rng.choice([-1.0, 1.0])
    around, height = side * np.deg2rad(rng.uniform(20, 100)), np.deg2rad(rng.uniform(40, 65))
    key_3 = rng.uniform(8, 11) * _toward(around, height)
    fill_3 = _toward(-side * np.deg2rad(rng.uniform(20, 80)), np.deg2rad(rng.uniform(20, 50)))
    powers = rng.uniform([0.85, 0.2, 0.22], [1.2, 0.35, 0.32]).tolist()
    return Lights(_vector(key_3), powers[0], _vector(fill_3), powers[1], powers[2])


def _draw_places(
    rng: np.random.Generator, recipe: Recipe, camera: Camera, size: Size, count: int
) -> list[tuple[Shape, float, float, float]] | None:
    places: list[tuple[Shape, float, float, float]] = []
    wide, tall = size[1] / min(size), size[0] / min(size)
    for _ in range(count):
        shape = recipe.shapes[int(rng.integers(len(recipe.shapes)))]
        radius = float(rng.uniform(*recipe.size_range))
        for _ in range(_PLACINGS):
            x, y = float(rng.uniform(-3 * wide, 3 * wide)), float(rng.uniform(-4 * tall, 4 * tall))
            u, v, depth = camera.project((x, y, EXTENTS[shape].half_height * radius))
            edge = EXTENTS[shape].bound * radius / max(depth, 1.0) / _HALF_VIEW
            in_view = depth > 4 and abs(u) + 0.8 * edge < wide and abs(v) + 0.8 * edge < tall
            if in_view and _is_free(places, shape, radius, x, y):
                places.append((shape, radius, x, y))
                break
        else:
            return None
    return places


def _is_free(
    places: Sequence[tuple[Shape, float, float, float]], shape: Shape, radius: float, x: float, y: float
) -> bool:
    own = EXTENTS[shape].footprint * radius
    return all(
        np.hypot(x - other_x, y - other_y) > own + EXTENTS[other].footprint * other_radius + _GAP
        for other, other_radius, other_x, other_y in places
    )


def _toward(around: float, height: float) -> Floats:
    # Angle 0 is on the camera's side of the scene, which is at negative y.
    flat = np.cos(height)
    return np.array([np.sin(around) * flat, -np.cos(around) * flat, np.sin(height)], dtype=np.float32)


def _vector(values_3: np.ndarray[tuple[int], np.dtype[np.floating]]) -> Vector:
    x, y, z = (float(value) for value in values_3)
    return x, y, z
