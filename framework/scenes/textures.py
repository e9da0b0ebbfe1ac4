"""Solid textures: the color of a point of space, from a few random numbers.

Each family mixes two colors by a weight between 0 and 1 that depends on the point alone,
so that a pattern runs around edges as if cut from a block. Source: Perlin 1985, "An Image
Synthesizer" (solid textures, marble, wood), with value noise from a small table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from slotlab.framework.scenes.colors import Pair, linear
from slotlab.framework.scenes.geometry import Floats

Family = Literal["plain", "checker", "stripes", "dots", "marble", "wood", "speckle", "tiles"]
FAMILIES: tuple[Family, ...] = get_args(Family)

_SIDE = 16
"""Cells of the noise table along each axis; the noise repeats after so many."""
_FREQUENCY: dict[Family, tuple[float, float]] = {
    "plain": (1, 1),
    "checker": (1.3, 2.6),
    "stripes": (1.2, 2.6),
    "dots": (1.5, 2.6),
    "marble": (1.0, 1.8),
    "wood": (2.0, 3.5),
    "speckle": (4.0, 7.0),
    "tiles": (1.2, 2.2),
}
"""Range of the pattern's repeats in one unit of length."""
_SQUARE: frozenset[Family] = frozenset({"checker", "tiles"})
"""Families that keep to the solid's own axes; others are turned at random."""


@dataclass(frozen=True, eq=False)
class Texture:
    """A pattern in space."""

    family: Family
    colors_23: Floats
    """Two colors, linear RGB in [0, 1]."""
    frame_33: Floats
    """Rows are the pattern's axes times its frequency."""
    offset_3: Floats
    share: float
    """How much of the second color, in (0, 1)."""
    noise_SSS: Floats
    """Random numbers in [0, 1)."""

    def colors(self, points_3N: Floats) -> Floats:
        """Return linear RGB at each point, of shape (3, N)."""
        first_3, second_3 = self.colors_23
        if self.family == "plain":
            return np.repeat(first_3[:, None], points_3N.shape[1], axis=1)
        weight_N = self.weights(points_3N)
        mixed_3N: Floats = first_3[:, None] + weight_N * (second_3 - first_3)[:, None]
        return mixed_3N

    def weights(self, points_3N: Floats) -> Floats:
        """Return the second color's weight at each point, in [0, 1]."""
        x_N, y_N, z_N = points_3N
        rows = zip(self.frame_33, self.offset_3, strict=True)
        places_3N: Floats = np.stack([a * x_N + b * y_N + c * z_N + offset for (a, b, c), offset in rows])
        if self.family == "checker":
            odd_N: Floats = (np.floor(places_3N).sum(axis=0) % 2).astype(np.float32)
            return odd_N
        if self.family == "stripes":
            return _step(_wave(places_3N[0]), 1 - self.share, 0.12)
        if self.family == "dots":
            return self._dots(places_3N)
        if self.family == "marble":
            return _wave(places_3N[0] + 2.2 * self._noise(np.float32(1.3) * places_3N))
        if self.family == "wood":
            bent_N = _sample(self.noise_SSS, np.float32(0.6) * places_3N)
            rings_N: Floats = (np.sqrt(places_3N[0] ** 2 + places_3N[1] ** 2) + 0.8 * bent_N) % 1
            return rings_N
        if self.family == "speckle":
            return _step(self._noise(places_3N), 0.72 - 0.4 * self.share, 0.08)
        return self._tiles(places_3N)

    def _noise(self, places_3N: Floats) -> Floats:
        fine_N = _sample(self.noise_SSS, np.float32(2.03) * places_3N + np.float32(5.3))
        mixed_N: Floats = 0.65 * _sample(self.noise_SSS, places_3N) + 0.35 * fine_N
        return mixed_N

    def _dots(self, places_3N: Floats) -> Floats:
        # One ball in each cell, moved by less than its distance to the cell's walls.
        cell_3N = np.floor(places_3N)
        radius = 0.3 + 0.12 * self.share
        index_3N = cell_3N.astype(np.int32)
        shift_3N = np.stack([_lookup(self.noise_SSS, index_3N + step) for step in (0, 5, 11)]) - 0.5
        away_3N = places_3N - cell_3N - 0.5 - 2 * (0.5 - radius) * shift_3N
        return 1 - _step(np.sqrt((away_3N**2).sum(axis=0)), radius, 0.06)

    def _tiles(self, places_3N: Floats) -> Floats:
        # Tiles of random shades of the first color, joints of the second.
        cell_3N = np.floor(places_3N)
        inner_3N = np.abs(places_3N - cell_3N - 0.5)
        joint_N = (inner_3N[:2].max(axis=0) > 0.5 - 0.05 - 0.05 * self.share).astype(np.float32)
        cell_3N[2] = 0
        shade_N = np.float32(0.45) * _lookup(self.noise_SSS, cell_3N.astype(np.int32))
        weight_N: Floats = np.maximum(joint_N, shade_N)
        return weight_N


def draw_texture(
    rng: np.random.Generator, family: Family, colors: Pair, *, flat: bool, scale: float
) -> Texture:
    """Draw a texture. `flat` keeps the pattern upright, for the ground; `scale` enlarges it."""
    low, high = _FREQUENCY[family]
    frequency = rng.uniform(low, high) / scale
    frame_33 = _turned(rng.uniform(0, 2 * np.pi)) if flat else _rotation(rng)
    if family in _SQUARE and not flat:
        frame_33 = np.eye(3)
    offset_3 = rng.uniform(0, _SIDE, 3)
    if family == "wood":  # the rings' center must be near, or rings look like stripes
        offset_3 = rng.uniform(-1, 1, 3)
    if flat:  # the ground cuts the cells of dots and checks in their middle
        offset_3[2] = 0.5
    return Texture(
        family=family,
        colors_23=np.array([linear(color) for color in colors], dtype=np.float32),
        frame_33=(frequency * frame_33).astype(np.float32),
        offset_3=offset_3.astype(np.float32),
        share=float(rng.uniform(0.3, 0.7)),
        noise_SSS=rng.random((_SIDE, _SIDE, _SIDE), dtype=np.float32),
    )


def draw_family(rng: np.random.Generator, families: Sequence[Family]) -> Family:
    """Draw one of `families`, all alike likely."""
    return families[int(rng.integers(len(families)))]


def _turned(yaw: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _rotation(rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    # From a random unit quaternion, which makes all directions alike likely.
    quaternion_4 = rng.normal(size=4)
    w, x, y, z = (quaternion_4 / np.sqrt((quaternion_4**2).sum())).tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _wave(phase_N: Floats) -> Floats:
    wave_N: Floats = 0.5 + 0.5 * np.sin(2 * np.pi * phase_N)
    return wave_N


def _step(values_N: Floats, edge: float, softness: float) -> Floats:
    ramp_N: Floats = np.clip((values_N - edge) / softness + 0.5, 0, 1)
    return ramp_N


def _lookup(noise_SSS: Floats, index_3N: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> Floats:
    x_N, y_N, z_N = index_3N & (_SIDE - 1)
    found_N: Floats = noise_SSS.ravel()[(x_N * _SIDE + y_N) * _SIDE + z_N]
    return found_N


def _sample(noise_SSS: Floats, places_3N: Floats) -> Floats:
    # Smooth between the 8 corners of each point's cell.
    base_3N = np.floor(places_3N)
    x_N, y_N, z_N = places_3N - base_3N
    x_N, y_N, z_N = (part * part * (3 - 2 * part) for part in (x_N, y_N, z_N))
    low_3N = base_3N.astype(np.int32) & (_SIDE - 1)
    high_3N = (low_3N + 1) & (_SIDE - 1)
    table = noise_SSS.ravel()
    total_N: Floats = np.zeros_like(x_N)
    for x_index, x_part in ((low_3N[0], 1 - x_N), (high_3N[0], x_N)):
        for y_index, y_part in ((low_3N[1], 1 - y_N), (high_3N[1], y_N)):
            row_N = (x_index * _SIDE + y_index) * _SIDE
            below_N, above_N = table[row_N + low_3N[2]], table[row_N + high_3N[2]]
            total_N += x_part * y_part * (below_N + z_N * (above_N - below_N))
    return total_N
