"""Render the parameters of scenes to images, masks and depth.

Each pixel has 2 x 2 samples of visibility and shadow. Texture and light are computed once for each surface
in a pixel, and weighted by the samples that see it (as in multisampling). Mask and depth are those at the
pixel's center.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.camera import CENTERS, QUARTERS
from slotlab.framework.scenes.colors import WHITE, encoding
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.light import (
    Lights,
    Surface,
    ground_openness,
    ground_shadow,
    object_shadow,
    shine,
)
from slotlab.framework.scenes.materials import Materials
from slotlab.framework.scenes.paint import paint_ground, paint_objects, relief
from slotlab.framework.scenes.vectors import normalize
from slotlab.framework.scenes.visibility import Pairs, Surfaces, centers, normals, see

_UNIT = 2**24
"""The number of steps of light as a whole number, of which four fit in an int32."""


@dataclass(frozen=True)
class Centers:
    """Mask and depth at the centers of the pixels."""

    masks_BHW: Tensor
    """uint8: 0 for the ground, i for object i."""
    depth_BHW: Tensor
    """float32: along the camera's axis, in world units."""


def see_centers(layout: SceneLayout) -> Centers:
    """Return mask and depth at the centers of the pixels."""
    rays_3B1N, along_1SN = layout.camera.rays(CENTERS)
    surfaces = see(layout, rays_3B1N)
    masks = torch.zeros(surfaces.distance_BSN.numel(), dtype=torch.uint8, device=rays_3B1N.device)
    index_Q = surfaces.pairs.samples(1, rays_3B1N.shape[3])[:, 0]
    masks.index_copy_(0, index_Q, (surfaces.pairs.object_Q + 1).to(torch.uint8))
    shape = (-1, *layout.camera.size)
    return Centers(masks.view(shape), (surfaces.distance_BSN * along_1SN).view(shape))


def render(layout: SceneLayout, materials: Materials, lights: Lights) -> Tensor:
    """Return the pictures, uint8 sRGB of shape (B, H, W, 3)."""
    rays_3BSN, _ = layout.camera.rays(QUARTERS)
    surfaces = see(layout, rays_3BSN)
    ground_3BN = _ground(layout, materials, lights, rays_3BSN, surfaces)
    objects_3Q = _objects(layout, materials, lights, rays_3BSN, surfaces)
    # Whole numbers, whose sum does not depend on the order.
    parts_BN, parts_Q = surfaces.open_BSN.sum(1), surfaces.seen_QS.sum(1)
    total_3BN = _whole(ground_3BN) * parts_BN.int()
    index_Q = surfaces.pairs.places(rays_3BSN.shape[3])
    total_3BN.flatten(1).index_add_(1, index_Q, _whole(objects_3Q) * parts_Q.int())
    mean_3BN = total_3BN.float() * (1 / (_UNIT * rays_3BSN.shape[2]))
    index = (mean_3BN.sqrt() * 2047 + 0.5).int()
    image_3BN = encoding(index.device).index_select(0, index.flatten()).view_as(index)
    return image_3BN.reshape(3, -1, *layout.camera.size).permute(1, 2, 3, 0).contiguous()


def _whole(light: Tensor) -> Tensor:
    return (light * (_UNIT / WHITE)).clamp(0, _UNIT).int()


def _ground(
    layout: SceneLayout, materials: Materials, lights: Lights, rays_3BSN: Tensor, surfaces: Surfaces
) -> Tensor:
    # Light from the ground at the pixels' centers, (3, B, N).
    rays_3BN = layout.camera.rays(CENTERS)[0][:, :, 0]
    position_3B1 = layout.camera.position_3B[:, :, None]
    distance_BN = position_3B1[2] / (-rays_3BN[2]).clamp(min=0.02)
    points_3BN = position_3B1 + distance_BN * rays_3BN
    # At a slant a pixel is longer than wide: this is the mean of both.
    spacing_BN = distance_BN * layout.camera.pixel / (-rays_3BN[2]).clamp(min=0.02).sqrt()
    paint = paint_ground(materials, points_3BN, spacing_BN)
    up_3BN = torch.zeros_like(points_3BN)
    up_3BN[2] = 1
    rows_B = torch.arange(rays_3BN.shape[1], device=rays_3BN.device)
    right_BN, below_BN = _beside(layout, rows_B)
    surface = Surface(
        points=points_3BN,
        normals=relief(paint, points_3BN, up_3BN, right_BN, below_BN),
        rays=rays_3BN,
        albedo=paint.albedo_3Rn,
        gloss=materials.gloss_BT[:, :1] * 0.5,
        metal=torch.zeros_like(materials.metal_BT[:, :1]),
        lit=_mean_lit(layout, lights, rays_3BSN, surfaces.open_BSN),
        openness=ground_openness(layout, points_3BN),
    )
    return shine(lights, rows_B, surface)


def _mean_lit(layout: SceneLayout, lights: Lights, rays_3BSN: Tensor, open_BSN: Tensor) -> Tensor:
    # The mean over the samples of a pixel that show the ground.
    position_3B11 = layout.camera.position_3B[:, :, None, None]
    points_3BSN = position_3B11 + position_3B11[2] / (-rays_3BSN[2]).clamp(min=0.02) * rays_3BSN
    lit_BSN = ground_shadow(layout, lights, points_3BSN, open_BSN.any(1))
    return (lit_BSN * open_BSN).sum(1) / open_BSN.sum(1).clamp(min=1)


def _objects(
    layout: SceneLayout, materials: Materials, lights: Lights, rays_3BSN: Tensor, surfaces: Surfaces
) -> Tensor:
    # Light from the objects, (3, Q): of the middle of the samples that see the object.
    pairs, seen_QS = surfaces.pairs, surfaces.seen_QS
    share_QS = seen_QS / seen_QS.sum(1, keepdim=True)
    position_3Q1 = layout.camera.position_3B.index_select(1, pairs.picture_Q)[..., None]
    rays_3QS = pairs.pick(rays_3BSN)
    away_3QS = rays_3QS * surfaces.distance_QS.masked_fill(~seen_QS, 0.0)
    ray_3Q1, away_3Q1 = _total(rays_3QS * share_QS), _total(away_3QS * share_QS)
    point_3Q1 = position_3Q1 + away_3Q1
    points_3QS = position_3Q1 + torch.where(seen_QS, away_3QS, away_3Q1)
    normals_3QS = normals(layout, pairs, points_3QS)
    normal_3Q1 = normalize(_total(normals_3QS * share_QS))
    rows_Q = pairs.picture_Q * materials.family_BT.shape[1] + pairs.object_Q + 1
    spacing_Q1 = surfaces.distance_QS.amin(1, keepdim=True) * layout.camera.pixel
    paint = paint_objects(materials, rows_Q, point_3Q1 - centers(layout, pairs), spacing_Q1)
    right_Q, below_Q = _same_beside(layout, pairs, seen_QS.all(1))
    height_Q1 = (point_3Q1[2] / (1.2 * pairs.take(layout.size_BK))).clamp(0, 1)
    lit_QS = object_shadow(layout, lights, pairs, points_3QS, normals_3QS)
    surface = Surface(
        points=point_3Q1,
        normals=relief(paint, point_3Q1, normal_3Q1, right_Q, below_Q),
        rays=ray_3Q1,
        albedo=paint.albedo_3Rn,
        gloss=materials.gloss_BT.flatten().index_select(0, rows_Q)[:, None],
        metal=materials.metal_BT.flatten().index_select(0, rows_Q)[:, None],
        lit=_total(lit_QS * share_QS),
        openness=0.55 + 0.45 * height_Q1,
    )
    return shine(lights, pairs.picture_Q, surface)[..., 0]


def _beside(layout: SceneLayout, picture_B: Tensor) -> tuple[Tensor, Tensor]:
    # Where the pixels to the right and below are among all, (B, N); at the edge, the pixel itself.
    rows, columns = layout.camera.size
    row_H = torch.arange(rows, device=picture_B.device)[:, None]
    column_W = torch.arange(columns, device=picture_B.device)
    right_N = (row_H * columns + (column_W + 1).clamp(max=columns - 1)).flatten()
    below_N = ((row_H + 1).clamp(max=rows - 1) * columns + column_W).flatten()
    start_B1 = picture_B[:, None] * (rows * columns)
    return start_B1 + right_N, start_B1 + below_N


def _same_beside(layout: SceneLayout, pairs: Pairs, whole_Q: Tensor) -> tuple[Tensor, Tensor]:
    # The pairs to the right and below if both pixels show nothing but the object, else the pair itself.
    pixels = layout.camera.size[0] * layout.camera.size[1]
    own_Q = torch.arange(len(whole_Q), device=whole_Q.device)
    place_Q = pairs.places(pixels)
    # At an outline several objects share a pixel and none fills it: they go to an unused place.
    last = len(layout.count_B) * pixels
    pair_M = torch.full((last + 1,), -1, device=whole_Q.device)
    pair_M.index_copy_(0, torch.where(whole_Q, place_Q, last), own_Q)
    found = []
    for beside_BN in _beside(layout, torch.arange(len(layout.count_B), device=whole_Q.device)):
        next_Q = pair_M.index_select(0, beside_BN.flatten().index_select(0, place_Q))
        same_Q = (
            whole_Q & (next_Q >= 0) & (pairs.object_Q.index_select(0, next_Q.clamp(min=0)) == pairs.object_Q)
        )
        found.append(torch.where(same_Q, next_Q, own_Q))
    return found[0], found[1]


def _total(values: Tensor) -> Tensor:
    # The sum over a pixel's four samples, in an order that does not depend on the batch.
    a, b, c, d = values.unbind(-1)
    return ((a + b) + (c + d))[..., None]
