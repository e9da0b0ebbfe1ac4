"""Draw pictures by their numbers: find a scene that shows enough of every object, and render it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.attempts import find_attempts, start
from slotlab.framework.scenes.counter_random import Chance, picture_keys
from slotlab.framework.scenes.coverage import cover
from slotlab.framework.scenes.layout import SceneLayout, draw_layout
from slotlab.framework.scenes.light import Lights, draw_lights
from slotlab.framework.scenes.material_families import FAMILIES
from slotlab.framework.scenes.materials import Materials, draw_materials
from slotlab.framework.scenes.recipe import Recipe, least_pixels
from slotlab.framework.scenes.render import render, see_centers
from slotlab.framework.scenes.solids import SHAPES
from slotlab.framework.scenes.vectors import pictures

_SCENES = {"cpu": 2**20, "cuda": 2**23}
"""The number of pixels whose scenes are drawn at once, by kind of device."""
_PIXELS = {"cpu": 2**17, "cuda": 2**22}
"""The number of pixels rendered at once: they fit a CPU's cache, or occupy a GPU within a few GB."""


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
    for group in parts(indices, _SCENES[kind] // (size[0] * size[1])):
        scenes = _find_scenes(recipe, size, seed, split, group, device)
        found.append(scenes)
        centers.append(see_centers(scenes.layout))
        for some in parts(range(len(group)), _PIXELS[kind] // (size[0] * size[1])):
            few = pictures(scenes, some[0], some[-1] + 1)
            images.append(render(few.layout, few.materials, few.lights))
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


def parts(indices: Sequence[int], length: int) -> Iterator[Sequence[int]]:
    """Yield consecutive parts of so many indices, at least one."""
    for first in range(0, len(indices), max(1, length)):
        yield indices[first : first + max(1, length)]


def _find_scenes(
    recipe: Recipe, size: Size, seed: int, split: int, indices: Sequence[int], device: torch.device
) -> Scenes:
    keys_B = picture_keys(seed, split, torch.tensor(list(indices), device=device))
    attempts_B = find_attempts(recipe, keys_B, indices, partial(_shows_all, recipe, size))
    chance, count_B = start(recipe, keys_B, attempts_B)
    layout = draw_layout(chance, recipe, size, count_B)
    return Scenes(layout, draw_materials(chance, recipe, layout), draw_lights(chance, recipe.lighting))


def _shows_all(recipe: Recipe, size: Size, chance: Chance, count_M: Tensor) -> Tensor:
    layout = draw_layout(chance, recipe, size, count_M)
    masks = see_centers(layout).masks_BHW.flatten(1).long()
    seen_MK = torch.zeros(len(count_M), recipe.counts[1] + 1, device=count_M.device, dtype=torch.long)
    seen_MK.scatter_add_(1, masks, torch.ones_like(masks))
    enough_MK = (seen_MK[:, 1:] >= least_pixels(recipe, size)) | ~layout.present_BK
    valid_M = layout.placed_B & enough_MK.all(1)
    if recipe.hidden > 0:
        valid_M &= ((cover(layout).visible_BK <= 1 - recipe.hidden) & layout.present_BK).any(1)
    return valid_M
