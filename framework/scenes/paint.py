"""The color and relief of surfaces, from materials, noise and patterns.

Axes: R rows (the grounds of pictures, or pixels of objects) of n points.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.material_families import FAMILIES
from slotlab.framework.scenes.materials import VALUES, Materials
from slotlab.framework.scenes.noise import noise_on
from slotlab.framework.scenes.textures import PATTERNS, Pattern, Spot
from slotlab.framework.scenes.vectors import by_kind, cross, dot, normalize

_FINE = 6.1
"""The scale of the fine noise; not a whole number, since both noises would then repeat together."""
_STEEPEST = 1.2
"""The slope that the relief approaches but does not exceed."""


@dataclass(frozen=True)
class Paint:
    """The color and height of points of surfaces."""

    albedo_3Rn: Tensor
    """Linear RGB in [0, 1]."""
    height_Rn: Tensor
    """The height of the relief, in world units."""


def paint_ground(materials: Materials, points_3Bn: Tensor, spacing_Bn: Tensor) -> Paint:
    """Paint points of the ground of each picture; `spacing_Bn` is the width of a pixel there."""
    rows_B = torch.arange(len(spacing_Bn), device=spacing_Bn.device) * materials.family_BT.shape[1]
    frame, shift = materials.frame_33BT[..., 0], materials.shift_3BT[..., 0]
    x, y = (
        frame[row, 0, :, None] * points_3Bn[0] + frame[row, 1, :, None] * points_3Bn[1] + shift[row, :, None]
        for row in range(2)
    )
    noise = noise_on(spacing_Bn.device)
    fields = noise.on_plane(x, y)
    fine = noise.on_plane(_FINE * x, _FINE * y, 2)
    return _paint(materials, rows_B, (x, y, shift[2, :, None]), fields, fine, spacing_Bn)


def paint_objects(materials: Materials, rows_R: Tensor, points_3Rn: Tensor, spacing_Rn: Tensor) -> Paint:
    """Paint points of objects, relative to the object's center.

    `rows_R` is picture * T + surface of each row.
    """
    frame = materials.frame_33BT.flatten(2).index_select(2, rows_R)[..., None]
    shift = materials.shift_3BT.flatten(1).index_select(1, rows_R)[..., None]
    axes = [dot(frame[row], points_3Rn) + shift[row] for row in range(3)]
    places_3Rn = torch.stack(axes)
    noise = noise_on(spacing_Rn.device)
    flat_31M = places_3Rn.reshape(3, 1, -1)
    fields = noise.in_cube(flat_31M).reshape(-1, *spacing_Rn.shape)
    fine = noise.in_cube(_FINE * flat_31M, 2).reshape(-1, *spacing_Rn.shape)
    return _paint(materials, rows_R, (axes[0], axes[1], axes[2]), fields, fine, spacing_Rn)


def relief(paint: Paint, points_3Rn: Tensor, normals_3Rn: Tensor, right: Tensor, below: Tensor) -> Tensor:
    """Return normals bent by the relief, from the differences to the pixels to the right and below.

    Blinn 1978, "Simulation of wrinkled surfaces", with the surface's own differences in the
    picture for its tangents (Mikkelsen 2010, "Bump mapping unparametrized surfaces").
    `right` and `below` are the indices of those pixels among all points; a point that is its own neighbor
    keeps its normal.
    """

    def differences(values: Tensor) -> tuple[Tensor, Tensor]:
        flat = values.flatten()
        rightward = flat.index_select(0, right.flatten()).view_as(values) - values
        return rightward, flat.index_select(0, below.flatten()).view_as(values) - values

    rightward, downward = differences(paint.height_Rn)
    steps = [differences(values_Rn) for values_Rn in points_3Rn]
    right_3Rn, down_3Rn = (torch.stack(step) for step in zip(*steps, strict=True))
    first_3Rn, second_3Rn = cross(down_3Rn, normals_3Rn), cross(normals_3Rn, right_3Rn)
    volume_Rn = dot(right_3Rn, first_3Rn)
    safe_Rn = volume_Rn + 1e-12 * volume_Rn.sign()
    safe_Rn = safe_Rn + (volume_Rn == 0) * 1e-12
    slope_3Rn = (rightward * first_3Rn + downward * second_3Rn) / safe_Rn
    steep_Rn = dot(slope_3Rn, slope_3Rn).sqrt()
    slope_3Rn = slope_3Rn / (1 + steep_Rn * (1 / _STEEPEST))
    return normalize(normals_3Rn - slope_3Rn)


def _paint(
    materials: Materials,
    rows_R: Tensor,
    places: tuple[Tensor, Tensor, Tensor],
    fields_5Rn: Tensor,
    fine_2Rn: Tensor,
    spacing_Rn: Tensor,
) -> Paint:
    def row(values_BT: Tensor) -> Tensor:
        return values_BT.flatten().index_select(0, rows_R)[:, None]

    # Noise finer than the samples would flicker: it fades to its mean.
    pixel_Rn = row(materials.repeats_BT) * spacing_Rn
    detail_Rn = (1.5 - (1.5 * _FINE) * pixel_Rn).clamp(0, 1)
    fine_2Rn = 0.5 + detail_Rn * (fine_2Rn - 0.5)
    traits = (row(trait_BT) for trait_BT in materials.traits_3BT)
    kinds_R = row(materials.family_BT)[:, 0]
    functions = [_stacked(PATTERNS[family]) for family in FAMILIES]
    value_Rn, height_Rn = by_kind(kinds_R, functions, *places, *fields_5Rn, *fine_2Rn, *traits, 3 * pixel_Rn)
    step_Rn = (value_Rn.clamp(0, 1) * (VALUES - 0.01)).int()
    index = (step_Rn + (rows_R * VALUES).int()[:, None]).flatten()
    albedo = [ramp.flatten().index_select(0, index).view_as(value_Rn) for ramp in materials.ramp_3BTV]
    grain_R1 = row(materials.grain_BT)
    shade_Rn = 1 + grain_R1 * ((fine_2Rn[1] - 0.5) * 1.6 + (fields_5Rn[1] - 0.5) * 0.9)
    albedo_3Rn = (torch.stack(albedo) * shade_Rn).clamp(0, 1)
    return Paint(albedo_3Rn, height_Rn * row(materials.bump_BT))


def _stacked(pattern: Pattern) -> Callable[..., Tensor]:
    def both(*values: Tensor) -> Tensor:
        return torch.stack(pattern(Spot(*values)))

    return both
