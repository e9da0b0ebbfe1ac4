"""MOVi-A to MOVi-F from their TFRecord files, each frame of each clip a picture; TensorFlow is not needed.

    <root>/movi_c/256x256/1.0.0/movi_c-train.tfrecord-00000-of-00512

Source: Greff et al. 2022, "Kubric: a scalable dataset generator"; gs://kubric-public/tfds. A clip has 24
frames, 12 a second. The test splits of C, D and E show objects and backgrounds that the others do not show.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, PositiveInt, model_validator
from torch import Tensor

from slotlab.framework.contracts import (
    DataError,
    DataProblem,
    DatasetContext,
    Downloads,
    Recognized,
    Sample,
    Size,
)
from slotlab.framework.data.formats import movi, movi_files
from slotlab.framework.data.formats.pictures import fingerprint_paths
from slotlab.framework.data.formats.tfrecord import ExampleFiles, ExampleRecord, RecordPlace
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import custom_error, suggest

Split = Literal["train", "val", "test"]
_MOST_OBJECTS = {"a": 10, "b": 10, "c": 10, "d": 23, "e": 23, "f": 23}


def read_frames(value: Any) -> Any:
    """Return the setting of frames per clip, if it is a number from 1, one for each split, or None."""
    splits = isinstance(value, Mapping)
    numbers = [] if value is None else value.values() if splits else [value]
    right = all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in numbers)
    if not right or (splits and not value.keys() <= movi_files.ON_DISK.keys()):
        text = "write how many frames, from 1, or that for splits (train, val, test), such as {train: 9}"
        raise custom_error("frames_per_clip", text)
    return value


class MOViConfig(ComponentConfig):
    """Settings of MOVi."""

    root: SpecPath
    """The folder that holds `movi_c` (of that variant), or any folder from there down to the files."""
    variant: Literal["a", "b", "c", "d", "e", "f"] = "c"
    """Which of the published data sets to read."""
    resolution: PositiveInt | None = None
    """Rows and columns of the frames: 256 for the folder 256x256; null for the only size that is there."""
    splits: tuple[Split, ...] = ("train", "val", "test")
    """The splits that are there; `val` is the files' validation. A, B and F are published without test."""
    frames_per_clip: Annotated[
        PositiveInt | Mapping[Split, PositiveInt] | None, BeforeValidator(read_frames)
    ] = None
    """How many frames of each clip are read, evenly spaced from the first: frame i T // n, of T frames. 1 is
    the first alone, null all. {train: 9} reads 9 of each training clip and all of the others."""

    published_data: ClassVar[str] = "movi"
    downloads: ClassVar[Downloads] = Downloads(
        by_hand="it is published as many files in a bucket; with Google's gsutil, for MOVi-C at 128 pixels: "
        "gsutil -m cp -r gs://kubric-public/tfds/movi_c/128x128 FOLDER/movi_c/"
    )
    recognized_data: ClassVar[str] = "a folder with the TFRecord files of MOVi"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the variant, size and splits in a folder; of several the user must choose."""
        found = movi_files.folders_in(path)
        if not found:
            return None
        variants = sorted({one.variant for one in found})
        sizes = sorted({one.resolution for one in found if one.resolution is not None})
        there = [split for split in movi_files.ON_DISK if all(split in one.splits for one in found)]
        settings: dict[str, Any] = {"root": str(path), "splits": there or list(found[0].splits)}
        choices = {}
        if len(variants) > 1:
            choices["variant"] = variants
        else:
            settings["variant"] = variants[0]
        if len(sizes) > 1:
            choices["resolution"] = [str(size) for size in sizes]
        elif sizes:
            settings["resolution"] = sizes[0]
        return Recognized(settings=settings, choices=choices)

    @model_validator(mode="after")
    def _known_splits(self) -> "MOViConfig":
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise custom_error("movi_splits", "name at least one split, and each once")
        if isinstance(self.frames_per_clip, Mapping):
            for split in self.frames_per_clip:
                if split not in self.splits:
                    text = f"frames_per_clip names the split '{split}'; the splits are"
                    raise custom_error("movi_frames", f"{text} {', '.join(self.splits)}")
        return self

    @property
    def object_limit(self) -> int:
        """Most objects in a clip."""
        return _MOST_OBJECTS[self.variant]

    @property
    def picture_size(self) -> tuple[int, int] | None:
        """Columns and rows of every frame, if `resolution` says so."""
        return None if self.resolution is None else (self.resolution, self.resolution)

    def frames(self, split: str, total: int) -> list[int]:
        """Return which of a clip's frames are read.

        Raises:
            ComponentError: if it has fewer.
        """
        wanted: Any = self.frames_per_clip
        number = wanted.get(split) if isinstance(wanted, Mapping) else wanted
        number = total if number is None else number
        if number > total:
            text = f"{number} frames of each clip are wanted, and clips have {total}"
            raise ComponentError(text, field="frames_per_clip")
        return [place * total // number for place in range(number)]


class MOViDataset:
    """Frames of a split, clip by clip: image uint8 (3, H, W), mask uint8 or int32 (H, W), 0 the background.

    Mask value i is object i of the clip. Attributes: `num_objects` and `objects` of the clip, seen here or
    not; `video`, `frame`, `background`. An object has its `index`, what the variant tells of it (`shape`,
    `size`, `material`, `color_name`, `color`, `category`, `asset_id`, `scale`, `mass`, `is_dynamic`), and in
    this frame `3d_coords`, `pixel_coords` (column, row), `bbox` (top, left, bottom, right, from 0 to 1; None
    where unseen) and `visibility` (pixels in the rendered picture, which may be larger).
    """

    def __init__(self, config: MOViConfig, context: DatasetContext):
        if context.split not in config.splits:
            text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(text + suggest(context.split, config.splits))
        self.config, self.split = config, context.split
        self._folder = movi_files.find_folder(config.root, config.variant, config.resolution)
        self._shards = movi_files.find_shards(self._folder, self.split)
        self._clips = ExampleFiles(movi_files.list_clips(self._folder, self.split, self._shards))
        self._total, self.size = self._first()
        self._flows: tuple[RecordPlace, NDArray[np.float32]] | None = None
        self._frames = config.frames(self.split, self._total)
        self.cautions: Sequence[str] = movi_files.caution(self._folder, self.split, len(self._shards))
        """A warning if the number of clips cannot be checked."""

    def __len__(self) -> int:
        """Return the number of frames that are read."""
        return len(self._clips) * len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        """Return frame `index`, read from disk; raises DataError for a damaged or contradictory record."""
        record, frame = self._find(index)
        image_CHW = movi.read_image(record, frame)
        mask_HW = movi.read_mask(record, frame)
        for name, found in ((movi.VIDEO, image_CHW.shape[1:]), (movi.MASKS, mask_HW.shape)):
            if found != self.size:
                text = f"it has {found[0]} x {found[1]} pixels; the frames of this data have {self.size[0]} x"
                raise DataError(DataProblem(f"{record.place.name}/{name}[{frame}]", f"{text} {self.size[1]}"))
        return Sample(
            id=self.ids[index],
            image_CHW=torch.from_numpy(image_CHW),
            mask_HW=torch.from_numpy(mask_HW),
            attributes=movi.read_facts(record, frame, self._total, self.size),
            path=record.place.name,
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of frame `index`; raises DataError for a damaged record."""
        return torch.from_numpy(movi.read_mask(*self._find(index)))

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what the record says of frame `index`; raises DataError for a damaged record."""
        return movi.read_facts(*self._find(index), self._total, self.size)

    def flow(self, index: int) -> Tensor:
        """Return the backward flow of frame `index`, float32 (H, W, 2); see `HasFlow`.

        It is that since the frame before in the file, also where `frames_per_clip` reads fewer.
        """
        record, frame = self._find(index)
        if self._flows is None or self._flows[0] != record.place:  # one list holds those of all frames
            self._flows = record.place, movi.read_flows(record, self._total, self.size)
        return torch.from_numpy(self._flows[1][frame].copy())

    def depth(self, index: int) -> Tensor:
        """Return the distance to the camera's center in frame `index`, float32 (H, W); see `HasDepth`."""
        return torch.from_numpy(movi.read_depth(*self._find(index)))

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each frame: split, clip and frame."""
        clips = range(len(self._clips))
        return [f"{self.split}_{clip:05d}_{frame:02d}" for clip in clips for frame in self._frames]

    @property
    def videos(self) -> Sequence[Sequence[int]]:
        """The frames of each clip that are read."""
        number = len(self._frames)
        return [range(clip * number, (clip + 1) * number) for clip in range(len(self._clips))]

    def fingerprint(self) -> str:
        """Return the state of the split's files."""
        return fingerprint_paths(self._shards, self._folder.path)

    def _find(self, index: int) -> tuple[ExampleRecord, int]:
        """Return the clip and the number of the frame `index` in it."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} frames, none has number {index}")
        clip, place = divmod(index, len(self._frames))
        record = self._clips[clip]
        found = movi.count_frames(record)
        if found != self._total:
            raise record.place.broken(f"it has {found} frames; the other clips have {self._total}")
        return record, self._frames[place]

    def _first(self) -> tuple[int, Size]:
        """Return the number of frames of the first clip that can be read, and their rows and columns.

        Raises:
            DataError: if none can be read.
            ComponentError: if their size is not the one that is wanted.
        """
        errors = []
        for number in range(len(self._clips)):
            try:
                record = self._clips[number]
                _, rows, columns = movi.read_image(record, 0).shape
                total = movi.count_frames(record)
                break
            except DataError as error:
                errors.append(error)
        else:
            raise DataError(*(problem for error in errors[:20] for problem in error.problems))
        wanted = self.config.resolution
        if wanted is not None and (rows, columns) != (wanted, wanted):
            text = f"the frames in {self._folder.path} have {rows} x {columns} pixels"
            raise ComponentError(f"{text}, not {wanted} x {wanted}", field="resolution")
        return total, (rows, columns)


@hookimpl
def slotlab_datasets() -> Iterable[Component[MOViConfig]]:
    """Provide `movi`."""
    yield Component(
        name="movi",
        config=MOViConfig,
        build=MOViDataset,
        summary="frames of MOVi-A to MOVi-F, from the official TFRecord files",
    )
