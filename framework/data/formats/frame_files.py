"""Videos that are picture files: a folder for each video, in it a numbered picture for each frame.

A frame that is missing or has no mask keeps its place as a sample that cannot be read, so that no clip passes
over it.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem, Sample
from slotlab.framework.data.formats.exif import refuse_turned
from slotlab.framework.data.formats.listing import Files, Listing, Naming, list_pictures
from slotlab.framework.data.formats.mask_pictures import PLAIN, MaskCode
from slotlab.framework.data.formats.pairing import ENDINGS
from slotlab.framework.data.formats.pictures import decode, fingerprint_paths, natural_key, rgb
from slotlab.framework.data.formats.video_masks import VideoMasks
from slotlab.framework.data.formats.video_order import VideoOrder
from slotlab.registry import ComponentError

_NUMBERED = re.compile(r"(.*?)([0-9]+)")


@dataclass(frozen=True)
class Frame:
    """A frame, which may be one that cannot be read."""

    name: str
    image: Path
    mask: Path | None = None
    problem: DataProblem | None = None
    """What is wrong with it, if its files are not all there."""


@dataclass(frozen=True)
class Video:
    """A video and its frames, in the order of time."""

    name: str
    place: int
    """The position among all videos, including those that are left out."""
    frames: Sequence[Frame]

    @property
    def problems(self) -> Sequence[DataProblem]:
        """What is wrong with its frames."""
        return [frame.problem for frame in self.frames if frame.problem is not None]


@dataclass(frozen=True)
class VideoListing:
    """The videos of a split, and what is wrong with its folders."""

    videos: Sequence[Video]
    """Those that are not left out."""
    problems: Sequence[DataProblem] = ()
    """Of frames, and of videos that are left out."""
    cautions: Sequence[str] = ()
    """What the user should know."""
    listed: int = 0
    """The number of videos, including those that are left out."""


@dataclass(frozen=True)
class Span:
    """Which frames of each video are read."""

    first: int | None = None
    """The number in the name of the first frame; None for the first that is there."""
    most: int | None = None
    """How many, at most; None for all."""


def folders_of(root: Path) -> list[str]:
    """Return the names of the folders in a folder, vid2 before vid10, without hidden ones."""
    names = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(names, key=natural_key)


def holds_pictures(folder: Path) -> bool:
    """Return whether pictures lie in a folder."""
    with os.scandir(folder) as entries:
        return any(os.path.splitext(entry.name)[1].lower() in ENDINGS for entry in entries)  # noqa: PTH122


def list_videos(
    images: Path,
    masks: Path | None,
    names: Sequence[str],
    naming: Naming,
    span: Span = Span(),
) -> VideoListing:
    """List the frames of videos, and what is wrong with them.

    Args:
        images: the folder with a folder of pictures for each video.
        masks: the folder with a folder of masks for each video; None if there are none, or if they lie beside
            the pictures and have a suffix.
        names: the videos' names; each is a folder.
        naming: how files are named.
        span: which frames are read.
    """
    videos: list[Video] = []
    problems: list[DataProblem] = []
    cautions: list[str] = []
    for place, name in enumerate(names):
        folder = images / name
        if not folder.is_dir() or not holds_pictures(folder):
            text = "holds no pictures; it should be a video" if folder.is_dir() else "is missing"
            problems.append(DataProblem(str(folder), text, place))
            continue
        try:
            found = list_pictures(folder, None if masks is None else masks / name, naming)
        except ComponentError as error:
            problems.append(DataProblem(str(folder), str(error), place))
            continue
        video = Video(name, place, _frames(found, folder, place, span))
        videos.append(video)
        problems += video.problems
        cautions += [f"{folder}: {text}" for text in found.cautions]
    return VideoListing(videos, problems, cautions[:1], len(names))


def _frames(found: Listing, folder: Path, place: int, span: Span) -> list[Frame]:
    """Return the frames of a video; those that are missing or incomplete have a problem."""
    there = {file.place: file for file in found.files}
    wrong = {problem.place: problem for problem in reversed(found.problems)}
    begin = min(there, default=None)
    if begin is None:
        return [Frame(str(at), folder, problem=replace(one, place=place)) for at, one in wrong.items()]
    match = _NUMBERED.fullmatch(there[begin].stem)
    zero = None if match is None else int(match[2]) - begin
    start = 0 if span.first is None or zero is None else span.first - zero
    stop = found.listed if span.most is None else min(found.listed, start + span.most)
    known = there[begin]
    return [
        _frame(there.get(at), wrong.get(at), known, at - begin, folder, place) for at in range(start, stop)
    ]


def _frame(
    file: Files | None, wrong: DataProblem | None, known: Files, ahead: int, folder: Path, place: int
) -> Frame:
    """Return a frame that is there, or one that is `ahead` of a known one by its number and is not."""
    if file is not None:
        return Frame(file.stem, file.image, file.mask)
    match = _NUMBERED.fullmatch(known.stem)
    name = known.stem if match is None else f"{match[1]}{str(int(match[2]) + ahead).zfill(len(match[2]))}"
    path = known.image.with_name(known.image.name.replace(known.stem, name, 1))
    text = f"is missing, though later frames of the video {folder.name} are there"
    problem = DataProblem(str(path), text, place) if wrong is None else replace(wrong, place=place)
    return Frame(name, path, problem=problem)


class FrameFiles(VideoOrder):
    """Frames of videos, video by video: image uint8 (3, H, W), mask uint8 or int32 (H, W) if there are masks.

    Mask value i is one object in all frames of its video, 0 the background, -1 void. Attributes: `video` (its
    name) and `frame` (from 0). A frame's id is its video's name and its own.
    """

    def __init__(self, root: Path, found: VideoListing, code: MaskCode = PLAIN, others: Iterable[Path] = ()):
        """Read listed videos.

        Args:
            root: the folder that holds all files.
            found: the videos.
            code: which values of masks are no objects.
            others: further files on which samples depend.
        """
        videos = found.videos
        lengths, places = [len(video.frames) for video in videos], [video.place for video in videos]
        super().__init__(lengths, places, found.listed)
        self.problems: Sequence[DataProblem] = found.problems
        """What is wrong with frames, and with videos that are left out."""
        self.cautions: Sequence[str] = found.cautions
        """What the user should know of the files."""
        self._root, self._videos, self._code, self._others = root, videos, code, tuple(others)
        masks = [[one.mask for one in video.frames if one.mask is not None] for video in videos]
        self._masks = [VideoMasks(paths, code) for paths in masks]

    def __getitem__(self, index: int) -> Sample:
        """Return frame `index`, read from disk; raises DataError for a file that is missing or broken."""
        video, frame = self._find(index)
        name = str(frame.image)
        image = decode(frame.image, name)
        refuse_turned(image, name)
        return Sample(
            id=f"{video.name}/{frame.name}",
            image_CHW=torch.from_numpy(rgb(image, name)),
            mask_HW=self._labels(*self.locate(index)),
            attributes=self.attributes(index),
            path=name,
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of frame `index`; raises DataError for a file that is missing or broken."""
        _, frame = self._find(index)
        mask_HW = self._labels(*self.locate(index))
        if mask_HW is None:
            raise DataError(DataProblem(str(frame.image), "has no mask"))
        return mask_HW

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return `video` and `frame` of frame `index`."""
        video, frame = self.locate(index)
        return {"video": self._videos[video].name, "frame": frame}

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each frame."""
        return [f"{video.name}/{frame.name}" for video in self._videos for frame in video.frames]

    def fingerprint(self) -> str:
        """Return the state of all files."""
        frames = [frame for video in self._videos for frame in video.frames]
        paths = (path for one in frames for path in (one.image, one.mask) if path is not None)
        return fingerprint_paths([*paths, *self._others], self._root)

    def _labels(self, video: int, frame: int) -> Tensor | None:
        """Return the mask (H, W) of a frame that can be read; None if it has none."""
        path = self._videos[video].frames[frame].mask
        return None if path is None else torch.from_numpy(self._masks[video].read(path))

    def _find(self, index: int) -> tuple[Video, Frame]:
        number, at = self.locate(index)
        video = self._videos[number]
        frame = video.frames[at]
        if frame.problem is not None:
            raise DataError(frame.problem)
        return video, frame
