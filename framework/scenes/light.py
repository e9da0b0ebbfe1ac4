"""Light, shadow and gloss.

Lambert and Blinn-Phong shading from a key light with soft shadows, Lambert shading from a fill light, and
ambient light that is dimmed close to objects. Metal reflects a simple studio.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.counter_random import Chance
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.recipe import Lighting
from slotlab.framework.scenes.solids import HOLLOW, SHAPES
from slotlab.framework.scenes.vectors import cosine, dot, normalize, sine
from slotlab.framework.scenes.visibility import Pairs, meet, near_pairs

_KEY, _FILL, _POWERS, _SIDE, _TINT = range(40, 45)  # streams
_RADIUS = 0.2
"""Half the side of the square lamp. Each sample of a pixel sees one point of it, so that the four together
have soft shadows."""
_CORNERS = ((-0.4, -1.0), (1.0, -0.4), (-1.0, 0.4), (0.4, 1.0))
"""The points. No two lie on a line along an axis, so that a shadow's edge has four steps in any direction."""
_LIFT = 0.02
"""The distance from the surface at which a shadow ray starts."""


@dataclass(frozen=True)
class Lights:
    """The lights of B pictures."""

    key_3B: Tensor
    """The position of the lamp."""
    key_power_B: Tensor
    """The brightness of a white surface in the middle of the scene that faces the lamp."""
    fill_3B: Tensor
    """The unit direction toward the fill light."""
    fill_power_B: Tensor
    ambient_B: Tensor
    tint_3B: Tensor
    """The color of the lamp: neutral, a little warm or a little cold."""


@dataclass(frozen=True)
class Surface:
    """Points to be lit, all of shape (3, R, n) or (R, n) or (R, 1)."""

    points: Tensor
    normals: Tensor
    rays: Tensor
    albedo: Tensor
    gloss: Tensor
    metal: Tensor
    lit: Tensor
    """1 in the lamp's light, 0 in shadow."""
    openness: Tensor
    """The part of the ambient light that reaches the point, from 0 to 1."""


@dataclass(frozen=True)
class _Ranges:
    """What lights are drawn from, uniformly: (the lowest value, how far the highest is from it)."""

    around: tuple[float, float] = (15, 85)
    """The lamp's angle from the camera's side to the left or right, in degrees."""
    height: tuple[float, float] = (42, 26)
    """Its angle above the ground, in degrees."""
    power: tuple[float, float] = (0.85, 0.4)
    fill: tuple[float, float] = (0.12, 0.14)
    ambient: tuple[float, float] = (0.2, 0.12)
    tint: float = 0.08
    """By how much red is stronger and blue weaker, or the other way, at most."""


_LIGHTING: dict[Lighting, _Ranges] = {
    "studio": _Ranges(),
    "varied": _Ranges(
        around=(0, 180), height=(18, 57), power=(0.1, 1.4), fill=(0.0, 0.3), ambient=(0.03, 0.3), tint=0.45
    ),
}


def draw_lights(chance: Chance, lighting: Lighting = "studio") -> Lights:
    """Draw lights: the key from one side and above, the fill from the other."""
    ranges = _LIGHTING[lighting]
    side_B = 2.0 * chance.choice(_SIDE, 2) - 1
    key = chance.uniform(_KEY, 3)
    around_B, height_B = _in(ranges.around, key[:, 0]) / 360, _in(ranges.height, key[:, 1]) / 360
    fill = chance.uniform(_FILL, 2)
    fill_around_B, fill_height_B = -side_B * (20 + 60 * fill[:, 0]) / 360, (20 + 30 * fill[:, 1]) / 360
    powers = chance.uniform(_POWERS, 3)
    warm_B = ranges.tint * (chance.uniform(_TINT) * 2 - 1)
    return Lights(
        key_3B=(8 + 3 * key[:, 2]) * _toward(side_B * around_B, height_B),
        key_power_B=_in(ranges.power, powers[:, 0]),
        fill_3B=_toward(fill_around_B, fill_height_B),
        fill_power_B=_in(ranges.fill, powers[:, 1]),
        ambient_B=_in(ranges.ambient, powers[:, 2]),
        tint_3B=torch.stack([1 + warm_B, torch.ones_like(warm_B), 1 - warm_B]),
    )


def shine(lights: Lights, picture_R: Tensor, surface: Surface) -> Tensor:
    """Return the light that surfaces send to the camera, linear RGB of shape (3, R, n)."""

    def own(values: Tensor) -> Tensor:
        return values.index_select(-1, picture_R)[..., None]

    key_3R1 = own(lights.key_3B)
    to_key = key_3R1 - surface.points
    squared = dot(to_key, to_key)
    to_key = to_key / squared.sqrt()
    facing = dot(surface.normals, to_key).clamp(min=0)
    # Light of a lamp falls off with the square of the distance; 1 at the scene's middle.
    power = own(lights.key_power_B) * dot(key_3R1, key_3R1) / squared * surface.lit
    fill = own(lights.fill_power_B) * (0.5 + 0.5 * dot(surface.normals, own(lights.fill_3B)))
    around = (own(lights.ambient_B) * (0.65 + 0.35 * surface.normals[2]) + fill) * surface.openness
    halfway = normalize(to_key - surface.rays)
    glint = dot(surface.normals, halfway).clamp(min=0)
    for _ in range(5):  # to the power of 32
        glint = glint * glint
    dull = 1 - 0.75 * surface.metal
    light = surface.albedo * (power * facing * own(lights.tint_3B) + around) * dull
    light = light + surface.gloss * (1 - surface.metal) * (power * glint)
    if surface.metal.any():
        light = light + surface.metal * (0.25 + 0.75 * surface.albedo) * _studio(surface, power, glint)
    return light


def ground_shadow(layout: SceneLayout, lights: Lights, points_3BSN: Tensor, wanted_BN: Tensor) -> Tensor:
    """Return 1 where the lamp shines on points of the ground and 0 in shadow, (B, S, N).

    Only the pixels `wanted_BN` are computed; the others are 1.
    """
    center_3BN = points_3BSN[:, :, 0]
    away_3B3N = points_3BSN[:, :, 1:] - center_3BN[:, :, None]
    aside_B = dot(away_3B3N, away_3B3N).amax((1, 2)).sqrt()
    slack_BK = aside_B[:, None] + _spread(layout, lights)
    from_key_3BN = normalize(center_3BN - lights.key_3B[..., None])
    pairs = near_pairs(layout, lights.key_3B, from_key_3BN, slack_BK, wanted_BN)
    points_3QS = pairs.pick(points_3BSN)
    to_key_3QS = _to_corners(lights.key_3B.index_select(1, pairs.picture_Q), points_3QS)
    dark_QS = torch.isfinite(meet(layout, pairs, points_3QS, to_key_3QS))
    lit_BSN = torch.ones_like(points_3BSN[0])
    lit_BSN.view(-1).index_fill_(0, pairs.samples(*points_3BSN.shape[2:])[dark_QS], 0.0)
    return lit_BSN


def object_shadow(
    layout: SceneLayout, lights: Lights, pairs: Pairs, points_3QS: Tensor, normals_3QS: Tensor
) -> Tensor:
    """Return 1 where the lamp shines on points of objects and 0 in shadow, (Q, S)."""
    start_3QS = points_3QS + _LIFT * normals_3QS
    key_3Q = lights.key_3B.index_select(1, pairs.picture_Q)
    to_key_3QS = _to_corners(key_3Q, start_3QS)
    faces_Q = (dot(normals_3QS, to_key_3QS) > 0).any(1)
    from_key_3Q = normalize(start_3QS[..., 0] - key_3Q)
    aside_3QS = start_3QS - start_3QS[..., :1]
    slack_Q = dot(aside_3QS, aside_3QS).amax(1).sqrt()
    hollow_Q = torch.zeros_like(faces_Q)
    for shape in HOLLOW:
        hollow_Q |= pairs.take(layout.shape_BK)[:, 0] == SHAPES.index(shape)
    bound_BK = (layout.bound_BK + _spread(layout, lights)).masked_fill(~layout.present_BK, 0.0)
    flags = []
    for number in range(layout.shape_BK.shape[1]):
        to_center_3Q = (layout.centers_3BK[..., number] - lights.key_3B).index_select(1, pairs.picture_Q)
        reach_Q = bound_BK[:, number].index_select(0, pairs.picture_Q) + slack_Q
        along_Q = dot(to_center_3Q, from_key_3Q)
        beside_Q = dot(to_center_3Q, to_center_3Q) - along_Q * along_Q
        # A convex object never shades a side of its own that faces the lamp.
        other_Q = hollow_Q | (pairs.object_Q != number)
        flags.append((beside_Q < reach_Q * reach_Q) & faces_Q & other_Q)
    object_M, row_M = torch.stack(flags).nonzero().unbind(1)
    near = Pairs(pairs.picture_Q.index_select(0, row_M), object_M, row_M)
    hit_MS = meet(layout, near, start_3QS.index_select(1, row_M), to_key_3QS.index_select(1, row_M))
    lit_QS = torch.ones_like(points_3QS[0])
    steps_S = torch.arange(lit_QS.shape[1], device=lit_QS.device)
    index_MS = row_M[:, None] * lit_QS.shape[1] + steps_S
    lit_QS.view(-1).index_fill_(0, index_MS[torch.isfinite(hit_MS)], 0.0)
    return lit_QS


def ground_openness(layout: SceneLayout, points_3BN: Tensor) -> Tensor:
    """Return the part of the sky that is not hidden by objects, for points of the ground, (B, N).

    Each object is approximated by a ball (Quilez, "sphere ambient occlusion").
    """
    open_BN = torch.ones_like(points_3BN[0])
    for number in range(layout.shape_BK.shape[1]):
        center_3B1 = layout.centers_3BK[:, :, number, None]
        away = points_3BN - center_3B1
        squared = dot(away, away)
        radius = layout.size_BK[:, number, None]
        strength = center_3B1[2] * radius * radius * layout.present_BK[:, number, None]
        open_BN = open_BN * (1 - (strength / (squared * squared.sqrt())).clamp(max=0.8))
    return open_BN


def _studio(surface: Surface, power: Tensor, glint: Tensor) -> Tensor:
    # What metal mirrors: the ground below, a bright band above the horizon, and the lamp.
    inward = dot(surface.rays, surface.normals)
    up = surface.rays[2] - 2 * inward * surface.normals[2]
    band = (1 - (up - 0.45).abs() * 2.2).clamp(min=0)
    sky = 0.22 + 0.9 * band * band + 0.35 * up.clamp(min=0)
    ground = 0.18 + 0.12 * (1 + up).clamp(0, 1)
    above = (up * 8 + 0.5).clamp(0, 1)
    return (ground + above * (sky - ground)) * surface.openness + 1.5 * power * glint


def _spread(layout: SceneLayout, lights: Lights) -> Tensor:
    # How far, near an object, a ray to a corner of the lamp may be from one to its middle, (B, K).
    part_BK = (layout.centers_3BK[2] + layout.bound_BK) / lights.key_3B[2, :, None]
    return (1.5 * _RADIUS) * part_BK.clamp(max=1)


def _to_corners(key_3Q: Tensor, points_3QS: Tensor) -> Tensor:
    # Unit vectors to the corner of the lamp that each of a pixel's samples sees.
    x_S, y_S = _RADIUS * torch.tensor(_CORNERS, device=points_3QS.device).T
    corners_3S = torch.stack([x_S, y_S, torch.zeros_like(x_S)])
    return normalize(key_3Q[..., None] + corners_3S[:, None] - points_3QS)


def _in(span: tuple[float, float], values_B: Tensor) -> Tensor:
    return span[0] + span[1] * values_B


def _toward(around: Tensor, height: Tensor) -> Tensor:
    # Angle 0 is on the camera's side of the scene, which is at negative y.
    flat = cosine(height)
    return torch.stack([sine(around) * flat, -cosine(around) * flat, sine(height)])
