"""What rays meet: sparse lists of (object, pixel) pairs, and the nearest surface.

A ray is tested against an object only if its pixel passes the object's bounding sphere. Axes:
B pictures, K objects, S samples of a pixel, N = H*W pixels, Q pairs of an object and a pixel.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from slotlab.framework.scenes.layout import SceneLayout
from slotlab.framework.scenes.solids import SHAPES, SOLIDS
from slotlab.framework.scenes.vectors import by_kind, dot, turn

_MARGIN = 1.002
"""Bounding spheres are enlarged by this factor, against rounding."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of an object and a pixel whose rays may meet it. Indices are int64 of shape (Q,)."""

    picture_Q: Tensor
    object_Q: Tensor
    pixel_Q: Tensor

    def take(self, values_BK: Tensor) -> Tensor:
        """Return the value of each pair's object, (Q, 1)."""
        return values_BK.flatten().index_select(0, self.body(values_BK.shape[1]))[:, None]

    def body(self, objects: int) -> Tensor:
        """Return the index of each pair's object among those of all pictures, (Q,)."""
        return self.picture_Q * objects + self.object_Q

    def places(self, pixels: int) -> Tensor:
        """Return the index of each pair's pixel among those of all pictures, (Q,)."""
        return self.picture_Q * pixels + self.pixel_Q

    def samples(self, samples: int, pixels: int) -> Tensor:
        """Return the index of each pair's samples among those of all pictures, (Q, S)."""
        steps_S = torch.arange(samples, device=self.pixel_Q.device)
        return ((self.picture_Q * samples)[:, None] + steps_S) * pixels + self.pixel_Q[:, None]

    def pick(self, vectors_3BSN: Tensor) -> Tensor:
        """Return the vectors of the samples of each pair's pixel, (3, Q, S)."""
        index_QS = self.samples(*vectors_3BSN.shape[2:])
        parts = [values.flatten().index_select(0, index_QS.flatten()) for values in vectors_3BSN]
        return torch.stack(parts).view(3, *index_QS.shape)

    def where(self, keep_Q: Tensor) -> "Pairs":
        """Return the pairs at these positions."""
        return Pairs(*(v.index_select(0, keep_Q) for v in (self.picture_Q, self.object_Q, self.pixel_Q)))


@dataclass(frozen=True)
class Surfaces:
    """The nearest surface along the rays of B pictures."""

    distance_BSN: Tensor
    open_BSN: Tensor
    """Where it is the ground; bool."""
    pairs: Pairs
    """The pairs whose object is the nearest surface in at least one sample."""
    distance_QS: Tensor
    """The distance of the pair's object; inf where a sample misses it."""
    seen_QS: Tensor
    """Where the object is the nearest surface; bool."""


def see(layout: SceneLayout, rays_3BSN: Tensor) -> Surfaces:
    """Return what the cameras see along `rays_3BSN`, of length 1."""
    position = layout.camera.position_3B[:, :, None, None]
    floor_BSN = position[2] / (-rays_3BSN[2]).clamp(min=0.02)
    # The first sample stands for its pixel, and the others are up to a pixel's width away.
    spread = layout.camera.pixel * 1.5 * layout.camera.reach if rays_3BSN.shape[2] > 1 else 0.0
    slack_BK = torch.full_like(layout.bound_BK, spread)
    pairs = near_pairs(layout, layout.camera.position_3B, rays_3BSN[:, :, 0], slack_BK)
    rays_3QS = pairs.pick(rays_3BSN)
    origin_3Q1 = position[:, :, 0, 0].index_select(1, pairs.picture_Q)[..., None]
    hit_QS = meet(layout, pairs, origin_3Q1, rays_3QS)
    index_QS = pairs.samples(*rays_3BSN.shape[2:])
    distance = floor_BSN.flatten().scatter_reduce(0, index_QS.flatten(), hit_QS.flatten(), "amin")
    distance_BSN = distance.view_as(floor_BSN)
    seen_QS = hit_QS <= distance.index_select(0, index_QS.flatten()).view_as(hit_QS)
    kept_Q = seen_QS.any(1).nonzero()[:, 0]
    hit_QS, seen_QS = hit_QS.index_select(0, kept_Q), seen_QS.index_select(0, kept_Q)
    return Surfaces(distance_BSN, distance_BSN == floor_BSN, pairs.where(kept_Q), hit_QS, seen_QS)


def near_pairs(
    layout: SceneLayout,
    origin_3B: Tensor,
    rays_3BN: Tensor,
    slack_BK: Tensor,
    wanted_BN: Tensor | None = None,
) -> Pairs:
    """Return the objects and pixels whose rays from `origin_3B` come within `slack_BK` of an object.

    A ray comes near a ball if it and the direction to the ball's center are nearly parallel:
    one inner product for each object and pixel.
    """
    to_center_3BK = layout.centers_3BK - origin_3B[..., None]
    squared_BK = dot(to_center_3BK, to_center_3BK)
    reach_BK = _MARGIN * layout.bound_BK + slack_BK
    least_BK = (squared_BK - reach_BK * reach_BK).clamp(min=0).sqrt()
    least_BK = least_BK.masked_fill(~layout.present_BK, float("inf"))
    flags = []
    for number in range(layout.shape_BK.shape[1]):
        along_BN = dot(to_center_3BK[:, :, number, None], rays_3BN)
        flags.append(along_BN >= least_BK[:, number, None])
        if wanted_BN is not None:
            flags[-1] &= wanted_BN
    picture_Q, object_Q, pixel_Q = torch.stack(flags, 1).nonzero().unbind(1)
    return Pairs(picture_Q, object_Q, pixel_Q)


def meet(layout: SceneLayout, pairs: Pairs, origin_3QS: Tensor, rays_3QS: Tensor) -> Tensor:
    """Return the distance along its rays at which each pair's object begins, (Q, S); inf for a miss.

    Origins are of shape (3, Q, S) or (3, Q, 1); rays have length 1.
    """
    cos, sin = pairs.take(layout.cosine_BK), pairs.take(layout.sine_BK)
    size_Q1 = pairs.take(layout.size_BK)
    local = turn(origin_3QS - centers(layout, pairs), cos, -sin) / size_Q1
    local = local.expand(-1, -1, rays_3QS.shape[-1])
    solids = [partial(SOLIDS[shape][0], layout.balls_16BK.flatten(1)) for shape in SHAPES]
    body_Q = pairs.body(layout.shape_BK.shape[1])
    kinds_Q = pairs.take(layout.shape_BK)[:, 0]
    return by_kind(kinds_Q, solids, local, turn(rays_3QS, cos, -sin), body_Q[:, None]) * size_Q1


def normals(layout: SceneLayout, pairs: Pairs, points_3QS: Tensor) -> Tensor:
    """Return the outward normals of the pairs' objects at points of their surfaces."""
    cos, sin = pairs.take(layout.cosine_BK), pairs.take(layout.sine_BK)
    local = turn(points_3QS - centers(layout, pairs), cos, -sin) / pairs.take(layout.size_BK)
    solids = [partial(SOLIDS[shape][1], layout.balls_16BK.flatten(1)) for shape in SHAPES]
    body_Q = pairs.body(layout.shape_BK.shape[1])
    kinds_Q = pairs.take(layout.shape_BK)[:, 0]
    return turn(by_kind(kinds_Q, solids, local, body_Q[:, None]), cos, sin)


def centers(layout: SceneLayout, pairs: Pairs) -> Tensor:
    """Return the centers of the pairs' objects, (3, Q, 1)."""
    return torch.stack([pairs.take(values_BK) for values_BK in layout.centers_3BK])
