"""Flow, depth and boxes of frames: exact, from the parameters that the frames are rendered from.

Flow is that of the surface at a pixel's center, as (row, column) in pixels: rows count downward. Backward
flow says how far the surface moved since the frame before, forward flow how far it will move until the next:
even motion gives both one sign, as in Kubric's data. Cameras stand still, so the ground has a flow of exactly
0; shadows have none. Axes: B frames, H rows, W columns, K objects, N pixels.
"""

import torch
from torch import Tensor

from slotlab.framework.scenes.camera import CENTERS, Camera
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.render import Centers
from slotlab.framework.scenes.vectors import dot


def backward_flow(now: SceneLayout, before: SceneLayout, centers: Centers) -> Tensor:
    """Return how far each pixel's surface moved since the frame before, float32 (B, H, W, 2).

    Args:
        now: the frames' layout.
        before: the layout one frame earlier; only its objects' centers differ.
        centers: mask and depth of the frames (`render.see_centers(now)`).
    """
    points_3BN, moved_3BN = _surfaces(now, before, centers)
    return _pixels(now.camera, points_3BN, points_3BN - moved_3BN, centers)


def forward_flow(now: SceneLayout, after: SceneLayout, centers: Centers) -> Tensor:
    """Return how far each pixel's surface moves until the next frame, float32 (B, H, W, 2)."""
    points_3BN, moved_3BN = _surfaces(now, after, centers)
    return _pixels(now.camera, points_3BN - moved_3BN, points_3BN, centers)


def boxes(masks_BHW: Tensor, most: int) -> Tensor:
    """Return each object's box, float32 (B, K, 4) for K = `most`: top, left, bottom, right of the picture's.

    Edges are from 0 to 1, bottom and right ones behind the last pixel; an object without a pixel has zeros.
    """
    labels_K = torch.arange(1, most + 1, device=masks_BHW.device)
    own_BKHW = masks_BHW[:, None] == labels_K[:, None, None]
    edges = []
    for line_BKn in (own_BKHW.any(3), own_BKHW.any(2)):
        length = line_BKn.shape[2]
        steps_n = torch.arange(length, device=masks_BHW.device)
        low_BK = steps_n.expand_as(line_BKn).masked_fill(~line_BKn, length).amin(2)
        high_BK = (steps_n + 1).expand_as(line_BKn).masked_fill(~line_BKn, 0).amax(2)
        edges.append((torch.minimum(low_BK, high_BK) / length, high_BK / length))
    (top_BK, bottom_BK), (left_BK, right_BK) = edges
    return torch.stack([top_BK, left_BK, bottom_BK, right_BK], -1)


def _surfaces(now: SceneLayout, other: SceneLayout, centers: Centers) -> tuple[Tensor, Tensor]:
    # The points that pixels show, and where they are now less where they are then, both (3, B, N).
    camera = now.camera
    rays_3BN = camera.rays(CENTERS)[0][:, :, 0]
    along_BN = dot(camera.forward_3B[..., None].expand_as(rays_3BN), rays_3BN)
    distance_BN = centers.depth_BHW.flatten(1) / along_BN
    points_3BN = camera.position_3B[..., None] + distance_BN * rays_3BN
    moved_3BK = now.centers_3BK - other.centers_3BK
    still_3B1 = torch.zeros_like(moved_3BK[..., :1])
    labels_BN = centers.masks_BHW.flatten(1).long()
    moved_3BN = torch.cat([still_3B1, moved_3BK], 2).gather(2, labels_BN.expand(3, -1, -1))
    return points_3BN, moved_3BN


def _pixels(camera: Camera, to_3BN: Tensor, from_3BN: Tensor, centers: Centers) -> Tensor:
    # The way from one point's pixel to another's.
    (u_BN, v_BN, _), (former_u_BN, former_v_BN, _) = camera.project(to_3BN), camera.project(from_3BN)
    half = min(camera.size) / 2
    flow_BN2 = torch.stack([(former_v_BN - v_BN) * half, (u_BN - former_u_BN) * half], -1)
    return flow_BN2.view(*centers.masks_BHW.shape, 2)
