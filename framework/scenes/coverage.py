"""How many pixels each object covers, hidden by others or not."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.scenes.camera import CENTERS
from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.visibility import meet, near_pairs


@dataclass(frozen=True)
class Coverage:
    """Pixels of each object, counted at their centers; int64."""

    seen_BK: Tensor
    """Where it is the nearest surface: its pixels in the mask."""
    alone_BK: Tensor
    """Where it would be if it were the only object."""

    @property
    def visible_BK(self) -> Tensor:
        """The part of an object in the picture that no other hides, from 0 to 1; 0 if none of it is there."""
        return self.seen_BK / self.alone_BK.clamp(min=1)


def cover(layout: SceneLayout) -> Coverage:
    """Return how many pixels each object of B pictures covers."""
    rays_3BN = layout.camera.rays(CENTERS)[0][:, :, 0]
    position_3B = layout.camera.position_3B
    pairs = near_pairs(layout, position_3B, rays_3BN, torch.zeros_like(layout.bound_BK))
    places_Q = pairs.places(rays_3BN.shape[2])
    rays_3Q1 = torch.stack([values.flatten().index_select(0, places_Q) for values in rays_3BN])[..., None]
    hit_Q = meet(layout, pairs, position_3B.index_select(1, pairs.picture_Q)[..., None], rays_3Q1)[:, 0]
    floor_BN = position_3B[2, :, None] / (-rays_3BN[2]).clamp(min=0.02)
    nearest = floor_BN.flatten().scatter_reduce(0, places_Q, hit_Q, "amin")
    bodies_Q = pairs.body(layout.bound_BK.shape[1])
    counts = []
    for nearest_Q in (nearest.index_select(0, places_Q), floor_BN.flatten().index_select(0, places_Q)):
        found_Q = bodies_Q.masked_select(hit_Q <= nearest_Q)
        counts.append(found_Q.bincount(minlength=layout.bound_BK.numel()).view_as(layout.bound_BK))
    return Coverage(*counts)
