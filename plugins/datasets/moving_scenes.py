"""Generated videos of moving solids, rendered on demand: nothing has to be downloaded.

Solids slide and collide on a ground, ray cast by `slotlab.framework.scenes` on the CPU or the GPU. Each
frame is a sample; `videos` says which belong together. A video depends on the seed, the split, its index, the
size and these settings, not on the order in which frames are read. Modeled on Kubric's MOVi-A (Greff et al.
2022, "Kubric") and OBJ3D (Lin et al. 2020).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le, Len, Lt
from pydantic import Field, PositiveInt, ValidationInfo, field_validator
from torch import Tensor

from slotlab.framework.contracts import DatasetContext, RawBatch, Sample
from slotlab.framework.scenes import NoSceneError, Recipe
from slotlab.framework.scenes.kept_videos import KeptVideo, KeptVideos
from slotlab.framework.scenes.material_families import Family
from slotlab.framework.scenes.motion import Motion
from slotlab.framework.scenes.motion_fields import backward_flow, boxes
from slotlab.framework.scenes.moving_recipe import MOVING, MovingVariant
from slotlab.framework.scenes.recipe import MIN_VISIBLE, GroundColors
from slotlab.framework.scenes.render import see_centers
from slotlab.framework.scenes.solids import Shape
from slotlab.framework.scenes.start_of_motion import enough_substeps
from slotlab.framework.scenes.videos import Videos, draw_videos
from slotlab.registry import Component, ComponentConfig, ComponentError, SlotlabError, hookimpl
from slotlab.registry.component import suggest

Objects = Annotated[int, Ge(1), Le(10)]
Radius = Annotated[float, Field(gt=0, le=1.5)]
SPLITS = ("train", "val", "test")
_TOGETHER = {"cpu": 2**18, "cuda": 2**22}
"""The number of pixels that are best rendered in one call, by kind of device."""
_CPU = torch.device("cpu")
_MOST_STEPS = 64
_MADE_OF = ("shapes", "sizes", "textures", "ground_textures", "ground_colors")
_MOVED_BY = ("fps", "substeps", "speed", "friction", "restitution")


class MovingScenesConfig(ComponentConfig):
    """Settings of the generated videos."""

    variant: MovingVariant = "movi_a"
    """`movi_a` (plain solids that all move), `obj3d` (a sphere is launched at solids at rest), `still` (one
    moves, the others rest until they are hit), `textured` (as `movi_a`, with textured objects and ground)."""
    num_frames: Annotated[int, Ge(1), Le(100)] = 12
    """The number of frames of a video, 1 to 100."""
    min_objects: Objects = 3
    """The fewest objects in a video, 1 to 10."""
    max_objects: Objects = 5
    """The most objects in a video, 1 to 10. All numbers in the range are equally likely."""
    shapes: Annotated[tuple[Shape, ...], Len(1)] | None = None
    """Shapes of objects, equally likely; name one twice to make it twice as likely. null: the variant's."""
    sizes: Annotated[tuple[Radius, ...], Len(1)] | None = None
    """Sizes of objects, equally likely: a sphere's radius, if the picture is 6 wide. null: 0.7 and 1."""
    textures: Annotated[tuple[Family, ...], Len(1)] | None = None
    """Families of texture on objects, equally likely. null: the variant's."""
    ground_textures: Annotated[tuple[Family, ...], Len(1)] | None = None
    """Families of texture on the ground, equally likely. null: the variant's."""
    ground_colors: GroundColors | None = None
    """Colors of the ground: any, or the light gray of CLEVR. null: any in `textured`, else gray."""
    movers: Annotated[int, Ge(0), Le(10)] | None = None
    """How many objects move at first. null: one in `obj3d` and `still`, else all."""
    speed: Annotated[float, Ge(0), Le(20)] = 3.0
    """How fast objects move at first, along x and along y, at most, in world units per second; more often
    toward the middle than away from it. In `obj3d` the launched one moves 1 to 1.5 times as fast."""
    friction: Annotated[float, Ge(0), Le(1)] = 0.08
    """The coefficient of friction with the ground; 0.3 stops most objects within a second."""
    restitution: Annotated[float, Ge(0), Le(1)] = 0.6
    """The part of the speed at which two objects meet that they part with."""
    fps: Annotated[int, Ge(1), Le(120)] = 12
    """Frames per second."""
    substeps: Annotated[int, Ge(1), Le(_MOST_STEPS)] = 8
    """Steps of the physics for each frame."""
    events: Literal["any", "some"] = "any"
    """`some`: in every video at least two objects meet, or one hides a tenth of another."""
    min_visible: Annotated[float, Ge(0), Lt(1)] = MIN_VISIBLE
    """The least part of a frame's pixels that every object covers, in the first frame and in half of all."""
    num_train: PositiveInt = 1000
    """The number of videos in split `train`."""
    num_val: PositiveInt = 100
    """The number of videos in split `val`."""
    num_test: PositiveInt = 100
    """The number of videos in split `test`."""

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

    @field_validator("substeps")
    @classmethod
    def _no_tunnels(cls, value: int, info: ValidationInfo) -> int:
        known = info.data
        if {"variant", "speed", "fps", "shapes", "sizes"} - set(known):
            return value
        recipe, motion = MOVING[known["variant"]]
        shapes, sizes = known["shapes"] or recipe.shapes, known["sizes"] or recipe.sizes
        motion = replace(motion, speed=known["speed"], fps=known["fps"])
        enough = enough_substeps(replace(recipe, shapes=shapes, sizes=sizes), motion)
        if value < enough:
            repair = f"take {enough}" if enough <= _MOST_STEPS else "lower speed, or raise fps or sizes"
            raise ValueError(f"{value} steps a frame let objects of this speed jump over others; {repair}")
        return value

    @field_validator("events")
    @classmethod
    def _two_for_an_event(cls, value: str, info: ValidationInfo) -> str:
        if value == "some" and info.data.get("min_objects", 2) < 2:
            raise ValueError("'some' takes two objects to meet, and min_objects is 1")
        return value

    @property
    def object_limit(self) -> int:
        """Most objects in a video."""
        return self.max_objects

    def cautions(self) -> list[str]:
        """Warn of settings that keep a variant from being what its name says, and of videos at rest."""
        chosen = [name for name in (*_MADE_OF, "movers") if getattr(self, name) is not None]
        found = []
        if self.variant != "movi_a" and chosen:
            text = f"the variant '{self.variant}' has no say in {', '.join(chosen)}"
            found.append(f"{text}, which these settings name")
        if self.speed == 0 or self.movers == 0:
            found.append(f"{'speed' if self.speed == 0 else 'movers'} is 0: nothing moves in these videos")
        return found

    @property
    def recipe(self) -> Recipe:
        """What the videos' objects and ground are made of."""
        named = {name: getattr(self, name) for name in _MADE_OF}
        chosen: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        counts = (self.min_objects, self.max_objects)
        return replace(MOVING[self.variant][0], counts=counts, min_visible=self.min_visible, **chosen)

    @property
    def motion(self) -> Motion:
        """How the videos' objects move."""
        motion = MOVING[self.variant][1]
        return replace(
            motion,
            frames=self.num_frames,
            movers=motion.movers if self.movers is None else self.movers,
            events=self.events == "some",
            **{name: getattr(self, name) for name in _MOVED_BY},
        )


class MovingScenesDataset:
    """Frames of generated videos, video by video: image uint8 (3, H, W), mask (H, W), 0 the ground.

    Mask value i is object i of the video in all its frames. Attributes of a frame are those of `scenes`
    (`num_objects` and `objects` of the video, seen here or not), `video`, `frame`, and the video's
    `collisions`: [frame, i, j] for objects i < j that met since the frame before. An object has `3d_coords`
    and `pixel_coords` in this frame, its `velocity` (x, y; world units per second), and `visible_fraction`:
    the part of it, as far as it is in the picture, that no other object hides.

    Videos are rendered whole on first access and kept on their device, 4 bytes per pixel, up to 2 GiB on a
    CPU and 8 GiB on a GPU; of others those of the last call. A copy that is sent to a worker starts empty.
    """

    def __init__(self, config: MovingScenesConfig, context: DatasetContext):
        _check(context)
        self.config = config
        self.context = context
        counts = {"train": config.num_train, "val": config.num_val, "test": config.num_test}
        self._indices = range(counts[context.split] * config.num_frames)
        rows, columns = context.image_size
        self._videos = KeptVideos(self._draw, rows * columns * config.num_frames)

    @property
    def videos(self) -> Sequence[Sequence[int]]:
        """The frames of each video, in the order of time."""
        length = self.config.num_frames
        return [range(first, first + length) for first in range(0, len(self), length)]

    def __len__(self) -> int:
        """Return the number of frames of all videos in the split."""
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        """Return frame `index`, its mask as int64; its tensors are copies.

        Raises:
            IndexError: past the end.
            SlotlabError: if no video fits the settings.
        """
        kept, number, frame = self._frame(index)
        # Copied by NumPy: torch would start threads for it, which is slow while cores are busy.
        return Sample(
            id=self._id(number, frame),
            image_CHW=torch.from_numpy(kept.images_TCHW[frame].numpy().copy()),
            mask_HW=torch.from_numpy(kept.masks_THW[frame].numpy().astype("int64")),
            attributes=kept.attributes[frame],
        )

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return frames as one batch on `device`, masks as uint8; new videos are rendered together."""
        places = [divmod(self._indices[index], self.config.num_frames) for index in indices]
        videos = self._videos.get([number for number, _ in places], device)
        frames = [(videos[number], frame) for number, frame in places]
        return RawBatch(
            images_BCHW=torch.stack([kept.images_TCHW[frame] for kept, frame in frames]),
            masks_BHW=torch.stack([kept.masks_THW[frame] for kept, frame in frames]) if masks else None,
            ids=tuple(self._id(*place) for place in places),
            attributes=tuple(kept.attributes[frame] for kept, frame in frames),
        )

    def at_a_time(self, device: torch.device) -> int:
        """Return how many frames are best rendered together: those of some whole videos."""
        rows, columns = self.context.image_size
        length = self.config.num_frames
        wanted = _TOGETHER.get(device.type, _TOGETHER["cuda"]) // (rows * columns)
        return max(1, wanted // length) * length

    def flow(self, index: int) -> Tensor:
        """Return how far the surface in each pixel of frame `index` moved since the frame before.

        float16 (H, W, 2) on the CPU: (row, column) in pixels. The first frame has flow, too: motion begins
        before it. See `framework.scenes.motion_fields`.
        """
        kept, _, frame = self._frame(index)
        now, before = kept.course.at([frame + 1]), kept.course.at([frame])
        return backward_flow(now, before, see_centers(now))[0].half()

    def depth(self, index: int) -> Tensor:
        """Return the depth in frame `index` along the camera's axis, in world units: float16 (H, W)."""
        kept, _, frame = self._frame(index)
        return see_centers(kept.course.at([frame + 1])).depth_BHW[0].half()

    def boxes(self, index: int) -> Tensor:
        """Return the boxes of what is seen of the objects in frame `index`, float32 (K, 4).

        K is `object_limit`; row i - 1 is object i: top, left, bottom, right from 0 to 1, or zeros if no pixel
        shows it.
        """
        kept, _, frame = self._frame(index)
        return boxes(kept.masks_THW[frame : frame + 1], self.config.object_limit)[0]

    def fingerprint(self) -> str:
        """Return a constant: there are no files that could change."""
        return "generated"

    def depends(self) -> dict[str, Any]:
        """Return what videos are made of and how objects move, as JSON data."""
        return {"recipe": self.config.recipe.facts(), "motion": asdict(self.config.motion)}

    def _frame(self, index: int) -> tuple[KeptVideo, int, int]:
        # The frame's video on the CPU, the video's number and the frame's.
        number, frame = divmod(self._indices[index], self.config.num_frames)
        return self._videos.get([number], _CPU)[number], number, frame

    def _id(self, number: int, frame: int) -> str:
        return f"moving_scenes_{self.context.split}_{number:06d}_{frame:02d}"

    def _draw(self, numbers: Sequence[int], device: torch.device) -> Videos:
        config, context = self.config, self.context
        try:
            return draw_videos(
                config.recipe,
                config.motion,
                context.image_size,
                seed=context.seed,
                split=SPLITS.index(context.split),
                indices=numbers,
                device=device,
            )
        except NoSceneError as error:
            event = " in which something happens" if config.events == "some" else ""
            raise SlotlabError(
                f"dataset moving_scenes: found no video of {config.min_objects} objects{event} with each on "
                f"{config.min_visible:g} of the first frame and of half of all frames (split "
                f"{context.split!r}, video {error.index}); lower min_objects, min_visible, sizes or speed"
            ) from None


def _check(context: DatasetContext) -> None:
    if context.split not in SPLITS:
        message = f"there is no split {context.split!r}; the splits are {', '.join(SPLITS)}"
        raise ComponentError(message + suggest(context.split, SPLITS))


@hookimpl
def slotlab_datasets() -> Iterable[Component[MovingScenesConfig]]:
    """Provide `moving_scenes`."""
    yield Component(
        name="moving_scenes",
        config=MovingScenesConfig,
        build=MovingScenesDataset,
        summary="generated videos of moving solids",
    )
