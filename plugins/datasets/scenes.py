"""Generated pictures similar to CLEVRTex, rendered on demand: nothing has to be downloaded.

Textured solids on a textured ground, ray cast by `slotlab.framework.scenes` on the CPU or the GPU. A picture
depends on the seed, the split, its index, the size and these settings, not on the order in which pictures are
read. Modeled on Karazija et al. 2021, "ClevrTex".
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Le, Len, Lt
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from slotlab.framework.contracts import DatasetContext, RawBatch, Sample
from slotlab.framework.scenes import RECIPES, NoSceneError, Pictures, Recipe, draw_pictures
from slotlab.framework.scenes.kept_pictures import KeptPictures
from slotlab.framework.scenes.material_families import Family
from slotlab.framework.scenes.recipe import MIN_VISIBLE, GroundColors, Variant
from slotlab.framework.scenes.solids import Shape
from slotlab.registry import Component, ComponentConfig, ComponentError, SlotlabError, hookimpl
from slotlab.registry.component import suggest

Objects = Annotated[int, Ge(1), Le(10)]
Radius = Annotated[float, Field(gt=0, le=1.5)]
SPLITS = ("train", "val", "test")


class ScenesConfig(ComponentConfig):
    """Settings of the generated scenes."""

    variant: Variant = "full"
    """Named as CLEVRTex's: `full`, `outd` (shapes and textures that `full` lacks), `camo` (one
    texture for all), `pbg` (plain ground), `vbg` (plain objects), `grassbg` (forest floor)."""
    min_objects: Objects = 3
    """The fewest objects in a picture, 1 to 10."""
    max_objects: Objects = 10
    """The most objects in a picture, 1 to 10. All numbers in the range are equally likely."""
    shapes: Annotated[tuple[Shape, ...], Len(1)] | None = None
    """Shapes of objects, equally likely; name one twice to make it twice as likely. null: the variant's."""
    sizes: Annotated[tuple[Radius, ...], Len(1)] | None = None
    """Sizes of objects, equally likely: a sphere's radius, if the picture is 6 wide. null: the variant's."""
    textures: Annotated[tuple[Family, ...], Len(1)] | None = None
    """Families of texture on objects, equally likely. null: the variant's."""
    ground_textures: Annotated[tuple[Family, ...], Len(1)] | None = None
    """Families of texture on the ground, equally likely. null: the variant's."""
    ground_colors: GroundColors = "any"
    """Colors of the ground: any, or the light gray of CLEVR."""
    min_visible: Annotated[float, Ge(0), Lt(1)] = MIN_VISIBLE
    """The least part of the picture's pixels that every object covers: 200 of 320x240."""
    num_train: PositiveInt = 2000
    """The number of pictures in split `train`."""
    num_val: PositiveInt = 200
    """The number of pictures in split `val`."""
    num_test: PositiveInt = 200
    """The number of pictures in split `test`."""
    endless: bool = False
    """Whether every epoch of split `train` shows new pictures. They are not kept."""

    splits: ClassVar[tuple[str, ...]] = SPLITS
    rendered: ClassVar[bool] = True

    @field_validator("max_objects")
    @classmethod
    def _not_below_min(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_objects", value)
        if value < least:
            raise ValueError(f"{value} is less than min_objects, which is {least}")
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

    def cautions(self) -> list[str]:
        """Warn of settings that keep a variant from being what its name says."""
        chosen = [
            name
            for name in ("shapes", "sizes", "textures", "ground_textures")
            if getattr(self, name) is not None
        ]
        if self.variant == "full" or not chosen:
            return []
        return [f"the variant '{self.variant}' has no say in {', '.join(chosen)}, which these settings name"]

    @property
    def recipe(self) -> Recipe:
        """What the scenes are made of."""
        named = {
            "shapes": self.shapes,
            "sizes": self.sizes,
            "textures": self.textures,
            "ground_textures": self.ground_textures,
        }
        chosen: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        return replace(
            RECIPES[self.variant],
            ground_colors=self.ground_colors,
            counts=(self.min_objects, self.max_objects),
            min_visible=self.min_visible,
            **chosen,
        )


class ScenesDataset:
    """Generated scenes: image uint8 (3, H, W), mask (H, W) with values from 0 to the number of objects.

    Attributes of a sample are those of CLEVRTex's metadata: `num_objects`, `objects` (with
    `index`, `shape`, `size`, `material`, `rotation`, `color`, `3d_coords`, `pixel_coords`)
    and `ground_material`. Pictures are rendered on first access and kept on their device, 4 bytes per pixel,
    up to 2 GiB on a CPU and 8 GiB on a GPU; a copy that is sent to a worker process starts empty.

    An `endless` dataset takes any index from 0: those past its length are further pictures of the split,
    for the epochs after the first. Its pictures are not kept.
    """

    def __init__(self, config: ScenesConfig, context: DatasetContext):
        _check(context)
        self.config = config
        self.context = context
        self.endless = config.endless and context.split == "train"
        counts = {"train": config.num_train, "val": config.num_val, "test": config.num_test}
        self._indices = range(counts[context.split])
        self._pictures = KeptPictures(self._draw, self._id, context.image_size, keep=not self.endless)

    def __len__(self) -> int:
        """Return the number of pictures in the split, or in an epoch if it is endless."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index`, its mask as int64; its tensors are copies.

        Raises:
            IndexError: past the end.
            SlotlabError: if no scene fits the settings.
        """
        return self._pictures.sample(self._number(index))

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return samples as one batch on `device`, masks as uint8; new pictures are rendered together."""
        return self._pictures.batch([self._number(index) for index in indices], device, masks=masks)

    def at_a_time(self, device: torch.device) -> int:
        """Return how many pictures are best rendered together."""
        return self._pictures.at_a_time(device)

    def fingerprint(self) -> str:
        """Return a constant: there are no files that could change."""
        return "generated"

    def depends(self) -> dict[str, Any]:
        """Return the recipe that pictures are made by, as JSON data."""
        return self.config.recipe.facts()

    def _number(self, index: int) -> int:
        # Raises IndexError past the end, if there is one.
        return index if self.endless and index >= 0 else self._indices[index]

    def _id(self, number: int) -> str:
        return f"scenes_{self.context.split}_{number:06d}"

    def _draw(self, numbers: Sequence[int], device: torch.device) -> Pictures:
        config, context = self.config, self.context
        split = SPLITS.index(context.split)
        try:
            return draw_pictures(
                config.recipe,
                context.image_size,
                seed=context.seed,
                split=split,
                indices=numbers,
                device=device,
            )
        except NoSceneError as error:
            raise SlotlabError(
                f"dataset scenes: found no scene of {config.min_objects} objects with each on "
                f"{config.min_visible:g} of the picture (split {context.split!r}, index {error.index}); "
                "lower min_objects, min_visible or sizes"
            ) from None


def _check(context: DatasetContext) -> None:
    if context.split not in SPLITS:
        message = f"there is no split {context.split!r}; the splits are {', '.join(SPLITS)}"
        raise ComponentError(message + suggest(context.split, SPLITS))


@hookimpl
def slotlab_datasets() -> Iterable[Component[ScenesConfig]]:
    """Provide `scenes`."""
    yield Component(
        name="scenes",
        config=ScenesConfig,
        build=ScenesDataset,
        summary="generated textured scenes",
        version=2,
    )
