"""Draw the objects' first velocities, for B videos at once. Axes: B videos, K objects."""

import math

import torch
from torch import Tensor

from slotlab.framework.scenes.counter_random import Chance
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.motion import Discs, Motion
from slotlab.framework.scenes.recipe import Recipe
from slotlab.framework.scenes.solids import EXTENTS, SHAPES

_VELOCITY, _ORDER, _TARGET, _AIM, _POWER = range(60, 65)  # streams
_PULL = 0.2
"""Velocities are `speed` times (a random part in [-1, 1) less this part of the position): toward the middle,
so that objects stay in view; 0.7 of the position for a speed of 3.5. Kubric's MOVi-A does the same."""
_FARTHEST = 5.0
"""The pull does not grow beyond this distance from the middle, which only tall and wide pictures show."""
_AWAY = 100.0
"""A score that puts an object behind all others."""


def enough_substeps(recipe: Recipe, motion: Motion) -> int:
    """Return the least substeps for which no object moves past another in one: by the smallest radius."""
    speed = motion.speed * (1.5 if motion.launched else 2**0.5 * (1 + _PULL * _FARTHEST))
    radius = min(EXTENTS[shape].footprint for shape in recipe.shapes) * min(recipe.sizes)
    return max(1, math.ceil(speed / motion.fps / radius))


def draw_discs(chance: Chance, motion: Motion, layout: SceneLayout) -> Discs:
    """Return the discs under a layout's objects, moving, on the CPU."""
    chance = Chance(chance.keys_B.cpu())
    shape_BK, present_BK = layout.shape_BK.cpu(), layout.present_BK.cpu()
    positions_BK2 = layout.centers_3BK[:2].permute(1, 2, 0).cpu().double()
    feet = torch.tensor([EXTENTS[shape].footprint for shape in SHAPES], dtype=torch.float64)
    radii_BK = feet[shape_BK] * layout.size_BK.cpu().double()
    ball_BK = shape_BK == SHAPES.index("sphere")
    if motion.launched:
        # Of the spheres, or of all if there are none, those nearest to the camera.
        rank_BK = positions_BK2[..., 1] + _AWAY * ~ball_BK
        velocities_BK2 = _launch(chance, motion, positions_BK2, radii_BK, present_BK)
    else:
        rank_BK = chance.uniform(_ORDER, shape_BK.shape[1]).double()
        part_BK2 = chance.uniform(_VELOCITY, *shape_BK.shape[1:], 2, low=-1, high=1).double()
        velocities_BK2 = motion.speed * (part_BK2 - _PULL * positions_BK2.clamp(-_FARTHEST, _FARTHEST))
    order_BK = rank_BK.masked_fill(~present_BK, torch.inf).argsort(stable=True, dim=1).argsort(dim=1)
    movers = shape_BK.shape[1] if motion.movers is None else motion.movers
    moves_BK = present_BK & (order_BK < movers)
    return Discs(positions_BK2, velocities_BK2 * moves_BK[..., None], radii_BK, present_BK)


def _launch(
    chance: Chance, motion: Motion, positions_BK2: Tensor, radii_BK: Tensor, present_BK: Tensor
) -> Tensor:
    # The velocity of each object if it is launched at another, or at the middle if it is alone.
    objects = present_BK.shape[1]
    rank_BKK = chance.uniform(_TARGET, objects, objects).double()
    own_KK = torch.eye(objects, dtype=torch.bool)
    rank_BKK = rank_BKK.masked_fill(own_KK | ~present_BK[:, None], _AWAY)
    least_BK, target_BK = rank_BKK.min(2)
    target_BK2 = target_BK[..., None].expand(-1, -1, 2)
    # Off the target's middle by up to half its radius, or all would be pushed straight ahead.
    aside_BK2 = 0.5 * radii_BK[..., None] * chance.uniform(_AIM, objects, 2, low=-1, high=1).double()
    aim_BK2 = (positions_BK2 + aside_BK2).gather(1, target_BK2)
    aim_BK2 = aim_BK2 * (least_BK < _AWAY)[..., None]
    toward_BK2 = aim_BK2 - positions_BK2
    x_BK, y_BK = toward_BK2.unbind(-1)
    length_BK = (x_BK * x_BK + y_BK * y_BK).sqrt().clamp(min=1e-9)
    power_BK = motion.speed * chance.uniform(_POWER, objects, low=1.0, high=1.5).double()
    return toward_BK2 * (power_BK / length_BK)[..., None]
