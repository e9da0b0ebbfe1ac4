"""Draw the positions of objects and cameras, for B pictures at once.

Lengths are in CLEVR's world units: objects stand on the ground z = 0, in a field about 6 wide. Axes: B
pictures, K objects (the largest number in any picture), T tries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.camera import Camera, draw_camera
from slotlab.framework.scenes.counter_random import Chance
from slotlab.framework.scenes.recipe import Recipe
from slotlab.framework.scenes.solids import EXTENTS, SHAPES
from slotlab.framework.scenes.solids_by_distance import ball_bound, draw_balls
from slotlab.framework.scenes.vectors import cosine, sine

_GAP = 0.12
"""The least distance between the footprints of two objects."""
_PLACINGS = 48
"""The number of positions that are tried for each object."""
_SHAPE, _SIZE, _YAW, _BALLS, _PLACE = range(10, 15)  # streams


@dataclass(frozen=True)
class SceneLayout:
    """The objects and cameras of B scenes. Objects from number `count_B` on do not exist."""

    camera: Camera
    count_B: Tensor
    placed_B: Tensor
    """Whether all objects found room; bool."""
    shape_BK: Tensor
    """Index into SHAPES; int64."""
    size_BK: Tensor
    centers_3BK: Tensor
    yaw_BK: Tensor
    """The angle around the z axis in full turns, [0, 1)."""
    cosine_BK: Tensor
    """The cosine of the yaw."""
    sine_BK: Tensor
    balls_16BK: Tensor
    """The balls that blobs consist of; see `solids_by_distance.draw_balls`."""
    bound_BK: Tensor
    """The radius of the bounding sphere around the center."""

    @property
    def present_BK(self) -> Tensor:
        """Which objects exist; bool."""
        places = torch.arange(self.shape_BK.shape[1], device=self.count_B.device)
        return places < self.count_B[:, None]


def draw_layout(chance: Chance, recipe: Recipe, size: Size, count_B: Tensor) -> SceneLayout:
    """Draw the objects and the camera of scenes with `count_B` objects (int64)."""
    most = recipe.counts[1]
    camera = draw_camera(chance, recipe.view, size)
    device = count_B.device
    shapes = torch.tensor([SHAPES.index(shape) for shape in recipe.shapes], device=device)
    sizes = torch.tensor(recipe.sizes, device=device)
    shape_BK = shapes[chance.choice(_SHAPE, len(recipe.shapes), most)]
    size_BK = sizes[chance.choice(_SIZE, len(recipe.sizes), most)]
    extents = [EXTENTS[shape] for shape in SHAPES]
    table_3S = torch.tensor(
        [[e.half_height for e in extents], [e.footprint for e in extents], [e.bound for e in extents]],
        device=device,
    )
    height_BK, foot_BK, bound_BK = (row[shape_BK] * size_BK for row in table_3S)
    balls_16BK = draw_balls(chance.uniform(_BALLS, most, 12))
    blob_BK = shape_BK == SHAPES.index("blob")
    bound_BK = torch.where(blob_BK, ball_bound(balls_16BK) * size_BK, bound_BK)
    x_BK, y_BK, placed_B = _place(chance, recipe, camera, count_B, (height_BK, foot_BK, bound_BK))
    yaw_BK = chance.uniform(_YAW, most)
    return SceneLayout(
        camera=camera,
        count_B=count_B,
        placed_B=placed_B,
        shape_BK=shape_BK,
        size_BK=size_BK,
        centers_3BK=torch.stack([x_BK, y_BK, height_BK]),
        yaw_BK=yaw_BK,
        cosine_BK=cosine(yaw_BK),
        sine_BK=sine(yaw_BK),
        balls_16BK=balls_16BK,
        bound_BK=bound_BK,
    )


def _place(
    chance: Chance, recipe: Recipe, camera: Camera, count_B: Tensor, extents: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    # One object after another takes the first of its tries that is in view and free.
    height_BK, foot_BK, bound_BK = extents
    most = height_BK.shape[1]
    tall, wide = (3.0, 3.0) if recipe.view == "full" else (4 * camera.tall, 3 * camera.wide)
    x_BKT, y_BKT = chance.uniform(_PLACE, 2, most, _PLACINGS, low=-1, high=1).unbind(1)
    x_BKT, y_BKT = wide * x_BKT, tall * y_BKT
    open_BKT = torch.ones_like(x_BKT, dtype=torch.bool)
    if recipe.view == "crop":
        points_3BKT = torch.stack([x_BKT, y_BKT, height_BK[..., None].expand_as(x_BKT)])
        open_BKT = camera.holds(points_3BKT, bound_BK[..., None])
    first = torch.arange(_PLACINGS, 0, -1, device=count_B.device)
    x_BK, y_BK = torch.full_like(height_BK, 1e3), torch.full_like(height_BK, 1e3)
    placed_B = torch.ones_like(count_B, dtype=torch.bool)
    for number in range(most):
        x_BT, y_BT, free_BT = x_BKT[:, number], y_BKT[:, number], open_BKT[:, number]
        dx_BjT = x_BT[:, None] - x_BK[:, :number, None]
        dy_BjT = y_BT[:, None] - y_BK[:, :number, None]
        apart_Bj = foot_BK[:, :number] + foot_BK[:, number, None] + _GAP
        free_BT = free_BT & (dx_BjT * dx_BjT + dy_BjT * dy_BjT > (apart_Bj * apart_Bj)[..., None]).all(1)
        found_B, try_B = (free_BT * first).max(1)
        absent_B = number >= count_B
        placed_B = placed_B & ((found_B > 0) | absent_B)
        x_BK[:, number] = x_BT.gather(1, try_B[:, None])[:, 0].masked_fill(absent_B, 1e3)
        y_BK[:, number] = y_BT.gather(1, try_B[:, None])[:, 0].masked_fill(absent_B, 1e3)
    return x_BK, y_BK, placed_B
