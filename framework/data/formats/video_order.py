"""The order of samples that are frames of videos: video by video, and within a video in the order of time."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise


class VideoOrder:
    """What datasets of videos have in common: how many frames they have, and which belong to a video.

    Protocols split videos, so that `listed` counts them and all frames of one have its place.
    """

    def __init__(
        self, lengths: Sequence[int], places: Sequence[int] | None = None, listed: int | None = None
    ):
        """Order the frames of videos.

        Args:
            lengths: the number of frames of each video.
            places: the position of each video among all that the files tell of; None if none is left out.
            listed: how many videos these are; None if none is left out.
        """
        self._starts = list(accumulate(lengths, initial=0))
        self._places = range(len(lengths)) if places is None else places
        self.listed = len(lengths) if listed is None else listed
        """The number of videos that the files tell of, including those that are left out."""

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._starts[-1]

    @property
    def videos(self) -> Sequence[Sequence[int]]:
        """The frames of each video, in the order of time."""
        return [range(start, stop) for start, stop in pairwise(self._starts)]

    @cached_property
    def places(self) -> Sequence[int]:
        """The position of each frame's video among all videos."""
        spans = zip(self._places, pairwise(self._starts), strict=True)
        return [place for place, (start, stop) in spans for _ in range(start, stop)]

    def locate(self, index: int) -> tuple[int, int]:
        """Return the number of a frame's video, and of the frame in it, both from 0.

        Raises:
            IndexError: if there is no such frame.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} frames, none has number {index}")
        video = bisect_right(self._starts, index) - 1
        return video, index - self._starts[video]
