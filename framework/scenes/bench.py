"""The recipes of the benchmark `bench`: one difficulty at a time, each fixed under a name with a version.

All begin with three plain solids on a plain ground of any color (`plain-1`), and all but one change one
thing. A recipe never changes under its name: what its pictures look like is pinned by hashes in a test, and
a better recipe is a new name, such as `plain-2`. The seed belongs to the recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from slotlab.framework.scenes.recipe import HELD_OUT, PATTERNED, Recipe

BenchName = Literal[
    "plain-1", "many-1", "small-1", "occluded-1", "textured-1", "ground-1", "camouflage-1", "lighting-1",
    "unseen-1",
]  # fmt: skip
BENCH_NAMES: tuple[BenchName, ...] = get_args(BenchName)


@dataclass(frozen=True, kw_only=True)
class BenchRecipe:
    """What the pictures of one member of the benchmark are made of."""

    difficulty: str
    """What is hard about them, in a few words."""
    seed: int
    """The seed of the pictures, whatever the spec's seeds are."""
    seen: Recipe
    """Of the splits `train` and `val`."""
    tested: Recipe
    """Of the split `test`."""

    @property
    def most_objects(self) -> int:
        """The most objects in a picture: a model needs one slot more, for the ground."""
        return max(self.seen.counts[1], self.tested.counts[1])


_PLAIN = Recipe(
    shapes=("sphere", "cube", "cylinder"),
    sizes=(0.9, 1.1),
    textures=("plain",),
    ground_textures=("plain",),
    counts=(3, 3),
    min_visible=0.01,
)


def _alike(difficulty: str, seed: int, recipe: Recipe) -> BenchRecipe:
    return BenchRecipe(difficulty=difficulty, seed=seed, seen=recipe, tested=recipe)


BENCH: Mapping[BenchName, BenchRecipe] = {
    "plain-1": _alike("nothing: three plain solids", 101, _PLAIN),
    "many-1": _alike("six objects, which are smaller", 102, replace(_PLAIN, sizes=(0.6, 0.7), counts=(6, 6))),
    "small-1": _alike("small objects", 103, replace(_PLAIN, sizes=(0.45, 0.55))),
    "occluded-1": _alike(
        "in every picture others hide a fifth of some object", 104, replace(_PLAIN, hidden=0.2)
    ),
    "textured-1": _alike("texture on the objects", 105, replace(_PLAIN, textures=PATTERNED)),
    "ground-1": _alike("texture on the ground", 106, replace(_PLAIN, ground_textures=PATTERNED)),
    "camouflage-1": _alike(
        "objects of the ground's texture and colors",
        107,
        replace(_PLAIN, textures=PATTERNED, ground_textures=PATTERNED, same_texture=True, shiny=0.0),
    ),
    "lighting-1": _alike(
        "light from dim to bright, from any side, tinted", 108, replace(_PLAIN, lighting="varied")
    ),
    "unseen-1": BenchRecipe(
        difficulty="shapes and textures of `test` are not those of `train`",
        seed=109,
        seen=replace(_PLAIN, textures=PATTERNED),
        tested=replace(_PLAIN, shapes=("cone", "icosahedron", "torus", "capsule"), textures=HELD_OUT),
    ),
}
"""The recipes by name."""
