"""CLEVRER: videos of solids that enter, move and collide, decoded by PyAV; masks are predictions.

    <root>/videos/train/video_00000-01000/video_00000.mp4                      128 frames, 480x320
    <root>/annotations/train/annotation_00000-01000/annotation_00000.json      of train and validation
    <root>/derender_proposals/proposal_00000.json

Source: Yi et al. 2020, "CLEVRER: CoLlision Events for Video REpresentation and Reasoning".
Nobody published true masks. Those that are read on request were predicted by the authors' Mask R-CNN: objects
may be missing or wrong. An object's masks are linked by its color, material and shape, which no other object
of the video has. It needs `pip install 'slotlab[video]'`.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Le, Len
from pydantic import PositiveInt
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem, DatasetContext, Downloads, Recognized, Source
from slotlab.framework.data.formats.clevrer_json import (
    Annotation,
    Look,
    Proposal,
    number_looks,
    paint,
    read_annotation,
    read_proposals,
)
from slotlab.framework.data.formats.video_files import VideoFile, VideoFileListing, VideoFiles
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest

Split = Literal["train", "val", "test"]
_PARTS: Mapping[Split, range] = {
    "train": range(10_000),
    "val": range(10_000, 15_000),
    "test": range(15_000, 20_000),
}
"""The numbers of the videos of each split."""
_SPLITS = tuple(_PARTS)
_NAME = re.compile(r"video_([0-9]{5})\.mp4")
_FRAMES, _SIZE = 128, (320, 480)
_KEPT = 4
"""The number of videos whose JSON is kept."""


def _published(what: Literal["videos", "annotations"], theirs: str, ours: Split) -> Source:
    """Return where the videos or annotations of a split are published."""
    name = f"{what.removesuffix('s')}_{theirs}.zip"
    return Source(
        url=f"http://data.csail.mit.edu/clevrer/{what}/{theirs}/{name}",
        license="see http://clevrer.csail.mit.edu",
        unpack=f"{what}/{ours}",
    )


class CLEVRERConfig(ComponentConfig):
    """Settings of CLEVRER."""

    root: SpecPath
    """The folder that holds the folder videos."""
    splits: Annotated[tuple[Split, ...], Len(1)] = _SPLITS
    """The splits that are there, as folders of videos."""
    frames: Annotated[PositiveInt, Le(_FRAMES)] = _FRAMES
    """How many of the 128 frames of each video are read, from its first."""
    masks: bool = False
    """Whether to read the predicted masks of derender_proposals."""
    annotations: bool = False
    """Whether to read what is in each video; the split test has no annotations, and that of video 10800 is
    known to be broken."""

    published_data: ClassVar[str] = "clevrer"
    picture_size: ClassVar[tuple[int, int]] = (_SIZE[1], _SIZE[0])
    downloads: ClassVar[Downloads] = Downloads(
        parts={
            "train": (_published("videos", "train", "train"),),
            "val": (_published("videos", "validation", "val"),),
            "test": (_published("videos", "test", "test"),),
            "annotations": (
                _published("annotations", "train", "train"),
                _published("annotations", "validation", "val"),
            ),
        },
        usual=("train", "val", "annotations"),
        by_hand="proposals (derender_proposals.zip) are on http://clevrer.csail.mit.edu",
    )
    recognized_data: ClassVar[str] = "the folder of CLEVRER"

    @classmethod
    def recognize(cls, path: Path) -> Recognized | None:
        """Return the splits in a folder's videos/train, val and test, and whether masks are there."""
        splits = [name for name in _SPLITS if _files(path / "videos" / name)]
        if not splits:
            return None
        masks = (path / "derender_proposals").is_dir()
        return Recognized(settings={"root": str(path), "splits": splits, "masks": masks})


class CLEVRERDataset(VideoFiles):
    """Frames of videos: image uint8 (3, H, W); with `masks`, mask uint8 (H, W), 0 the background.

    Mask value i is one object in all frames of its video. Attributes: `video`, `frame`; with `annotations`
    also `num_objects` and `objects` of the video, seen in the frame or not, each with `index`, `color`,
    `material`, `shape`, `3d_coords`, `velocity` and `inside_camera_view`, and `collisions`: [frame, i, j].
    """

    def __init__(self, config: CLEVRERConfig, context: DatasetContext):
        if context.split not in config.splits:
            text = f"there is no split {context.split!r}; the splits are {', '.join(config.splits)}"
            raise ComponentError(text + suggest(context.split, config.splits))
        self.config, self._split = config, context.split
        found = _list(config, config.root / "videos" / context.split, _PARTS[context.split])
        names = [file.name.removeprefix("video_") for file in found.videos]
        self._proposals = [config.root / "derender_proposals" / f"proposal_{name}.json" for name in names]
        above = config.root / "annotations" / context.split
        folders = [file.path.parent.name.replace("video", "annotation") for file in found.videos]
        self._annotations = [
            above / folder / f"annotation_{name}.json" for folder, name in zip(folders, names, strict=True)
        ]
        read = [
            *(self._proposals if config.masks else ()),
            *(self._annotations if config.annotations else ()),
        ]
        super().__init__(config.root, found, others=read)
        self._kept: OrderedDict[Path, Any] = OrderedDict()

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return what is known of frame `index`; raises DataError for an annotation that is damaged."""
        facts = super().attributes(index)
        if not self.config.annotations:
            return facts
        video, frame = self.locate(index)
        known = self._annotation(video)
        if frame >= len(known.tracks):
            text = f"has {len(known.tracks)} frames in motion_trajectory; frame {frame} is missing"
            raise DataError(DataProblem(str(self._annotations[video]), text))
        objects = [
            {"index": label, **look._asdict(), **track}
            for label, (look, track) in enumerate(zip(known.looks, known.tracks[frame], strict=True), start=1)
        ]
        return {**facts, "num_objects": len(objects), "objects": objects, "collisions": known.collisions}

    def _labels(self, video: int, frame: int) -> Tensor | None:
        if not self.config.masks:
            return None
        path = self._proposals[video]
        frames: Sequence[Sequence[Proposal]] = self._json(path, read_proposals)
        if frame >= len(frames):
            raise DataError(DataProblem(str(path), f"has {len(frames)} frames; frame {frame} is missing"))
        known: Sequence[Look] = self._annotation(video).looks if self.config.annotations else ()
        numbers = number_looks(known, frames)
        return torch.from_numpy(paint(frames[frame], numbers, _SIZE, f"{path}/frames[{frame}]"))

    def _annotation(self, video: int) -> Annotation:
        found: Annotation = self._json(self._annotations[video], read_annotation)
        return found

    def _json(self, path: Path, read: Any) -> Any:
        """Return a file as `read` reads it; those that were read last are kept."""
        if path not in self._kept:
            self._kept[path] = read(path)
            if len(self._kept) > 2 * _KEPT:
                self._kept.popitem(last=False)
        return self._kept[path]


def _files(folder: Path) -> dict[int, Path]:
    """Return the videos in a folder's folders by their numbers."""
    paths = folder.glob("video_*/video_*.mp4") if folder.is_dir() else ()
    return {int(match[1]): path for path in paths if (match := _NAME.fullmatch(path.name))}


def _list(config: CLEVRERConfig, folder: Path, part: range) -> VideoFileListing:
    """List the videos of a split; those that are missing between others have a problem."""
    if not folder.is_dir():
        text = f"there is no folder {folder}; it holds video_{part[0]:05d}-{part[0] + 1000:05d} and others"
        raise ComponentError(text, field="root")
    found = {number: path for number, path in _files(folder).items() if number in part}
    if not found:
        text = f"no videos in {folder}: they are called video_{part[0]:05d}-{part[0] + 1000:05d}/"
        raise ComponentError(f"{text}video_{part[0]:05d}.mp4, and so on", field="root")
    wanted = range(min(found), max(found) + 1)
    problems = [
        DataProblem(
            str(folder / _place(number)), "is missing, though later videos are there", number - wanted[0]
        )
        for number in wanted
        if number not in found
    ]
    videos = [
        VideoFile(found[number].stem, found[number], number - wanted[0], config.frames)
        for number in sorted(found)
    ]
    cautions = []
    if len(found) < len(part):
        cautions.append(f"{folder} holds {len(found):,} of the {len(part):,} videos of this split")
    if config.masks:
        cautions.append("the masks of CLEVRER are predictions: objects may be missing, doubled or wrong")
    return VideoFileListing(videos, len(wanted), problems, cautions)


def _place(number: int) -> str:
    thousand = number // 1000 * 1000
    return f"video_{thousand:05d}-{thousand + 1000:05d}/video_{number:05d}.mp4"


@hookimpl
def slotlab_datasets() -> Iterable[Component[CLEVRERConfig]]:
    """Provide `clevrer`."""
    yield Component(
        name="clevrer",
        config=CLEVRERConfig,
        build=CLEVRERDataset,
        summary="frames of CLEVRER, with predicted masks on request",
        install="slotlab[video]",
    )
