"""Which frames of a video dataset make up each clip: `data.clip` in training, whole videos at evaluation.

Sources of the ways to choose a start: aligned windows as in SAVi (Kipf et al. 2022), every start as in
SlotFormer (Wu et al. 2023), one random clip of each video and epoch as in VideoSAUR (Zadaianchuk et al.
2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from slotlab.framework.contracts import Dataset
from slotlab.framework.contracts.dataset_capabilities import HasVideos
from slotlab.framework.data.read_capabilities import is_endless, offers
from slotlab.framework.data.selection import Selection
from slotlab.framework.randomness.seeds import mix, permutation
from slotlab.framework.spec.data import ClipSpec
from slotlab.framework.spec.errors import Path, PathProblem

_STREAM = 0xC11B
"""Separates the draws of starts from others with the same seed."""
PATH: Path = ("data", "clip")


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of a selection of frames, numbered from 0, each a list of positions in the selection."""

    starts: Sequence[Sequence[Sequence[int]]]
    """For each clip the frames that it may have: of several choices one is drawn in each epoch."""
    seed: int = 0
    note: str = ""
    """What the user should know, such as how many videos are too short."""

    def __len__(self) -> int:
        """Return the number of clips in an epoch."""
        return len(self.starts)

    def frames(self, number: int, epoch: int = 0) -> Sequence[int]:
        """Return the positions of a clip's frames, in the order of time.

        Which start is drawn depends only on the seed, the epoch and the number of the clip.
        """
        return self.starts[number][self._choice(number, epoch)]

    def row(self, number: int, epoch: int = 0) -> int:
        """Return the place of these frames in `every`."""
        return self._firsts[number] + self._choice(number, epoch)

    @property
    def every(self) -> list[Sequence[int]]:
        """All clips that any epoch may show, each once: every choice of every clip, in their order."""
        return [frames for choices in self.starts for frames in choices]

    @cached_property
    def _firsts(self) -> list[int]:
        return [0, *accumulate(len(choices) for choices in self.starts)]

    def _choice(self, number: int, epoch: int) -> int:
        choices = len(self.starts[number])
        if choices == 1:
            return 0
        return permutation(choices, seed=mix(mix(self.seed, _STREAM), epoch), epoch=number)[0]


def training_clips(selection: Selection, wanted: ClipSpec, seed: int) -> Clips:
    """Return the clips that a training sees.

    Raises:
        PathProblem: if the data has no videos, or none is long enough.
    """
    span = (wanted.frames - 1) * wanted.stride + 1
    found: list[list[list[int]]] = []
    for video in whole_videos(selection):
        last = len(video) - span
        step = span if wanted.start == "aligned" else 1
        stop = 1 if wanted.start == "first" else last + 1
        every = [video[at : at + span : wanted.stride] for at in range(0, min(stop, last + 1), step)]
        kept = [[place for place in clip if place is not None] for clip in every if None not in clip]
        if kept:
            found += [kept] if wanted.start == "random" else [[clip] for clip in kept]
    return _checked(found, selection, wanted.frames, wanted.stride, seed)


def evaluation_clips(
    selection: Selection, wanted: ClipSpec, frames: int | None, from_frame: int = 0
) -> Clips:
    """Return the clips that are evaluated, at the training's stride: whole videos, or parts of some frames.

    Raises:
        PathProblem: if the data has no videos, none is long enough, or one ends before what is measured.
    """
    found: list[list[list[int]]] = []
    for video in whole_videos(selection):
        seen = video[:: wanted.stride]
        length = len(seen) if frames is None else frames
        parts = [seen[at : at + length] for at in range(0, len(seen) - length + 1, length)]
        found += [[[place for place in part if place is not None]] for part in parts if None not in part]
    clips = _checked(found, selection, frames, wanted.stride, 0)
    shortest = min(len(one) for [one] in found)
    if from_frame >= shortest:
        text = (
            f"nothing is left to measure from frame {from_frame} on: the shortest clip has {shortest} frames"
        )
        raise PathProblem(("evaluation", "from_frame"), text)
    return clips


def whole_videos(selection: Selection) -> list[list[int | None]]:
    """Return the videos with a frame in the selection: each frame's position in it, None for one left out.

    A video of which a part lies in another split belongs to neither of the two: all its frames are None.

    Raises:
        PathProblem: if the dataset has no videos.
    """
    source = selection.source
    dataset: Dataset = selection.base if source is None else source.dataset
    name = type(dataset).__name__ if source is None else source.name
    if is_endless(dataset):
        text = f"the dataset '{name}' is endless, and clips are cut out of a number of videos"
        raise PathProblem(PATH, f"{text}; write 'endless: false'")
    if not offers(dataset, HasVideos):
        text = f"the dataset '{name}' has no videos, and a clip is a part of one; write 'clip: null'"
        raise PathProblem(PATH, text)
    places = {position: place for place, position in enumerate(selection.positions)}
    videos = [[places.get(position) for position in video] for video in dataset.videos]
    return [video for video in videos if any(place is not None for place in video)]


def _checked(
    found: list[list[list[int]]], selection: Selection, frames: int | None, stride: int, seed: int
) -> Clips:
    if found:
        return Clips(starts=found, seed=seed)
    split = selection.facts.get("split")
    lengths = [len(video) for video in whole_videos(selection)]
    longest = (
        f"the longest of {len(lengths)} videos has {max(lengths)} frames"
        if lengths
        else "there are no videos"
    )
    wanted = "whole videos" if frames is None else f"clips of {frames} frames, {stride} apart,"
    text = f"split '{split}' has no {wanted} without a missing frame; {longest}"
    raise PathProblem(PATH, text)
