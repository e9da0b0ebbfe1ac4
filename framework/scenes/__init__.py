"""Generated scenes: textured solids on a textured ground, ray cast in batches with torch.

Reading order: `recipe` (what scenes are made of) and `pictures` (drawing pictures by their numbers). Then
the parts: `counter_random` (random numbers), `attempts` (drawing again until a scene is valid), `layout` and
`camera` (where everything is), `materials`, `families` and `colors` (what it is made of), `solids` and
`solids_by_distance` (shapes), `visibility` (what a ray meets), `noise`, `patterns` and `paint` (textures),
`light` and `render` (images). `export` and `clevrtex_writer` write them to disk.

Videos are such scenes with objects that move: `moving_recipe` and `videos`, then `start_of_motion`, `motion`
(the physics), `coverage` (what is hidden), `motion_fields` (flow, depth, boxes) and `kept_videos`.

Axes: B pictures, H rows, W columns, C channels, S samples of a pixel, N pixels of a
picture (row by row), K objects, T surfaces (the ground and the objects), Q pairs of an
object and a pixel, R rows of n points. Vectors lie along a first axis of 3: x, y and z, with
z up and the ground at z = 0.
"""

from slotlab.framework.scenes.attempts import NoSceneError
from slotlab.framework.scenes.pictures import Pictures, Scenes, draw_pictures
from slotlab.framework.scenes.recipe import RECIPES, Recipe

__all__ = ["RECIPES", "NoSceneError", "Pictures", "Recipe", "Scenes", "draw_pictures"]
