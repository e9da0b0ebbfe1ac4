"""Videos that are files (MP4 and others), whose frames are samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import DataError, DataProblem, Sample
from slotlab.framework.data.formats.pictures import fingerprint_paths
from slotlab.framework.data.formats.video_decoding import EXTRA, FrameReader
from slotlab.framework.data.formats.video_order import VideoOrder
from slotlab.registry.optional import require


@dataclass(frozen=True)
class VideoFile:
    """A video and the file that holds it."""

    name: str
    path: Path
    place: int
    """The position among all videos, including those that are left out."""
    frames: int
    """How many of its frames are read, from the first."""


@dataclass(frozen=True)
class VideoFileListing:
    """The video files of a split, and what is wrong with them."""

    videos: Sequence[VideoFile]
    """Those that are not left out."""
    listed: int
    """The number of videos, including those that are left out."""
    problems: Sequence[DataProblem] = ()
    """Of videos that are left out."""
    cautions: Sequence[str] = ()
    """What the user should know."""


class VideoFiles(VideoOrder):
    """Frames of video files, video by video: image uint8 (3, H, W), no mask.

    Attributes: `video` (its name) and `frame` (from 0). A frame's id is its video's name and its number.
    """

    def __init__(self, root: Path, found: VideoFileListing, others: Iterable[Path] = ()):
        """Read listed videos.

        Args:
            root: the folder that holds all files.
            found: the videos.
            others: further files on which samples depend.
        """
        require("av", EXTRA)
        places = [video.place for video in found.videos]
        super().__init__([video.frames for video in found.videos], places, found.listed)
        self.problems: Sequence[DataProblem] = found.problems
        """What is wrong with videos that are left out."""
        self.cautions: Sequence[str] = found.cautions
        """What the user should know of the files."""
        self._root, self._files, self._others = root, found.videos, tuple(others)
        self._reader = FrameReader()

    def __getitem__(self, index: int) -> Sample:
        """Return frame `index`, decoded; raises DataError for a file that is damaged or ends too early."""
        video, frame = self.locate(index)
        file = self._files[video]
        return Sample(
            id=self.ids[index],
            image_CHW=torch.from_numpy(self._reader.read(file.path, frame).copy()),
            mask_HW=self._labels(video, frame),
            attributes=self.attributes(index),
            path=str(file.path),
        )

    def mask(self, index: int) -> Tensor:
        """Return the mask of frame `index`; raises DataError if there is none, or a file is damaged."""
        video, frame = self.locate(index)
        mask_HW = self._labels(video, frame)
        if mask_HW is None:
            raise DataError(DataProblem(str(self._files[video].path), "has no masks"))
        return mask_HW

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Return `video` and `frame` of frame `index`."""
        video, frame = self.locate(index)
        return {"video": self._files[video].name, "frame": frame}

    @cached_property
    def ids(self) -> Sequence[str]:
        """The id of each frame."""
        return [f"{file.name}/{frame:05d}" for file in self._files for frame in range(file.frames)]

    def fingerprint(self) -> str:
        """Return the state of all files."""
        return fingerprint_paths([*(file.path for file in self._files), *self._others], self._root)

    def _labels(self, video: int, frame: int) -> Tensor | None:
        """Return the mask (H, W) of a frame; None, as here, if there are none."""
        return None
