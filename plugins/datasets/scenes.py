"""Pictures in the manner of CLEVRTex, made on the spot: nothing to download.

Textured spheres, cubes, cylinders and cones on a textured ground, ray cast by
`slotlab.framework.scenes`. A picture depends on the seed, the split, its index, the size
and these settings, not on the order in which pictures are asked for. Modeled on Karazija
et al. 2021, "ClevrTex".
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import PositiveFloat, PositiveInt, ValidationInfo, field_validator

from slotlab.framework.contracts import DatasetContext, Sample
from slotlab.framework.scenes.colors import GroundColors
from slotlab.framework.scenes.geometry import Shape
from slotlab.framework.scenes.render import Picture, draw_picture
from slotlab.framework.scenes.scene import Body, Recipe
from slotlab.framework.scenes.textures import FAMILIES, Family
from slotlab.registry import Component, ComponentConfig, ComponentError, SlotlabError, hookimpl
from slotlab.registry.component import suggest

Objects = Annotated[int, Ge(1), Le(10)]
SPLITS = ("train", "val", "test")


class ScenesConfig(ComponentConfig):
    """Settings of the generated scenes."""

    min_objects: Objects = 3
    """Fewest objects in a picture, 1 to 10."""
    max_objects: Objects = 6
    """Most objects in a picture, 1 to 10. All numbers in the range are alike likely."""
    shapes: Annotated[tuple[Shape, ...], Len(1)] = ("sphere", "cube", "cylinder", "cone")
    """Shapes of objects, alike likely; name one twice to see it twice as often."""
    textures: Annotated[tuple[Family, ...], Len(1)] = FAMILIES
    """Kinds of pattern on objects, alike likely."""
    ground_textures: Annotated[tuple[Family, ...], Len(1)] = FAMILIES
    """Kinds of pattern on the ground, alike likely."""
    ground_colors: GroundColors = "any"
    """Colors of the ground: any, or the light gray of CLEVR."""
    size_range: tuple[PositiveFloat, Annotated[float, Gt(0), Le(1.5)]] = (0.4, 0.9)
    """Least and greatest size of an object: a sphere's radius, where the picture is 6 wide."""
    min_visible: Annotated[float, Ge(0), Lt(1)] = 0.005
    """The part of the picture's pixels (of its middle square's, if sides differ) that every
    object shows at least."""
    num_train: PositiveInt = 2000
    """Number of pictures in split `train`."""
    num_val: PositiveInt = 200
    """Number of pictures in split `val`."""
    num_test: PositiveInt = 200
    """Number of pictures in split `test`."""

    splits: ClassVar[tuple[str, ...]] = SPLITS

    @field_validator("max_objects")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_objects", value)
        if value < least:
            raise ValueError(f"{value} is less than min_objects, which is {least}")
        return value

    @field_validator("size_range")
    @classmethod
    def _least_first(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError(f"the least size comes first, but {value[0]:g} is more than {value[1]:g}")
        return value

    @field_validator("min_visible")
    @classmethod
    def _room_for_all(cls, value: float, info: ValidationInfo) -> float:
        least = info.data.get("min_objects", 1)
        if value * least >= 1:
            raise ValueError(f"{least} objects cannot each show on {value:g} of the picture")
        return value

    @property
    def object_limit(self) -> int:
        """Most objects in a picture."""
        return self.max_objects


class ScenesDataset:
    """Samples of generated scenes: image uint8 (3, H, W), mask int64 (H, W), values 0 to count.

    Attributes of a sample: `num_objects`, and `objects` with each one's `index` (its value
    in the mask), `shape`, `size` (world units) and `material` (kind of pattern);
    `ground_material`. Pictures are made when first asked for and then kept in memory, 4
    bytes a pixel; a copy sent to a worker process starts empty.
    """

    def __init__(self, config: ScenesConfig, context: DatasetContext):
        _check(config, context)
        self.config = config
        self.context = context
        counts = {"train": config.num_train, "val": config.num_val, "test": config.num_test}
        self._indices = range(counts[context.split])
        self._recipe = Recipe(
            config.shapes, config.textures, config.ground_textures, config.size_range, config.ground_colors
        )
        # Masks are kept as uint8; the scenes, with their textures, are not kept: they are larger.
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        """Return the number of pictures in the split."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`; its tensors are the caller's own."""
        index = self._indices[index]  # raises IndexError past the end
        if index not in self._kept:
            self._kept[index] = self._sample(index)
        kept = self._kept[index]
        assert kept.mask_HW is not None
        # Copied by numpy: torch would start threads for it, which is slow where cores are busy.
        return replace(
            kept,
            image_CHW=torch.from_numpy(kept.image_CHW.numpy().copy()),
            mask_HW=torch.from_numpy(kept.mask_HW.numpy().astype(np.int64)),
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the pictures behind: a worker makes its own, which are the same."""
        return {**self.__dict__, "_kept": {}}

    def _sample(self, index: int) -> Sample:
        picture = self._draw(index)
        bodies = picture.scene.bodies
        return Sample(
            id=f"scenes_{self.context.split}_{index:06d}",
            image_CHW=torch.from_numpy(picture.image_HW3.transpose(2, 0, 1).copy()),
            mask_HW=torch.from_numpy(picture.mask_HW),
            attributes={
                "num_objects": len(bodies),
                "objects": [_describe(number, body) for number, body in enumerate(bodies, start=1)],
                "ground_material": picture.scene.ground.family,
            },
        )

    def _draw(self, index: int) -> Picture:
        config, context = self.config, self.context
        seeds = np.random.SeedSequence([context.seed, SPLITS.index(context.split), index])
        counts = (config.min_objects, config.max_objects)
        rng = np.random.default_rng(seeds)
        picture = draw_picture(rng, self._recipe, context.image_size, counts, config.min_visible)
        if picture is None:
            raise SlotlabError(
                f"dataset scenes: found no scene of {config.min_objects} objects with each on "
                f"{config.min_visible:g} of the picture (split {context.split!r}, index {index}); "
                "lower min_objects, min_visible or size_range"
            )
        return picture


def _check(config: ScenesConfig, context: DatasetContext) -> None:
    if context.split not in SPLITS:
        message = f"there is no split {context.split!r}; the splits are {', '.join(SPLITS)}"
        raise ComponentError(message + suggest(context.split, SPLITS))


def _describe(number: int, body: Body) -> dict[str, Any]:
    return {"index": number, "shape": body.shape, "size": body.size, "material": body.texture.family}


@hookimpl
def slotlab_datasets() -> Iterable[Component[ScenesConfig]]:
    """Provide `scenes`."""
    yield Component(
        name="scenes", config=ScenesConfig, build=ScenesDataset, summary="generated textured scenes"
    )
