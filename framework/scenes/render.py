"""From the parameters of scenes to pictures, masks and depth.

The color of a pixel is the mean of 2 x 2 samples; mask and depth are what its center shows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.camera import CENTERS, QUARTERS
from slotlab.framework.scenes.colors import encoding
from slotlab.framework.scenes.layout import Layout
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
from slotlab.framework.scenes.trace import Surfaces, centers, normals, see


@dataclass(frozen=True)
class Centers:
    """What the centers of the pixels show."""

    masks_BHW: Tensor
    """uint8: 0 for the ground, i for object i."""
    depth_BHW: Tensor
    """float32: along the camera's axis, in world units."""


def see_centers(layout: Layout) -> Centers:
    """Return mask and depth at the centers of the pixels."""
    rays_3B1N, along_1SN = layout.camera.rays(CENTERS)
    surfaces = see(layout, rays_3B1N)
    masks = torch.zeros(surfaces.distance_BSN.numel(), dtype=torch.uint8, device=rays_3B1N.device)
    index_Q = surfaces.pairs.samples(1, rays_3B1N.shape[3])[:, 0]
    masks.index_copy_(0, index_Q, (surfaces.pairs.object_Q + 1).to(torch.uint8))
    shape = (-1, *layout.camera.size)
    return Centers(masks.view(shape), (surfaces.distance_BSN * along_1SN).view(shape))


def render(layout: Layout, materials: Materials, lights: Lights) -> Tensor:
    """Return the pictures, uint8 sRGB of shape (B, H, W, 3)."""
    rays_3BSN, _ = layout.camera.rays(QUARTERS)
    surfaces = see(layout, rays_3BSN)
    light_3BSN = _ground(layout, materials, lights, rays_3BSN)
    _add_objects(light_3BSN, layout, materials, lights, rays_3BSN, surfaces)
    a, b, c, d = light_3BSN.clamp(0, 1).unbind(2)
    mean_3BN = 0.25 * ((a + b) + (c + d))
    index = (mean_3BN.sqrt() * 2047 + 0.5).int()
    image_3BN = encoding(index.device).index_select(0, index.flatten()).view_as(index)
    return image_3BN.reshape(3, -1, *layout.camera.size).permute(1, 2, 3, 0).contiguous()


def _ground(layout: Layout, materials: Materials, lights: Lights, rays_3BSN: Tensor) -> Tensor:
    pictures = rays_3BSN.shape[1]
    position_3B11 = layout.camera.position_3B[:, :, None, None]
    distance_BSN = position_3B11[2] / (-rays_3BSN[2]).clamp(min=0.02)
    points_3BSN = position_3B11 + distance_BSN * rays_3BSN
    spacing_Bn = distance_BSN.flatten(1) * (0.5 * layout.camera.pixel)
    paint = paint_ground(materials, points_3BSN.flatten(2), spacing_Bn)
    up_3BSN = torch.zeros_like(points_3BSN)
    up_3BSN[2] = 1
    bent_3BSN = relief(paint, points_3BSN, up_3BSN, None)
    openness_BN = ground_openness(layout, points_3BSN[:, :, 0])
    surface = Surface(
        points=points_3BSN.flatten(2),
        normals=bent_3BSN.flatten(2),
        rays=rays_3BSN.flatten(2),
        albedo=paint.albedo_3Rn,
        gloss=materials.gloss_BT[:, :1] * 0.5,
        metal=torch.zeros_like(materials.metal_BT[:, :1]),
        lit=ground_shadow(layout, lights, points_3BSN).flatten(1),
        openness=openness_BN[:, None].expand(distance_BSN.shape).flatten(1),
    )
    rows_B = torch.arange(pictures, device=rays_3BSN.device)
    return shine(lights, rows_B, surface).view_as(rays_3BSN)


def _add_objects(
    light_3BSN: Tensor,
    layout: Layout,
    materials: Materials,
    lights: Lights,
    rays_3BSN: Tensor,
    surfaces: Surfaces,
) -> None:
    # Writes the objects' light over the ground's.
    pairs, seen_QS = surfaces.pairs, surfaces.seen_QS
    rays_3QS = pairs.pick(rays_3BSN)
    position_3Q1 = layout.camera.position_3B.index_select(1, pairs.picture_Q)[..., None]
    # Samples that miss the object stay beside those that meet it, to be dropped in the end.
    nearest_Q1 = surfaces.distance_QS.amin(1, keepdim=True)
    distance_QS = torch.where(torch.isfinite(surfaces.distance_QS), surfaces.distance_QS, nearest_Q1)
    points_3QS = position_3Q1 + distance_QS * rays_3QS
    center_3Q1 = centers(layout, pairs)
    normals_3QS = normals(layout, pairs, points_3QS)
    rows_Q = pairs.picture_Q * materials.family_BT.shape[1] + pairs.object_Q + 1
    spacing_QS = distance_QS * (0.5 * layout.camera.pixel)
    paint = paint_objects(materials, rows_Q, points_3QS - center_3Q1, spacing_QS)
    whole_Q1 = seen_QS.all(1, keepdim=True)
    bent_3QS = relief(paint, points_3QS[..., None], normals_3QS[..., None], whole_Q1)[..., 0]
    size_Q1 = pairs.take(layout.size_BK)
    height_QS = (points_3QS[2] / (1.2 * size_Q1)).clamp(0, 1)
    surface = Surface(
        points=points_3QS,
        normals=bent_3QS,
        rays=rays_3QS,
        albedo=paint.albedo_3Rn,
        gloss=materials.gloss_BT.flatten().index_select(0, rows_Q)[:, None],
        metal=materials.metal_BT.flatten().index_select(0, rows_Q)[:, None],
        lit=object_shadow(layout, lights, pairs, points_3QS, normals_3QS),
        openness=0.55 + 0.45 * height_QS,
    )
    light_3QS = shine(lights, pairs.picture_Q, surface)
    index = pairs.samples(*light_3BSN.shape[2:])[seen_QS]
    light_3BSN.flatten(1).index_copy_(1, index, light_3QS[:, seen_QS])
