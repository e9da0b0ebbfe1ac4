"""Recipes: what scenes are made of, for variants named like CLEVRTex's.

Karazija et al. 2021, "ClevrTex: A Texture-Rich Benchmark for Unsupervised Multi-Object
Segmentation", section 3: sizes, counts and what the variants change.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from slotlab.framework.contracts import Size
from slotlab.framework.scenes.material_families import Family
from slotlab.framework.scenes.solids import Shape

GroundColors = Literal["any", "gray"]
Framing = Literal["crop", "full"]
"""`crop` shows what CLEVRTex shows after its crop to 192 pixels, `full` the uncropped picture."""
Lighting = Literal["studio", "varied"]
"""`studio` is bright light from above; `varied` is dim to bright, low to high, from any side, and tinted."""
Variant = Literal["full", "outd", "camo", "pbg", "vbg", "grassbg"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

ORDINARY: tuple[Family, ...] = (
    "plain", "checker", "stripes", "dots", "marble", "wood", "speckle", "tiles", "bricks", "clouds",
    "cells", "cracks", "waves", "rust", "granite", "scales",
)  # fmt: skip
HELD_OUT: tuple[Family, ...] = ("zigzag", "weave", "lava", "terrazzo", "leopard")
PATTERNED: tuple[Family, ...] = ORDINARY[1:]

MIN_VISIBLE = 200 / (320 * 240)
"""CLEVRTex's rule: every object covers at least 200 pixels of the uncropped picture."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What scenes are made of. The entries of a tuple of shapes, sizes or textures are equally likely."""

    shapes: tuple[Shape, ...] = ("cube", "sphere", "cylinder", "blob")
    sizes: tuple[float, ...] = (0.4, 0.6, 0.9)
    """The radius of a sphere of this size, in world units; the crop is about 6 wide."""
    textures: tuple[Family, ...] = PATTERNED
    ground_textures: tuple[Family, ...] = PATTERNED
    ground_colors: GroundColors = "any"
    same_texture: bool = False
    """Whether the ground and all objects have the same texture, including its colors."""
    shiny: float = 0.15
    """The probability that an object is metal."""
    counts: tuple[int, int] = (3, 10)
    """The fewest and most objects; all numbers in the range are equally likely."""
    min_visible: float = MIN_VISIBLE
    """The least part of the picture's pixels that every object covers."""
    view: Framing = "crop"
    lighting: Lighting = "studio"
    hidden: float = 0.0
    """The least part of some object, in every picture, that others hide; 0 asks for nothing."""

    def facts(self) -> dict[str, Any]:
        """Return all that pictures depend on, as JSON data.

        Fields that came later are left out where they have no effect: fingerprints of pictures that did not
        change stay what they were.
        """
        unused = {"lighting": "studio", "hidden": 0.0}
        return {name: value for name, value in asdict(self).items() if value != unused.get(name)}


def least_pixels(recipe: Recipe, size: Size) -> float:
    """Return how many pixels of a picture of `size` every object covers, at least one."""
    return max(1.0, recipe.min_visible * size[0] * size[1])


RECIPES: dict[Variant, Recipe] = {
    "full": Recipe(),
    "outd": Recipe(
        shapes=("cone", "icosahedron", "torus", "capsule"),
        sizes=(0.6, 0.8, 1.0),
        textures=HELD_OUT,
        ground_textures=HELD_OUT,
    ),
    "camo": Recipe(same_texture=True, shiny=0.0),
    "pbg": Recipe(ground_textures=("plain",)),
    "vbg": Recipe(textures=("plain",), shiny=0.5),
    "grassbg": Recipe(ground_textures=("grass",)),
}
