"""Draw the materials of the ground and the objects, for B pictures at once.

Axes: B pictures, T surfaces (0 the ground, i object i), V values of a pattern.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.colors import choose_clear, hsv_to_rgb, linear
from slotlab.framework.scenes.counter_random import Chance
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.material_families import FAMILIES, STYLES, Family, Stop
from slotlab.framework.scenes.recipe import Recipe
from slotlab.framework.scenes.vectors import cosine, sine

VALUES = 64
"""The number of steps of a color ramp."""
_TRIES = 16
"""The number of colors that are tried for each plain object."""
_PLANE, _CUBE = 64.0, 8.0
"""Texture space is shifted by up to this many cells: the periods of the noise tables."""
(
    _GROUND_FAMILY, _FAMILY, _COLOR, _PLAIN, _ACCENT, _TRAITS, _SCALE, _BUMP, _GLOSS, _SHINY, _TURN, _SHIFT,
    _STOPS,
) = range(20, 33)  # streams  # fmt: skip


@dataclass(frozen=True)
class Materials:
    """The materials of all surfaces of B scenes."""

    family_BT: Tensor
    """Index into FAMILIES; int64."""
    colors_3BT: Tensor
    """The material's base color, sRGB in [0, 1]."""
    ramp_3BTV: Tensor
    """Linear RGB for each value of the pattern."""
    frame_33BT: Tensor
    """The rows are the axes of texture space, scaled to cells per world unit."""
    shift_3BT: Tensor
    """The origin of texture space, in cells."""
    repeats_BT: Tensor
    """The number of cells per world unit."""
    traits_3BT: Tensor
    """Three random numbers in [0, 1): `wide`, `odd` and `strong` of `patterns.Spot`."""
    bump_BT: Tensor
    """The height of the relief, in world units."""
    grain_BT: Tensor
    gloss_BT: Tensor
    metal_BT: Tensor
    """1 for metal, else 0."""


def draw_materials(chance: Chance, recipe: Recipe, layout: SceneLayout) -> Materials:
    """Draw the materials of scenes whose layout is known."""
    most = layout.shape_BK.shape[1]
    family_BT = _families(chance, recipe, most, layout.count_B.device)
    hsv_3BT, colors_3BT = _base_colors(chance, recipe, family_BT)
    repeats_BT = _ranged(chance, _SCALE, family_BT, "repeats")
    repeats_BT[:, 0] = _ranged(chance, _SCALE, family_BT, "ground")[:, 0]
    metal_BT = (chance.uniform(_SHINY, most + 1) < recipe.shiny).float()
    metal_BT[:, 0] = 0
    grain_F = torch.tensor([STYLES[family].grain for family in FAMILIES], device=family_BT.device)
    drawn = {
        "family_BT": family_BT,
        "colors_3BT": colors_3BT,
        "repeats_BT": repeats_BT,
        "traits_3BT": chance.uniform(_TRAITS, 3, most + 1).transpose(0, 1),
        "bump_BT": _ranged(chance, _BUMP, family_BT, "bump") / repeats_BT,
        "grain_BT": grain_F[family_BT],
        "gloss_BT": _ranged(chance, _GLOSS, family_BT, "gloss"),
        "metal_BT": metal_BT,
    }
    ramp_3BTV = _ramps(chance, family_BT, hsv_3BT, recipe.ground_colors == "gray")
    if recipe.same_texture:
        drawn = {name: value[..., :1].expand_as(value) for name, value in drawn.items()}
        ramp_3BTV = ramp_3BTV[:, :, :1].expand_as(ramp_3BTV)
    frame_33BT, shift_3BT = _frames(chance, layout, drawn["family_BT"], drawn["repeats_BT"])
    return Materials(ramp_3BTV=ramp_3BTV, frame_33BT=frame_33BT, shift_3BT=shift_3BT, **drawn)


def _families(chance: Chance, recipe: Recipe, most: int, device: torch.device) -> Tensor:
    def indices(names: tuple[Family, ...]) -> Tensor:
        return torch.tensor([FAMILIES.index(name) for name in names], device=device)

    ground_B1 = indices(recipe.ground_textures)[chance.choice(_GROUND_FAMILY, len(recipe.ground_textures), 1)]
    own_BK = indices(recipe.textures)[chance.choice(_FAMILY, len(recipe.textures), most)]
    return torch.cat([ground_B1, own_BK], 1)


def _ranged(chance: Chance, stream: int, family_BT: Tensor, trait: str) -> Tensor:
    # Uniform in the range of the family's style.
    table_F2 = torch.tensor([getattr(STYLES[family], trait) for family in FAMILIES], device=family_BT.device)
    low_BT, high_BT = table_F2[family_BT].unbind(-1)
    return low_BT + (high_BT - low_BT) * chance.uniform(stream, family_BT.shape[1])


def _base_colors(chance: Chance, recipe: Recipe, family_BT: Tensor) -> tuple[Tensor, Tensor]:
    # Hue, saturation and value of each surface, and the same color as sRGB.
    traits = ("hue", "saturation", "value")
    hsv_3BT = torch.stack(
        [_ranged(chance, _COLOR + 100 * n, family_BT, trait) for n, trait in enumerate(traits)]
    )
    plain_BK = family_BT[:, 1:] == FAMILIES.index("plain")
    # A ground that does not drown the objects; a plain one would be all glare.
    hsv_3BT[1, :, 0] *= 0.8
    plain_B = family_BT[:, 0] == FAMILIES.index("plain")
    hsv_3BT[2, :, 0] *= 1 - 0.15 * plain_B
    if recipe.ground_colors == "gray":
        hsv_3BT[1, :, 0] = 0
        hsv_3BT[2, :, 0] = 0.55 + 0.1 * (hsv_3BT[2, :, 0] - 0.5)
    ground_3B = hsv_to_rgb(*hsv_3BT[:, :, 0])
    tries_B3KT = chance.uniform(_PLAIN, 3, family_BT.shape[1] - 1, _TRIES)
    low, high = ((0.0, 0.3, 0.25), (1.0, 1.0, 0.95))
    tries_3BKT = torch.stack(
        [a + (b - a) * tries_B3KT[:, n] for n, (a, b) in enumerate(zip(low, high, strict=True))]
    )
    choice_BK = choose_clear(hsv_to_rgb(*tries_3BKT), ground_3B)
    clear_3BK = tries_3BKT.gather(3, choice_BK.expand(3, -1, -1)[..., None])[..., 0]
    hsv_3BT[:, :, 1:] = torch.where(plain_BK, clear_3BK, hsv_3BT[:, :, 1:])
    return hsv_3BT, hsv_to_rgb(*hsv_3BT)


def _ramps(chance: Chance, family_BT: Tensor, hsv_3BT: Tensor, gray: bool) -> Tensor:
    # Between four colors, linearly. Where a family may have any hue, some materials have two.
    stops: list[tuple[Stop, ...]] = [STYLES[family].stops for family in FAMILIES]
    table_F44 = torch.tensor(stops, device=family_BT.device)
    place, hue, saturation, value = table_F44[family_BT].unbind(-1)
    low_F, high_F = torch.tensor([STYLES[f].hue for f in FAMILIES], device=family_BT.device).unbind(-1)
    freedom_BT = (high_F - low_F)[family_BT]
    accent_BT, far_BT = chance.uniform(_ACCENT, 2, family_BT.shape[1]).unbind(1)
    accent_BT = (accent_BT < 0.35) * (far_BT - 0.5) * freedom_BT * (family_BT > 0)
    jitter = (
        0.16 * (chance.uniform(_STOPS, 3, family_BT.shape[1], 4) - 0.5) * (family_BT > 0)[:, None, :, None]
    )
    hue = hsv_3BT[0][..., None] + hue + 0.5 * jitter[:, 0] + accent_BT[..., None] * place
    saturation = (hsv_3BT[1][..., None] * saturation + 0.6 * jitter[:, 1] * hsv_3BT[1][..., None]).clamp(0, 1)
    value = (hsv_3BT[2][..., None] * value * (1 + jitter[:, 2])).clamp(0.02, 0.97)
    if gray:
        saturation[:, 0] = 0
    stops_3BT4 = hsv_to_rgb(hue, saturation, value)
    steps_V = (torch.arange(VALUES, device=family_BT.device) + 0.5) * (1 / VALUES)
    ramp = stops_3BT4[..., :1].expand(*stops_3BT4.shape[:3], VALUES)
    for number in range(3):
        start, end = place[..., number, None], place[..., number + 1, None]
        part = ((steps_V - start) / (end - start)).clamp(0, 1)
        ramp = ramp + part * (stops_3BT4[..., number + 1, None] - stops_3BT4[..., number, None])
    return linear(ramp)


def _frames(
    chance: Chance, layout: SceneLayout, family_BT: Tensor, repeats_BT: Tensor
) -> tuple[Tensor, Tensor]:
    # Objects: with the vertical as the second axis, nearly, or turned at random. The ground:
    # turned around the vertical, which is the third axis.
    surfaces = family_BT.shape[1]
    turns_BT3 = chance.uniform(_TURN, surfaces, 3)
    upright_F = torch.tensor([STYLES[family].upright for family in FAMILIES], device=family_BT.device)
    turned_33BT = _rotation(turns_BT3)
    own_33BK = _leaning(layout.yaw_BK + turns_BT3[:, 1:, 0], 0.03 + 0.04 * turns_BT3[:, 1:, 1])
    objects_33BK = torch.where(upright_F[family_BT[:, 1:]], own_33BK, turned_33BT[..., 1:])
    cos_B, sin_B = cosine(turns_BT3[:, 0, 0]), sine(turns_BT3[:, 0, 0])
    zero_B = torch.zeros_like(cos_B)
    rows = [cos_B, sin_B, zero_B, -sin_B, cos_B, zero_B, zero_B, zero_B, zero_B]
    ground_33B = torch.stack(rows).reshape(3, 3, *rows[0].shape)
    frame_33BT = torch.cat([ground_33B[..., None], objects_33BK], -1) * repeats_BT
    shift_3BT = chance.uniform(_SHIFT, 3, surfaces).transpose(0, 1)
    # The year rings' center must be near, or rings look like stripes.
    near_BT = family_BT == FAMILIES.index("wood")
    moved_3BT = torch.where(near_BT, 2 * shift_3BT - 1, _CUBE * shift_3BT)
    moved_3BT[:2, :, 0] = _PLANE * shift_3BT[:2, :, 0]
    moved_3BT[2, :, 0] = 0.5  # the ground cuts the cells of solid patterns in their middle
    return frame_33BT, moved_3BT


def _leaning(yaw_BK: Tensor, lean_BK: Tensor) -> Tensor:
    # Around the vertical and then to the side, or a face would lie on the joint of two cells.
    cos, sin, up, side = cosine(yaw_BK), sine(yaw_BK), cosine(lean_BK), sine(lean_BK)
    rows = [cos, sin, torch.zeros_like(cos), -side * sin, side * cos, up, -up * sin, up * cos, -side]
    return torch.stack(rows).reshape(3, 3, *cos.shape)


def _rotation(unit_BT3: Tensor) -> Tensor:
    # A random quaternion, all rotations equally likely (Shoemake 1992, "Uniform random rotations").
    first, second, third = unit_BT3.unbind(-1)
    low, high = (1 - first).sqrt(), first.sqrt()
    x, y, z, w = low * sine(second), low * cosine(second), high * sine(third), high * cosine(third)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows).reshape(3, 3, *rows[0].shape)
