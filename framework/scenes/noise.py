"""Periodic noise in tables, made once per device and read with linear interpolation.

Fields: two fractal sums of gradient noise (Perlin 1985, "An image synthesizer"); and of cells around
scattered points (Worley 1996, "A cellular texture basis function") the distance to the nearest point, the
difference to the second nearest, and a random shade. The ground has a plane of 64 x 64 lattice cells,
objects have a cube of 8 x 8 x 8. Tables are computed on the CPU in exact integers and separately rounded
steps.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from slotlab.framework.scenes.counter_random import mix, signed

FIELDS = ("first", "second", "near", "border", "shade")
_TEXELS = 8
"""The number of table entries per lattice cell along each axis."""
_PLANE = 64
_CUBE = 8
_TILES = 8
"""The cube's layers lie beside each other in one picture: this is their number per row."""
_OCTAVES = 3


@dataclass(frozen=True)
class NoiseTables:
    """The noise tables of one device."""

    plane_1CHW: Tensor
    cube_1CHW: Tensor

    def on_plane(self, x_RN: Tensor, y_RN: Tensor, channels: int = len(FIELDS)) -> Tensor:
        """Return fields in [0, 1] at points of the plane, (channels, R, N); lengths in cells."""
        grid_R1N2 = torch.stack([_wrapped(x_RN, _PLANE), _wrapped(y_RN, _PLANE)], -1)[:, None]
        table = self.plane_1CHW[:, :channels].expand(len(x_RN), -1, -1, -1)
        return _sample(table, grid_R1N2 * (2 / _PLANE) - 1)

    def in_cube(self, points_3RN: Tensor, channels: int = len(FIELDS)) -> Tensor:
        """Return fields in [0, 1] at points in space, (channels, R, N); lengths in cells."""
        side = _CUBE * _TEXELS
        x_RN, y_RN = _wrapped(points_3RN[0], _CUBE) * _TEXELS, _wrapped(points_3RN[1], _CUBE) * _TEXELS
        z_RN = _wrapped(points_3RN[2], _CUBE) * _TEXELS
        below_RN = z_RN.floor().clamp(max=side - 1)
        part_RN = z_RN - below_RN
        table = self.cube_1CHW[:, :channels].expand(len(x_RN), -1, -1, -1)
        layers = []
        for layer_RN in (below_RN, (below_RN + 1).masked_fill(below_RN == side - 1, 0.0)):
            row_RN = (layer_RN * (1 / _TILES)).floor()
            column_RN = layer_RN - row_RN * _TILES
            place = torch.stack([x_RN + column_RN * (side + 1), y_RN + row_RN * (side + 1)], -1)
            layers.append(_sample(table, place[:, None] * (2 / (self.cube_1CHW.shape[-1] - 1)) - 1))
        return layers[0] + part_RN * (layers[1] - layers[0])


@cache
def noise_on(device: torch.device) -> NoiseTables:
    """Return the noise tables on `device`, about 10 MB."""
    plane = _plane_points()
    fields = _fields(plane, (_PLANE, _PLANE, 1)).reshape(len(FIELDS), _PLANE * _TEXELS, -1)
    plane_1CHW = _closed(fields)[None]
    side = _CUBE * _TEXELS
    steps = torch.arange(side) / _TEXELS
    cube = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij")).flip(0)
    layers_CDHW = _closed(_fields(cube.reshape(3, -1), (_CUBE,) * 3).reshape(-1, side, side, side))
    rows = layers_CDHW.reshape(len(FIELDS), -1, _TILES, side + 1, side + 1)
    tiles = rows.permute(0, 1, 3, 2, 4)
    cube_1CHW = tiles.reshape(len(FIELDS), _TILES * (side + 1), _TILES * (side + 1))[None]
    return NoiseTables(plane_1CHW.contiguous().to(device), cube_1CHW.contiguous().to(device))


def _plane_points() -> Tensor:
    steps = torch.arange(_PLANE * _TEXELS) / _TEXELS
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, 0.37)]).reshape(3, -1)


def _fields(points_3M: Tensor, period: tuple[int, int, int]) -> Tensor:
    near_M, border_M, shade_M = _cells(points_3M, period)
    fractal = []
    for number in range(2):
        total_M = torch.zeros_like(near_M)
        for octave in range(_OCTAVES):
            fine = 2**octave
            size = (period[0] * fine, period[1] * fine, period[2] * fine)
            total_M += _gradient_noise(points_3M * fine, size, 8 * number + octave) / fine
        fractal.append((0.5 + 0.62 * total_M).clamp(0, 1))
    return torch.stack([*fractal, near_M, border_M, shade_M])


def _gradient_noise(points_3M: Tensor, period: tuple[int, int, int], stream: int) -> Tensor:
    # Perlin's, with gradients from a cube: the sum of the corners' slopes, faded by a quintic.
    slopes_3L = 2 * _lattice(period, stream, 3) - 1
    base_3M = points_3M.floor()
    inner_3M = points_3M - base_3M
    fade_3M = inner_3M * inner_3M * inner_3M * (inner_3M * (inner_3M * 6 - 15) + 10)
    total_M = torch.zeros_like(points_3M[0])
    for corner in range(8):
        step_31 = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2]).float()[:, None]
        weight_3M = 1 - step_31 + (2 * step_31 - 1) * fade_3M
        slope_3M = slopes_3L.index_select(1, _places(base_3M + step_31, period))
        away_3M = inner_3M - step_31
        height_M = slope_3M[0] * away_3M[0] + slope_3M[1] * away_3M[1] + slope_3M[2] * away_3M[2]
        total_M += height_M * weight_3M[0] * weight_3M[1] * weight_3M[2]
    return total_M


def _cells(points_3M: Tensor, period: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    # One point in each lattice cell; the nearest two are among the 27 cells around.
    scattered_4L = _lattice(period, 99, 4)
    base_3M = points_3M.floor()
    first_M = torch.full_like(points_3M[0], 9.0)
    second_M, shade_M = first_M.clone(), torch.zeros_like(first_M)
    for number in range(27):
        step_31 = torch.tensor([number % 3 - 1, number // 3 % 3 - 1, number // 9 - 1]).float()[:, None]
        found_4M = scattered_4L.index_select(1, _places(base_3M + step_31, period))
        away_3M = base_3M + step_31 + found_4M[:3] - points_3M
        distance_M = (away_3M[0] * away_3M[0] + away_3M[1] * away_3M[1] + away_3M[2] * away_3M[2]).sqrt()
        nearer_M = distance_M < first_M
        shade_M = torch.where(nearer_M, found_4M[3], shade_M)
        second_M = torch.minimum(second_M, torch.maximum(first_M, distance_M))
        first_M = torch.minimum(first_M, distance_M)
    return first_M.clamp(max=1), (second_M - first_M).clamp(max=1), shade_M


def _lattice(period: tuple[int, int, int], stream: int, channels: int) -> Tensor:
    # Random numbers in [0, 1) for every lattice point, (channels, L).
    places = torch.arange(channels * period[0] * period[1] * period[2])
    bits = mix((places + (stream + 1) * 2**32) * signed(0x9E3779B97F4A7C15))
    return ((bits >> 40) & (2**24 - 1)).float().reshape(channels, -1) * 2**-24


def _places(corners_3M: Tensor, period: tuple[int, int, int]) -> Tensor:
    x, y, z = (corner.long() % size for corner, size in zip(corners_3M, period, strict=True))
    place_M: Tensor = (z * period[1] + y) * period[0] + x
    return place_M


def _closed(fields_CmHW: Tensor) -> Tensor:
    # The first row and column again behind the last: interpolation across the seam.
    fields = torch.cat([fields_CmHW, fields_CmHW[..., :1, :]], -2)
    return torch.cat([fields, fields[..., :1]], -1)


def _wrapped(places: Tensor, period: int) -> Tensor:
    return places - (places * (1 / period)).floor() * period


def _sample(table_RCHW: Tensor, grid_R1N2: Tensor) -> Tensor:
    found = grid_sample(table_RCHW, grid_R1N2, mode="bilinear", padding_mode="border", align_corners=True)
    return found[:, :, 0].transpose(0, 1)
