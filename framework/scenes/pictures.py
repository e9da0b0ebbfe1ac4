"""Draw pictures by their numbers: find a scene that shows enough of every object, and render it.

The number of objects is drawn first. Then scenes are drawn until one shows enough of each object; after 30
failed attempts there is one object fewer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.counter_random import Chance, chain, picture_keys
from slotlab.framework.scenes.layout import SceneLayout, draw_layout
from slotlab.framework.scenes.light import Lights, draw_lights
from slotlab.framework.scenes.material_families import FAMILIES
from slotlab.framework.scenes.materials import Materials, draw_materials
from slotlab.framework.scenes.recipe import Recipe
from slotlab.framework.scenes.render import render, see_centers
from slotlab.framework.scenes.solids import SHAPES
from slotlab.framework.scenes.vectors import pictures

_COUNT = 0  # stream of the picture's own key
_TRIES = 30
"""The number of scenes that are drawn before the number of objects is reduced by one."""
_SCENES = {"cpu": 2**20, "cuda": 2**23}
"""The number of pixels whose scenes are drawn at once, by kind of device."""
_PIXELS = {"cpu": 2**17, "cuda": 2**22}
"""The number of pixels rendered at once: they fit a CPU's cache, or occupy a GPU within a few GB."""


class NoSceneError(Exception):
    """No scene that shows enough of every object was found for picture number `index`."""

    def __init__(self, index: int):
        super().__init__(index)
        self.index = index


@dataclass(frozen=True)
class Scenes:
    """The parameters of B scenes."""

    layout: SceneLayout
    materials: Materials
    lights: Lights


@dataclass(frozen=True)
class Pictures:
    """B pictures with their masks, depth and metadata."""

    images_BHWC: Tensor
    """uint8 sRGB of shape (B, H, W, 3)."""
    masks_BHW: Tensor
    """uint8: 0 for the ground, i for object i; the surface at the pixel's center."""
    depth_BHW: Tensor
    """float32: the depth of that surface along the camera's axis, in world units."""
    scenes: tuple[Scenes, ...]
    """The scenes in consecutive groups, together for all pictures."""

    def attributes(self) -> tuple[dict[str, Any], ...]:
        """Return the metadata of each picture, as JSON data; see `describe`."""
        return tuple(facts for scenes in self.scenes for facts in describe(scenes))


def draw_pictures(
    recipe: Recipe, size: Size, *, seed: int, split: int, indices: Sequence[int], device: torch.device
) -> Pictures:
    """Draw the pictures with numbers `indices`, at least one, of `size` (rows, columns).

    A picture depends on the recipe, the size, the seed, the split and its number alone.

    Raises:
        NoSceneError: if even the recipe's fewest objects found no room, or were not visible enough.
    """
    kind = device.type if device.type in _SCENES else "cuda"
    found, centers, images = [], [], []
    for group in _parts(indices, _SCENES[kind] // (size[0] * size[1])):
        scenes = _find_scenes(recipe, size, seed, split, group, device)
        found.append(scenes)
        centers.append(see_centers(scenes.layout))
        for part in _parts(range(len(group)), _PIXELS[kind] // (size[0] * size[1])):
            some = pictures(scenes, part[0], part[-1] + 1)
            images.append(render(some.layout, some.materials, some.lights))
    return Pictures(
        torch.cat(images),
        torch.cat([center.masks_BHW for center in centers]),
        torch.cat([center.depth_BHW for center in centers]),
        tuple(found),
    )


def describe(scenes: Scenes) -> Iterator[dict[str, Any]]:
    """Yield each picture's metadata, named as CLEVRTex names it.

    `num_objects`; `objects`, each with its `index` in the mask, `shape`, `size` (world units),
    `material` (texture family), `rotation` (degrees), `color` (sRGB, 0 to 255), `3d_coords`
    and `pixel_coords` (column, row, depth) of its center; and `ground_material`.
    """
    layout, materials = scenes.layout, scenes.materials
    rows, columns = layout.camera.size
    u_BK, v_BK, depth_BK = layout.camera.project(layout.centers_3BK)
    half = min(rows, columns) / 2
    places = torch.stack([columns / 2 + u_BK * half, rows / 2 - v_BK * half, depth_BK], -1)
    facts = zip(
        layout.count_B.tolist(),
        layout.shape_BK.tolist(),
        layout.size_BK.tolist(),
        layout.yaw_BK.tolist(),
        layout.centers_3BK.permute(1, 2, 0).tolist(),
        places.tolist(),
        materials.family_BT.tolist(),
        (255 * materials.colors_3BT).round().int().permute(1, 2, 0).tolist(),
        strict=True,
    )
    for count, shapes, sizes, yaws, centers, pixels, families, colors in facts:
        objects = [
            {
                "index": number + 1,
                "shape": SHAPES[shapes[number]],
                "size": round(sizes[number], 4),
                "material": FAMILIES[families[number + 1]],
                "rotation": round(360 * yaws[number], 3),
                "color": colors[number + 1],
                "3d_coords": [round(value, 4) for value in centers[number]],
                "pixel_coords": [round(value, 3) for value in pixels[number]],
            }
            for number in range(count)
        ]
        yield {"num_objects": count, "objects": objects, "ground_material": FAMILIES[families[0]]}


def _parts(indices: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(indices), max(1, length)):
        yield indices[start : start + max(1, length)]


def _find_scenes(
    recipe: Recipe, size: Size, seed: int, split: int, indices: Sequence[int], device: torch.device
) -> Scenes:
    keys_B = picture_keys(seed, split, torch.tensor(list(indices), device=device))
    chance, count_B = _start(recipe, keys_B, _find_attempts(recipe, size, keys_B, indices))
    layout = draw_layout(chance, recipe, size, count_B)
    return Scenes(layout, draw_materials(chance, recipe, layout), draw_lights(chance))


def _start(recipe: Recipe, keys_B: Tensor, attempts_B: Tensor) -> tuple[Chance, Tensor]:
    # The draws of an attempt, and its number of objects.
    low, high = recipe.counts
    drawn_B = low + Chance(keys_B).choice(_COUNT, high - low + 1)
    return Chance(chain(keys_B, attempts_B)), drawn_B - attempts_B // _TRIES


def _find_attempts(recipe: Recipe, size: Size, keys_B: Tensor, indices: Sequence[int]) -> Tensor:
    # The first attempt of each picture that shows enough; many at once for the last few pictures.
    attempts_B = torch.zeros_like(keys_B)
    waiting_W = torch.arange(len(keys_B), device=keys_B.device)
    done = 0
    while len(waiting_W):
        if done >= _TRIES * (recipe.counts[1] - recipe.counts[0] + 1):
            raise NoSceneError(indices[int(waiting_W[0])])
        together = min(max(1, len(keys_B) // (2 * len(waiting_W))), _TRIES)
        tried_A = torch.arange(done, done + together, device=keys_B.device)
        keys_M = keys_B[waiting_W].repeat_interleave(together)
        good_WA = _shows_all(recipe, size, keys_M, tried_A.repeat(len(waiting_W))).view(-1, together)
        found_W, first_W = (good_WA * torch.arange(together, 0, -1, device=keys_B.device)).max(1)
        attempts_B[waiting_W] = done + first_W
        waiting_W = waiting_W[found_W == 0]
        done += together
    return attempts_B


def _shows_all(recipe: Recipe, size: Size, keys_M: Tensor, attempts_M: Tensor) -> Tensor:
    chance, count_M = _start(recipe, keys_M, attempts_M)
    layout = draw_layout(chance, recipe, size, count_M.clamp(min=0))
    masks = see_centers(layout).masks_BHW.flatten(1).long()
    seen_MK = torch.zeros(len(keys_M), recipe.counts[1] + 1, device=keys_M.device, dtype=torch.long)
    seen_MK.scatter_add_(1, masks, torch.ones_like(masks))
    least = max(1.0, recipe.min_visible * size[0] * size[1])
    enough_MK = (seen_MK[:, 1:] >= least) | ~layout.present_BK
    return layout.placed_B & enough_MK.all(1) & (count_M >= recipe.counts[0])
