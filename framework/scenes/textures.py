"""The pattern of each family of texture: a function of the position in texture space and of noise.

A pattern returns a value in [0, 1], which selects the color from the material's ramp, and the height of its
relief. All consist of sums, products and comparisons, so that a position looks the same in every batch.
Axes: R rows (objects or grounds) of n points; all values are of shape (R, n) or (R, 1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.material_families import Family


@dataclass(frozen=True)
class Spot:
    """Points of texture space, in cells, and the noise at them."""

    x: Tensor
    y: Tensor
    z: Tensor
    first: Tensor
    """Fractal noise in [0, 1], mean 0.5."""
    second: Tensor
    near: Tensor
    """Distance to the nearest of scattered points, in cells, at most 1."""
    border: Tensor
    """How much farther the second nearest is; 0 on the border between their cells."""
    shade: Tensor
    """A random number in [0, 1) of the point's cell."""
    fine: Tensor
    """Fractal noise, six times as fine as `first`."""
    dust: Tensor
    wide: Tensor
    """A random trait of the texture in [0, 1), mostly the width of its parts."""
    odd: Tensor
    """A random trait in [0, 1): how irregular the texture is."""
    strong: Tensor
    """A random trait in [0, 1): how strong its shading is."""
    blur: Tensor
    """The change of a pattern of slope 3 from one pixel to the next; edges are not sharper than this."""

    def step(self, values: Tensor, edge: Tensor | float, width: float) -> Tensor:
        """Return 0 below `edge` and 1 above, with a ramp of this width, or of the blur's if that is wider."""
        return ((values - edge) / self.blur.clamp(min=width) + 0.5).clamp(0, 1)

    def board(self) -> Tensor:
        """Return 0 and 1 alternating over the cubes of a checkerboard in space."""
        odd = torch.zeros_like(self.x)
        for values in (self.x, self.y, self.z):
            parity = self.step(_triangle(0.5 * values - 0.25), 0.5, 0.02)
            odd = odd + parity - 2 * odd * parity
        return odd


Pattern = Callable[[Spot], tuple[Tensor, Tensor]]


def plain(p: Spot) -> tuple[Tensor, Tensor]:
    """Return one value: the color is the same everywhere."""
    return torch.full_like(p.x, 0.5), torch.zeros_like(p.x)


def checker(p: Spot) -> tuple[Tensor, Tensor]:
    """Return alternating cubes of two kinds, a little worn."""
    return 0.12 + 0.7 * p.board() + 0.5 * (p.first - 0.5) + 0.25 * (p.fine - 0.5), 0.5 * p.fine


def stripes(p: Spot) -> tuple[Tensor, Tensor]:
    """Return bands, from straight to wavy, of two widths."""
    line = _triangle(p.x + p.odd * p.odd * 1.6 * (p.first - 0.5))
    band = p.step(line, 0.35 + 0.3 * p.wide, 0.14)
    return 0.1 + 0.75 * band + 0.35 * (p.fine - 0.5) + 0.3 * (p.second - 0.5), band + 0.3 * p.fine


def dots(p: Spot) -> tuple[Tensor, Tensor]:
    """Return round spots around scattered points."""
    spot = 1 - p.step(p.near, 0.26 + 0.2 * p.wide, 0.07)
    return 0.16 + 0.66 * spot + 0.6 * (p.first - 0.5) + 0.3 * (p.fine - 0.5), spot + 0.3 * p.fine


def marble(p: Spot) -> tuple[Tensor, Tensor]:
    """Return folded veins (Perlin's marble: stripes bent by noise)."""
    fold = _triangle(0.7 * p.x + (1.5 + 2.0 * p.wide) * p.first + 0.35 * p.fine)
    vein = (1 - fold) * (1 - fold)
    cloud = 0.95 - 0.35 * _triangle(1.5 * p.second + 0.3 * p.fine)
    return cloud - 0.75 * vein * vein - 0.25 * vein, p.fine


def wood(p: Spot) -> tuple[Tensor, Tensor]:
    """Return the year rings of a trunk and its fibers."""
    radius = (p.x * p.x + p.y * p.y).sqrt() + 0.7 * p.first + 0.15 * p.second
    ring = radius - radius.floor()
    ring = ring * (1 - p.step(ring, 0.92, 0.12))
    fiber = p.dust - 0.5
    return 0.85 - 0.6 * ring + 0.5 * fiber * p.wide + 0.25 * (p.fine - 0.5), 0.5 * ring + p.dust


def speckle(p: Spot) -> tuple[Tensor, Tensor]:
    """Return specks of two sizes and shades."""
    light = p.step(p.first, 0.56 + 0.08 * p.wide, 0.08)
    dark = p.step(p.second, 0.58 + 0.08 * p.odd, 0.08)
    return 0.45 + 0.45 * light - 0.4 * dark + 0.3 * (p.fine - 0.5), light + dark + p.fine


def tiles(p: Spot) -> tuple[Tensor, Tensor]:
    """Return tiles of different shades with joints between them."""
    joint = torch.maximum(torch.maximum(_wall(p.x), _wall(p.y)), _wall(p.z))
    body = 1 - p.step(joint, 0.91 - 0.06 * p.wide, 0.05)
    shade = _scatter(p.x.floor(), p.y.floor(), p.z.floor())
    value = 0.25 + 0.45 * shade * p.odd + 0.6 * (p.first - 0.25) * p.strong + 0.2 * (p.fine - 0.5)
    return body * value.clamp(0.2, 1) + (1 - body) * 0.1 * p.fine, body + 0.1 * p.fine


def bricks(p: Spot) -> tuple[Tensor, Tensor]:
    """Return a wall of bricks, each row shifted by half a brick against the one below."""
    y = 2.2 * p.y
    row = y.floor()
    x = p.x + 0.5 * row + 0.06 * (p.fine - 0.5)
    joint = torch.maximum(torch.maximum(_wall(x), _wall(p.z)), 2.2 * _wall(y + 0.1 * (p.fine - 0.5)) - 1.2)
    body = 1 - p.step(joint, 0.88, 0.08)
    shade = _scatter(x.floor(), row, p.z.floor())
    value = 0.3 + 0.6 * shade + 0.5 * (p.fine - 0.5) + 0.3 * (p.first - 0.5)
    return body * value.clamp(0.2, 1) + (1 - body) * 0.1 * p.fine, body + 0.4 * p.fine


def clouds(p: Spot) -> tuple[Tensor, Tensor]:
    """Return fractal noise, from soft to rough."""
    value = 0.5 + 1.9 * (p.first - 0.5) + (0.3 + 0.7 * p.wide) * (p.fine - 0.5)
    return value, p.first + 0.35 * p.fine


def cells(p: Spot) -> tuple[Tensor, Tensor]:
    """Return pebbles: cells of different shades with dark gaps."""
    dome = p.step(p.border, 0.16, 0.28)
    return dome * (0.35 + 0.6 * p.shade + 0.3 * (p.fine - 0.5)), dome * (1 - 0.5 * p.near) + 0.12 * p.fine


def cracks(p: Spot) -> tuple[Tensor, Tensor]:
    """Return dried ground: cracks between plates."""
    gap = 1 - p.step(p.border + 0.12 * (p.fine - 0.5), 0.07 + 0.05 * p.wide, 0.08)
    value = 0.65 + 0.9 * (p.first - 0.5) + 0.25 * (p.shade - 0.5) + 0.4 * (p.fine - 0.5)
    return value * (1 - gap), 0.5 * p.first + 0.35 * p.fine - gap


def waves(p: Spot) -> tuple[Tensor, Tensor]:
    """Return ripples as in sand."""
    crest = _smooth(_triangle(p.x + 1.5 * p.first + 0.1 * p.fine))
    return 0.12 + 0.62 * crest + 0.5 * (p.fine - 0.5) + 0.35 * (p.second - 0.5), crest + 0.15 * p.fine


def rust(p: Spot) -> tuple[Tensor, Tensor]:
    """Return metal with patches of rust."""
    eaten = p.step(p.first + 0.45 * (p.fine - 0.5), 0.4 + 0.2 * p.wide, 0.12)
    metal = 0.2 + 0.35 * (p.second - 0.5) + 0.15 * (p.dust - 0.5)
    return eaten * (0.55 + 0.9 * (p.dust - 0.3)) + (1 - eaten) * metal, eaten * (0.5 + p.fine)


def granite(p: Spot) -> tuple[Tensor, Tensor]:
    """Return crystals of several minerals."""
    value = 0.75 * p.shade + 0.5 * (p.fine - 0.5) + 0.3 * (p.first - 0.5)
    dark = p.step(p.second, 0.6, 0.06)
    return 0.12 + value * (1 - 0.8 * dark), p.fine - 0.4 * dark


def scales(p: Spot) -> tuple[Tensor, Tensor]:
    """Return rows of overlapping rounded scales, as roof tiles."""
    y = 1.4 * p.y + 0.06 * (p.first - 0.5)
    row = y.floor()
    x = p.x + p.z + 0.5 * row
    across, up = x - x.floor() - 0.5, y - row
    lip = up + 1.3 * across * across
    under = p.step(lip, 0.98, 0.1)
    shade = _scatter(x.floor(), row - under.round(), row * 0.37)
    value = 0.3 + 0.55 * shade + 0.25 * (lip - 0.5) + 0.35 * (p.fine - 0.5)
    dark = 1 - 0.55 * under * (1 - p.step(lip, 1.15, 0.2))
    return value * dark, 0.8 * (lip - under) + 0.2 * p.fine


def grass(p: Spot) -> tuple[Tensor, Tensor]:
    """Return a forest floor: tufts, blades and fallen leaves."""
    tuft = p.first + 0.5 * (p.second - 0.5)
    blade = (p.fine - 0.5).abs() * 2.6
    leaf = 1 - p.step(p.near, 0.16 + 0.12 * p.shade, 0.06)
    value = 0.1 + 0.55 * tuft + 0.85 * (p.dust - 0.45) - 0.35 * blade + 0.3
    return value * (1 - leaf * p.wide) + leaf * p.wide * (0.6 + 0.4 * p.shade), tuft + p.dust + 0.3 * leaf


def zigzag(p: Spot) -> tuple[Tensor, Tensor]:
    """Return bands that turn at right angles."""
    line = _triangle(p.y + p.z + (0.4 + 0.5 * p.wide) * _triangle(p.x))
    band = p.step(line, 0.5, 0.14)
    return 0.12 + 0.74 * band + 0.25 * (p.first - 0.5) + 0.2 * (p.fine - 0.5), band + 0.4 * p.fine


def weave(p: Spot) -> tuple[Tensor, Tensor]:
    """Return threads that pass over and under each other."""
    over = p.board()
    warp, weft = _smooth(1 - _wall(p.x)), _smooth(1 - _wall(p.y))
    thread = over * warp + (1 - over) * weft
    return 0.1 + thread * (0.3 + 0.45 * over) + 0.4 * (p.dust - 0.5), thread + 0.15 * p.dust


def lava(p: Spot) -> tuple[Tensor, Tensor]:
    """Return dark plates on glowing gaps."""
    plate = p.step(p.border + 0.25 * (p.first - 0.5) + 0.15 * (p.fine - 0.5), 0.12, 0.16)
    return plate * (0.3 + 0.7 * p.fine), plate + 0.5 * p.fine


def terrazzo(p: Spot) -> tuple[Tensor, Tensor]:
    """Return chips of many stones in cement."""
    chip = p.step(p.border - 0.25 * p.near, 0.12 + 0.12 * p.wide, 0.05)
    return chip * (0.2 + 0.8 * p.shade) + 0.2 * (p.fine - 0.5), chip + 0.1 * p.fine


def leopard(p: Spot) -> tuple[Tensor, Tensor]:
    """Return the broken rings of a leopard's fur."""
    ring = 1 - p.step((p.near - 0.34).abs() + 0.3 * (p.first - 0.5), 0.09, 0.08)
    core = 1 - p.step(p.near, 0.25, 0.1)
    return 0.2 + 0.4 * ring + 0.65 * core * (1 - ring) + 0.35 * (p.dust - 0.5), p.dust


PATTERNS: dict[Family, Pattern] = {
    "plain": plain, "checker": checker, "stripes": stripes, "dots": dots, "marble": marble,
    "wood": wood, "speckle": speckle, "tiles": tiles, "bricks": bricks, "clouds": clouds,
    "cells": cells, "cracks": cracks, "waves": waves, "rust": rust, "granite": granite,
    "scales": scales, "grass": grass, "zigzag": zigzag, "weave": weave, "lava": lava,
    "terrazzo": terrazzo, "leopard": leopard,
}  # fmt: skip


def _triangle(values: Tensor) -> Tensor:
    # 0 at whole numbers, 1 halfway.
    return 2 * (values - values.round()).abs()


def _smooth(values: Tensor) -> Tensor:
    return values * values * (3 - 2 * values)


def _wall(values: Tensor) -> Tensor:
    # 1 on the walls of the unit cells, 0 in their middle.
    return 1 - _triangle(values)


def _scatter(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    # A number in [0, 1) for a cell: multiples of irrational numbers spread evenly; applied once
    # more to the result, or neighbors would form rows.
    even = 0.7548777 * x + 0.5698403 * y + 0.3802775 * z
    even = even - even.floor()
    again = 43.7585 * even * (even + 0.33)
    return again - again.floor()
