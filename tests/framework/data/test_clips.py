"""Clips: which frames they have, that no clip leaves its video or its split, and what a loader makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.contracts import Sample
from slotlab.framework.data.augmentation import Augment
from slotlab.framework.data.clips import evaluation_clips, training_clips
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.selection import Selection
from slotlab.framework.spec.data import ClipSpec
from slotlab.framework.spec.errors import PathProblem

CPU = torch.device("cpu")


@dataclass
class Videos:
    """Videos of some lengths; a frame's pixels are all its number, and its mask the number of its video."""

    lengths: Sequence[int] = (5, 3, 8)

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, index: int) -> Sample:
        number = next(number for number, video in enumerate(self.videos) if index in video)
        image = torch.full((3, 4, 6), index, dtype=torch.uint8)
        image[:, :, :3] = 255
        return Sample(id=f"f{index}", image_CHW=image, mask_HW=torch.full((4, 6), number))

    @property
    def videos(self) -> Sequence[Sequence[int]]:
        starts = [sum(self.lengths[:number]) for number in range(len(self.lengths) + 1)]
        return [range(start, stop) for start, stop in pairwise(starts)]


def selection(lengths: Sequence[int] = (5, 3, 8), without: Sequence[int] = ()) -> Selection:
    dataset = Videos(lengths)
    return Selection(dataset, [index for index in range(len(dataset)) if index not in without])


def clips_of(wanted: dict[str, Any], chosen: Selection, epoch: int = 0) -> list[list[int]]:
    clips = training_clips(chosen, ClipSpec.model_validate(wanted), seed=0)
    every = [clips.frames(number, epoch) for number in range(len(clips))]
    return [[chosen.positions[place] for place in frames] for frames in every]


# --- which frames ------------------------------------------------------------------------


def test_each_way_to_choose_a_start() -> None:
    chosen = selection()
    two = {"frames": 2}
    assert clips_of({**two, "start": "first"}, chosen) == [[0, 1], [5, 6], [8, 9]]
    aligned = [[0, 1], [2, 3], [5, 6], [8, 9], [10, 11], [12, 13], [14, 15]]
    assert clips_of({**two, "start": "aligned"}, chosen) == aligned
    assert len(clips_of({**two, "start": "all"}, chosen)) == 4 + 2 + 7
    assert clips_of({"frames": 3, "stride": 2, "start": "all"}, chosen) == [
        *[[0, 2, 4]],
        *[[start, start + 2, start + 4] for start in (8, 9, 10, 11)],
    ]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["all", "aligned", "random", "first"]),
    st.sets(st.integers(0, 20), max_size=3),
    st.integers(0, 5),
)
def test_no_clip_leaves_its_video_or_has_a_missing_frame(
    lengths: list[int], frames: int, stride: int, start: str, without: set[int], epoch: int
) -> None:
    chosen = selection(lengths, sorted(without))
    videos = [set(video) for video in Videos(lengths).videos]
    wanted = {"frames": frames, "stride": stride, "start": start}
    try:
        found = clips_of(wanted, chosen, epoch)
    except PathProblem:
        return
    for clip in found:
        assert len(clip) == frames
        assert {after - before for before, after in pairwise(clip)} <= {stride}
        assert any(set(clip) <= video for video in videos)
        assert not set(clip) & without
    whole = [clip for video in videos for clip in [sorted(video)] if not video & without]
    if start in ("first", "random"):
        assert len(found) >= len([video for video in whole if len(video) > (frames - 1) * stride])


def test_random_starts_differ_between_epochs_and_not_between_calls() -> None:
    chosen, wanted = selection((30, 30)), {"frames": 2, "start": "random"}
    epochs = [clips_of(wanted, chosen, epoch) for epoch in range(20)]
    assert epochs[3] == clips_of(wanted, chosen, 3)
    assert {len(one) for one in epochs} == {2}
    assert len({clip[0] for one in epochs for clip in one[:1]}) > 8
    differ = [one[0][0] != one[1][0] - 30 for one in epochs]
    assert sum(differ) > 10  # videos have draws of their own
    ends = {clip[0] for epoch in range(400) for clip in clips_of(wanted, chosen, epoch)[:1]}
    assert (min(ends), max(ends)) == (0, 28)


def test_whole_videos_and_parts_at_evaluation() -> None:
    chosen = selection()

    def found(frames: int | None, stride: int = 1) -> list[Sequence[int]]:
        clips = evaluation_clips(chosen, ClipSpec(frames=2, stride=stride), frames)
        return [list(clips.frames(number)) for number in range(len(clips))]

    assert found(None) == [list(range(5)), list(range(5, 8)), list(range(8, 16))]
    assert found(None, stride=2) == [[0, 2, 4], [5, 7], [8, 10, 12, 14]]
    assert found(3) == [[0, 1, 2], [5, 6, 7], [8, 9, 10], [11, 12, 13]]
    assert found(2, stride=2) == [[0, 2], [5, 7], [8, 10], [12, 14]]


def test_a_video_that_two_splits_share_is_in_neither() -> None:
    assert clips_of({"frames": 3, "start": "all"}, selection(without=range(4))) == [
        [5, 6, 7],
        *[[start, start + 1, start + 2] for start in range(8, 14)],
    ]


def test_errors_say_what_is_there() -> None:
    long = ClipSpec(frames=9)
    text = "has no clips of 9 frames, 1 apart, without a missing frame; the longest of 3 videos has 8 frames"
    with pytest.raises(PathProblem, match=text):
        training_clips(selection(), long, 0)
    with pytest.raises(PathProblem, match="has no clips of 12 frames, 1 apart,"):
        evaluation_clips(selection(), long, 12)
    single = Selection([Sample(id="a", image_CHW=torch.zeros(3, 2, 2, dtype=torch.uint8))], [0])
    with pytest.raises(PathProblem, match="the dataset 'list' has no videos, and a clip is a part of one"):
        training_clips(single, long, 0)


# --- batches -----------------------------------------------------------------------------


def loader(chosen: Selection, frames: int = 3, **settings: Any) -> Loader:
    clips = training_clips(chosen, ClipSpec(frames=frames, start="all"), 0)
    return Loader(chosen, 2, CPU, (0.0, 1.0), clips=clips, **settings)


def frame_numbers(images_BCHW: torch.Tensor) -> list[int]:
    return [int(value) for value in (images_BCHW[:, 0, 0, -1] * 255).round()]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_holds_its_clips_one_after_the_other(workers: int) -> None:
    found = list(loader(selection(), workers=workers).epoch([0, 3, 5]))
    assert [(len(batch), batch.frames) for batch in found] == [(2, 3), (1, 3)]
    assert frame_numbers(found[0].images_BCHW) == [0, 1, 2, 5, 6, 7]
    assert found[0].ids == ("f0", "f5")
    assert found[0].masks_BHW is not None
    assert found[0].masks_BHW[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame_numbers(found[1].images_BCHW) == [9, 10, 11]


def test_order_and_resume_count_clips() -> None:
    chosen = loader(selection())
    order = chosen.order(seed=1, epoch=2)
    assert sorted(order) == list(range(chosen.total)) == list(range(3 + 1 + 6))
    whole = [batch.ids for batch in chosen.epoch(order)]
    assert [batch.ids for batch in chosen.epoch(order, skip=2)] == whole[2:]
    shares = [replace(chosen, rank=rank, processes=2) for rank in range(2)]
    together = [[batch.ids[0] for batch in share.epoch(order)] for share in shares]
    assert [tuple(pair) for pair in zip(*together, strict=True)] == whole


def test_parts_of_a_batch_are_whole_clips() -> None:
    batch = next(iter(replace(loader(selection()), batch_size=5).epoch()))
    parts = batch.chunk(2)
    assert [len(part) for part in parts] == [3, 2]
    assert torch.equal(torch.cat([part.images_BCHW for part in parts]), batch.images_BCHW)
    assert [name for part in parts for name in part.ids] == list(batch.ids)
    assert {part.frames for part in parts} == {3}


def test_all_frames_of_a_clip_are_mirrored_or_none() -> None:
    chosen = replace(loader(selection((40,) * 3)), augment=Augment(seed=0, flip=True), batch_size=9)
    batch = next(iter(chosen.epoch()))
    mirrored = (batch.images_BCHW[:, 0, 0, 0] < 1).reshape(9, 3)
    assert (mirrored == mirrored[:, :1]).all()
    assert 0 < int(mirrored[:, 0].sum()) < 9


def test_shares_are_of_one_length() -> None:
    chosen = selection()
    clips = evaluation_clips(chosen, ClipSpec(frames=2), None)
    whole = Loader(chosen, 2, CPU, (0.0, 1.0), clips=clips)
    found = list(whole.share(range(3)))
    assert [positions for positions, _ in found] == [[0], [1], [2]]
    assert [batch.frames for _, batch in found] == [5, 3, 8]
    parts = Loader(chosen, 2, CPU, (0.0, 1.0), clips=evaluation_clips(chosen, ClipSpec(frames=2), 3))
    assert [positions for positions, _ in parts.share(range(4))] == [[0, 1], [2, 3]]


def test_a_video_that_ends_before_what_is_measured_is_refused() -> None:
    text = "nothing is left to measure from frame 3 on: the shortest clip has 3 frames"
    with pytest.raises(PathProblem, match=text):
        evaluation_clips(selection(), ClipSpec(frames=2), None, 3)
    assert len(evaluation_clips(selection(), ClipSpec(frames=2), None, 2)) == 3
