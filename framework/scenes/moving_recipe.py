"""What generated videos are made of, by variant: what objects are, and how they move.

`movi_a` is after Kubric's MOVi-A (Greff et al. 2022, "Kubric", appendix), `obj3d` after OBJ3D (Lin et al.
2020, "Improving Generative Imagination in Object-Centric World Models", section 4); `still` has most objects
at rest, as MOVi-D has.
"""

from typing import Literal, get_args

from slotlab.framework.scenes.motion import Motion
from slotlab.framework.scenes.recipe import PATTERNED, Recipe

MovingVariant = Literal["movi_a", "obj3d", "still", "textured"]
MOVING_VARIANTS: tuple[MovingVariant, ...] = get_args(MovingVariant)

_CLEVR = Recipe(
    shapes=("cube", "cylinder", "sphere"),
    sizes=(0.7, 1.0),
    textures=("plain",),
    ground_textures=("plain",),
    ground_colors="gray",
    shiny=0.5,
    counts=(3, 5),
)
MOVING: dict[MovingVariant, tuple[Recipe, Motion]] = {
    "movi_a": (_CLEVR, Motion()),
    "obj3d": (_CLEVR, Motion(movers=1, launched=True)),
    "still": (_CLEVR, Motion(movers=1)),
    "textured": (
        Recipe(sizes=(0.7, 1.0), textures=PATTERNED, ground_textures=PATTERNED, counts=(3, 5)),
        Motion(),
    ),
}
