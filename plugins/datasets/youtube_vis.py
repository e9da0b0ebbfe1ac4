"""YouTube-VIS: videos of the web with the masks of some objects in each frame.

    <root>/train/instances.json       videos, annotations with run lengths, or null, for each frame
    <root>/train/JPEGImages/<video>/00000.jpg

Source: Yang et al. 2019, "Video Instance Segmentation"; youtube-vos.org, the version of 2021. Only its train
has public masks, so that models of slots are measured on a part of it: the last 300 videos by their ids, and
trained on the others (VideoSAUR, Zadaianchuk et al. 2023; SlotContrast).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from slotlab.framework.contracts import VOID, DataError, DataProblem, DatasetContext, Downloads, Recognized
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.formats.coco import checked, paint_instances
from slotlab.framework.data.formats.frame_files import Frame, FrameFiles, Video, VideoListing
from slotlab.framework.data.formats.pairing import Shelf
from slotlab.framework.data.formats.youtube_vis import VideoEntry, VideoObject, read_videos
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

_JSON, _IMAGES = "instances.json", "JPEGImages"


class YouTubeVISConfig(ComponentConfig):
    """Settings of YouTube-VIS."""

    root: SpecPath
    """The folder train, which holds instances.json and JPEGImages, or the one above it."""
    val_videos: NonNegativeInt = 300
    """How many videos, the last by their ids, are the split `val`; the others are `train`. With 0 all are."""
    frames: PositiveInt | None = None
    """How many frames of each video are read, from its first; null for all."""
    crowds: Literal["void", "background", "objects"] = "void"
    """How crowds (groups annotated as one object) are labeled: void (not scored), background, or objects."""
    overlaps: Literal["first", "last", "background", "void"] = "first"
    """Whose pixels are where objects overlap: those of the first or the last in the JSON; background; or void
    (not scored)."""

    published_data: ClassVar[str] = "youtube_vis"
    downloads: ClassVar[Downloads] = Downloads(
        by_hand="it is given to those who register at https://youtube-vos.org/dataset/vis; unpack train.zip, "
        "and give the folder train"
    )
    recognized_data: ClassVar[str] = "the folder train of YouTube-VIS"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that `val_videos` makes."""
        return ("train", "val") if self.val_videos else ("train",)

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the folder, if it holds instances.json and JPEGImages, or if its folder train does."""
        folder = _folder(path)
        there = (folder / _JSON).is_file() and (folder / _IMAGES).is_dir()
        return Recognized(settings={"root": str(path)}) if there else None


class YouTubeVISDataset(FrameFiles):
    """Frames of videos: image uint8 (3, H, W), mask uint8 or int32 (H, W), 0 what nobody labeled, -1 void.

    Mask value i is object i of the video. Attributes: `video`, `frame`, and `objects` of the video, seen in
    the frame or not, in the JSON's order, each with `index` and `category`; `num_objects`.
    """

    def __init__(self, config: YouTubeVISConfig, context: DatasetContext):
        if context.split not in config.splits:
            text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(text + suggest(context.split, config.splits))
        self.config = config
        folder = _folder(config.root)
        self._json = folder / _JSON
        try:
            every, strays = read_videos(self._json)
        except ValueError as error:
            raise ComponentError(str(error), field="root") from None
        first_val = len(every) - config.val_videos
        if first_val <= 0:
            text = f"{self._json} has {len(every)} videos, of which {config.val_videos} cannot be val"
            raise ComponentError(f"{text} and others train; make it fewer", field="val_videos")
        entries = every[:first_val] if context.split == "train" else every[first_val:]
        found = _list(entries, folder / _IMAGES, self._json, config.frames)
        by_place = dict(enumerate(entries))
        self._entries = [by_place[video.place] for video in found.videos]
        listing = VideoListing(found.videos, [*strays, *found.problems], (), len(entries))
        super().__init__(folder, listing, others=[self._json])

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what the JSON says of frame `index`."""
        kept = self._kept(self._entries[self.locate(index)[0]])
        objects = [{"index": number, "category": one.category} for number, one in enumerate(kept, start=1)]
        return {**super().attributes(index), "num_objects": len(kept), "objects": objects}

    def _labels(self, video: int, frame: int) -> Tensor:
        entry = self._entries[video]
        labels_HW = np.zeros(entry.size, np.int64)
        if self.config.crowds == "void":
            for one in entry.objects:
                if one.crowd:
                    labels_HW[self._draw(one, entry, frame)] = VOID
        drawn = [self._draw(one, entry, frame) for one in self._kept(entry)]
        paint_instances(drawn, labels_HW, self.config.overlaps)
        wide = labels_HW.min() < 0 or labels_HW.max() > 255
        return torch.from_numpy(labels_HW.astype(np.int32 if wide else np.uint8))

    def _draw(self, one: VideoObject, entry: VideoEntry, frame: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the pixels of an object in a frame: none where it is not seen."""
        shape = one.shapes[frame]
        if shape is None:
            return np.zeros(entry.size, np.bool_)
        title = f"video {fields.shown(entry.number)}: {one.title}"
        try:
            found: np.ndarray[Any, np.dtype[np.bool_]] = checked(
                title, f"segmentations[{frame}]", shape, lambda value: fields.draw(value, entry.size)
            )
        except ValueError as error:
            raise DataError(DataProblem(str(self._json), str(error))) from None
        return found

    def _kept(self, entry: VideoEntry) -> Sequence[VideoObject]:
        return [one for one in entry.objects if self.config.crowds == "objects" or not one.crowd]


def _folder(root: Path) -> Path:
    return root if (root / _JSON).is_file() or not (root / "train").is_dir() else root / "train"


def _list(entries: Sequence[VideoEntry], images: Path, source: Path, most: int | None) -> VideoListing:
    """Return the videos whose entries are as they should be, each frame with its file or a problem."""
    shelf, videos = Shelf(), []
    problems: list[DataProblem] = []
    for place, entry in enumerate(entries):
        problems += [DataProblem(str(source), text, place) for text in entry.complaints]
        if entry.complaints:
            continue
        title = f"video {fields.shown(entry.number)}"
        frames = [_frame(name, images, shelf, title, source, place) for name in entry.file_names[:most]]
        parent = PurePosixPath(entry.file_names[0]).parent.name
        video = Video(parent or str(entry.number), place, frames)
        videos.append(video)
        problems += video.problems
    return VideoListing(videos, problems, (), len(entries))


def _frame(name: str, images: Path, shelf: Shelf, title: str, source: Path, place: int) -> Frame:
    stem, path = PurePosixPath(name).stem, shelf.find(images, name)
    if path is not None:
        return Frame(stem, path)
    text = f"is missing; it is a frame of {title} of {source}{shelf.hint(images, name)}"
    return Frame(stem, images / name, problem=DataProblem(str(images / name), text, place))


@hookimpl
def slotlab_datasets() -> Iterable[Component[YouTubeVISConfig]]:
    """Provide `youtube_vis`."""
    yield Component(
        name="youtube_vis",
        config=YouTubeVISConfig,
        build=YouTubeVISDataset,
        summary="frames of YouTube-VIS with the masks of its objects",
    )
