"""Generated scenes: textured solids on a textured ground, ray cast in batches with torch.

Reading order: `recipe` (what scenes are made of), `draw` (pictures by their numbers), then
how: `chance` (random numbers), `layout` and `camera` (what stands where), `materials`,
`families` and `colors` (what it is made of), `shapes` and `traced` (solids), `trace` (what a
ray meets), `noise`, `patterns` and `paint` (textures), `light` and `render` (pictures).

Axes: B pictures, H rows, W columns, C channels, S samples of a pixel, N pixels of a
picture (row by row), K objects, T surfaces (the ground and the objects), Q pairs of an
object and a pixel, R rows of n points. Vectors lie along a first axis of 3: x, y and z, with
z up and the ground at z = 0.
"""

from slotlab.framework.scenes.pictures import NoSceneError, Pictures, Scenes, draw_pictures
from slotlab.framework.scenes.recipe import RECIPES, Recipe

__all__ = ["RECIPES", "NoSceneError", "Pictures", "Recipe", "Scenes", "draw_pictures"]
