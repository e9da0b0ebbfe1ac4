"""New pictures from slots of neighboring images: SlotDiffusion's way of composing.

Source: Wu et al. 2023, section 4.3, as in their code: the images of a split are taken in its order, in
groups; slot i of a group's picture b is slot i of its image (b + i) mod B. Every slot is used once. The
pictures depend on the order of the images and on the size of the groups, and mean something only where slot i
of one image is like slot i of another, as with learned initial slots.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.composition.composer import Composed, Composer
from slotlab.framework.composition.edits import each
from slotlab.framework.composition.library import Library
from slotlab.registry import SlotlabError


@dataclass(frozen=True, eq=False)
class Shifted:
    """New pictures before they are decoded."""

    composer: Composer
    library: Library
    group: int
    """How many images exchange their slots."""
    seed: int
    """Of the noise of pictures."""

    def __post_init__(self) -> None:
        slots = self.library.slots.vectors_BKD.shape[1]
        if min(self.group, len(self.library.positions)) < slots:
            text = f"{slots} slots of a picture need as many images, each of which gives one"
            raise SlotlabError(f"{text}; set 'group' and 'library_images' to at least {slots}")

    @property
    def count(self) -> int:
        """How many pictures there are; images that are left over after the last whole group give none."""
        images = len(self.library.positions)
        return images - images % self.group if images >= self.group else images

    @property
    def facts(self) -> dict[str, Any]:
        """What the pictures are made of, as JSON data."""
        library = self.library
        return {
            "library": {"split": library.split, "images": len(library.positions), "of": library.of},
            "shift": {"group": self.group},
            "count": self.count,
            "seed": self.seed,
        }

    def batches(self) -> Iterator[tuple[int, Composed]]:
        """Yield the pictures in batches, each with the number of its first; the same at every call."""
        members_NK = members(self.count, min(self.group, self.count), self.library.slots.vectors_BKD.shape[1])
        size, device = self.composer.spec.evaluation.batch_size, self.composer.engine.device
        for start in range(0, self.count, size):
            slots = self.library.take(members_NK[start : start + size])
            numbers = range(start, start + len(slots.vectors_BKD))
            slots = each(lambda tensor: tensor.to(device), slots)
            yield start, self.composer.decode(slots, seed=self.seed, positions=numbers)


def members(count: int, group: int, slots: int) -> Tensor:
    """Return which slots each picture has, by their numbers in the library's list: int64 (count, slots)."""
    picture_N, slot_K = torch.arange(count), torch.arange(slots)
    first_N1 = (picture_N - picture_N % group)[:, None]
    image_NK = first_N1 + (picture_N[:, None] % group + slot_K) % group
    return image_NK * slots + slot_K
