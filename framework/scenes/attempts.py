"""Drawing again until a scene is valid: the number of objects first, then scenes by their attempt's number.

After `TRIES` failed attempts there is one object fewer. A scene depends on its key and on the first attempt
that is valid, not on how many are tried together.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from slotlab.framework.scenes.counter_random import Chance, chain
from slotlab.framework.scenes.recipe import Recipe

_COUNT = 0  # stream of the scene's own key
TRIES = 30
"""The number of scenes that are drawn before the number of objects is reduced by one."""
IsValid = Callable[[Chance, Tensor], Tensor]
"""Takes the draws of M attempts and their numbers of objects, int64 (M,); returns bool (M,)."""


class NoSceneError(Exception):
    """No scene that shows enough of every object was found for picture or video number `index`."""

    def __init__(self, index: int):
        super().__init__(index)
        self.index = index


def start(recipe: Recipe, keys_B: Tensor, attempts_B: Tensor) -> tuple[Chance, Tensor]:
    """Return the draws of an attempt, and its number of objects."""
    low, high = recipe.counts
    drawn_B = low + Chance(keys_B).choice(_COUNT, high - low + 1)
    return Chance(chain(keys_B, attempts_B)), drawn_B - attempts_B // TRIES


def find_attempts(recipe: Recipe, keys_B: Tensor, indices: Sequence[int], is_valid: IsValid) -> Tensor:
    """Return the first valid attempt of each scene, int64 (B,); many are tried at once for the last few.

    Raises:
        NoSceneError: if not even the recipe's fewest objects made a valid scene.
    """
    attempts_B = torch.zeros_like(keys_B)
    waiting_W = torch.arange(len(keys_B), device=keys_B.device)
    done = 0
    while len(waiting_W):
        if done >= TRIES * (recipe.counts[1] - recipe.counts[0] + 1):
            raise NoSceneError(indices[int(waiting_W[0])])
        together = min(max(1, len(keys_B) // (2 * len(waiting_W))), TRIES)
        tried_A = torch.arange(done, done + together, device=keys_B.device)
        keys_M = keys_B[waiting_W].repeat_interleave(together)
        chance, count_M = start(recipe, keys_M, tried_A.repeat(len(waiting_W)))
        good_M = is_valid(chance, count_M.clamp(min=0)) & (count_M >= recipe.counts[0])
        ranks_A = torch.arange(together, 0, -1, device=keys_B.device)
        found_W, first_W = (good_M.view(-1, together) * ranks_A).max(1)
        attempts_B[waiting_W] = done + first_W
        waiting_W = waiting_W[found_W == 0]
        done += together
    return attempts_B
