"""A benchmark of generated pictures: one difficulty at a time, nothing to download.

Each variant is a recipe of `slotlab.framework.scenes.bench`, fixed under a name with a version: its pictures
never change, whatever the spec's seeds are. They are drawn at the size that the model sees, such as 32x32 on
a CPU or 128x128 on a GPU; a picture of another size shows nearly the same scene, since an object has to show
on a part of the pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt

from slotlab.framework.contracts import DatasetContext, RawBatch, Sample
from slotlab.framework.scenes import NoSceneError, Pictures, draw_pictures
from slotlab.framework.scenes.bench import BENCH, BenchName, BenchRecipe
from slotlab.framework.scenes.coverage import cover
from slotlab.framework.scenes.kept_pictures import KeptPictures
from slotlab.framework.scenes.recipe import Recipe
from slotlab.registry import Component, ComponentConfig, ComponentError, SlotlabError, hookimpl
from slotlab.registry.component import suggest

SPLITS = ("train", "val", "test")
MEASURED = {"val": 200, "test": 500}
"""How many pictures are measured: always these."""


class BenchConfig(ComponentConfig):
    """Settings of the benchmark's pictures."""

    variant: BenchName = "plain-1"
    """The recipe: what is hard about the pictures, and its version."""
    num_train: PositiveInt = 2000
    """The number of pictures to train on, the first of one fixed row."""

    splits: ClassVar[tuple[str, ...]] = SPLITS
    rendered: ClassVar[bool] = True

    @property
    def recipe(self) -> BenchRecipe:
        """What the pictures are made of."""
        return BENCH[self.variant]

    @property
    def object_limit(self) -> int:
        """Most objects in a picture."""
        return self.recipe.most_objects


@dataclass(frozen=True)
class _WithCoverage(Pictures):
    """Pictures whose objects know how much of them is seen."""

    def attributes(self) -> tuple[dict[str, Any], ...]:
        """Return the metadata of each picture, with `visible_fraction` of each object."""
        visible = [row for scenes in self.scenes for row in cover(scenes.layout).visible_BK.tolist()]
        found = super().attributes()
        for facts, parts in zip(found, visible, strict=True):
            for entry, part in zip(facts["objects"], parts, strict=False):
                entry["visible_fraction"] = round(part, 4)
        return found


class BenchDataset:
    """Pictures of one recipe: image uint8 (3, H, W), mask (H, W), 0 the ground, i object i.

    Attributes of a sample are those of `scenes`, and `visible_fraction` of each object: the part of it, as
    far as it is in the picture, that no other hides. Pictures are drawn on first access and kept on their
    device, 4 bytes per pixel, up to 2 GiB on a CPU and 8 GiB on a GPU.

    """

    def __init__(self, config: BenchConfig, context: DatasetContext):
        if context.split not in SPLITS:
            message = f"there is no split {context.split!r}; the splits are {', '.join(SPLITS)}"
            raise ComponentError(message + suggest(context.split, SPLITS))
        if context.seed != 0:
            raise ComponentError(f"its pictures are fixed: leave data.seed at 0, not {context.seed}")
        self.config = config
        self.context = context
        self._indices = range({**MEASURED, "train": config.num_train}[context.split])
        self._pictures = KeptPictures(self._draw, self._id, context.image_size)

    @property
    def _recipe(self) -> Recipe:
        found = self.config.recipe
        return found.tested if self.context.split == "test" else found.seen

    def __len__(self) -> int:
        """Return the number of pictures in the split."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, its mask as int64; its tensors are copies.

        Raises:
            IndexError: past the end.
            SlotlabError: if the size is too small for a scene of the recipe.
        """
        return self._pictures.sample(self._indices[index])

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return samples as one batch on `device`, masks as uint8; new pictures are drawn together."""
        return self._pictures.batch([self._indices[index] for index in indices], device, masks=masks)

    def at_a_time(self, device: torch.device) -> int:
        """Return how many pictures are best drawn together."""
        return self._pictures.at_a_time(device)

    def fingerprint(self) -> str:
        """Return a constant: there are no files that could change."""
        return "generated"

    def depends(self) -> dict[str, Any]:
        """Return the recipe that the split's pictures are made by and its seed, as JSON data."""
        return {"recipe": self._recipe.facts(), "seed": self.config.recipe.seed}

    def _id(self, number: int) -> str:
        return f"bench_{self.config.variant}_{self.context.split}_{number:06d}"

    def _draw(self, numbers: Sequence[int], device: torch.device) -> Pictures:
        size = self.context.image_size
        try:
            drawn = draw_pictures(
                self._recipe,
                size,
                seed=self.config.recipe.seed,
                split=SPLITS.index(self.context.split),
                indices=numbers,
                device=device,
            )
        except NoSceneError as error:
            raise SlotlabError(
                f"dataset bench: found no scene of {self.config.variant} at {size[0]}x{size[1]} pixels "
                f"(split {self.context.split!r}, index {error.index}); take pictures of 32x32 pixels or more"
            ) from None
        return _WithCoverage(drawn.images_BHWC, drawn.masks_BHW, drawn.depth_BHW, drawn.scenes)


@hookimpl
def slotlab_datasets() -> Iterable[Component[BenchConfig]]:
    """Provide `bench`."""
    yield Component(
        name="bench",
        config=BenchConfig,
        build=BenchDataset,
        summary="generated pictures of fixed recipes, one difficulty each",
    )
