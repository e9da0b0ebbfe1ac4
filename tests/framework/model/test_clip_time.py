"""Frames of clips, cut and joined: nothing is lost, and the order of time is kept."""

from itertools import pairwise

import pytest
import torch

from slotlab.framework.contracts import Slots
from slotlab.framework.model.clip_time import by_clip, in_time, span_of

CLIPS, FRAMES = 3, 5


@pytest.mark.parametrize("cuts", [(), (1,), (2, 4), (1, 2, 3, 4)])
def test_spans_joined_are_the_clips(cuts: tuple[int, ...]) -> None:
    whole = torch.arange(CLIPS * FRAMES * 2).reshape(-1, 2)
    ends = [0, *cuts, FRAMES]
    spans = [span_of(whole, FRAMES, slice(*both)) for both in pairwise(ends)]
    torch.testing.assert_close(in_time(spans, CLIPS), whole, rtol=0, atol=0)
    slots = [Slots(span.float()[:, None], {"age": span[:, :1]}) for span in spans if span is not None]
    joined = in_time(slots, CLIPS)
    torch.testing.assert_close(joined.vectors_BKD[:, 0], whole.float(), rtol=0, atol=0)
    torch.testing.assert_close(joined.extras["age"], whole[:, :1], rtol=0, atol=0)


@pytest.mark.parametrize("more", [0, 1])
def test_what_belongs_to_the_slots_of_some_frames_alone_is_left_out(more: int) -> None:
    spans = [
        {"pose": torch.zeros(CLIPS, 2)} | ({"other": torch.ones(CLIPS, 2)} if number == more else {})
        for number in range(2)
    ]
    joined = in_time(spans, CLIPS)
    assert list(joined) == ["pose"]
    assert by_clip(joined["pose"], CLIPS).shape == (CLIPS, 2, 2)
