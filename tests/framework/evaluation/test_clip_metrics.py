"""Metrics of clips: what a clip's value is, of frames and of all frames together."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.contracts.metric_promises import measure
from slotlab.framework.evaluation.baselines import BASELINES
from slotlab.framework.evaluation.rows import Ledger, rows_of
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.runs.folder import MODEL
from slotlab.registry import SlotlabError

REGISTRY = load_registry()
WHOLE = {"video_ari": "ari", "video_fg_ari": "fg_ari", "video_mbo": "mbo", "video_miou": "miou_gt"}
"""Metrics of clips, and the same of images."""


def metric(name: str) -> Any:
    found = REGISTRY.find("metric", name)
    assert found is not None
    component = found.component
    return component.build(component.config(), MetricContext(value_range=(0.0, 1.0)))


def outcome(clips: int = 2, frames: int = 3, seed: int = 0, size: int = 6) -> Outcome:
    stream = torch.Generator().manual_seed(seed)
    shape = (clips * frames, size, size)
    return Outcome(
        images_BCHW=torch.rand(clips * frames, 3, size, size, generator=stream),
        true_BHW=torch.randint(-1, 4, shape, generator=stream),
        predicted_BHW=torch.randint(0, 5, shape, generator=stream),
        reconstructions_BCHW=torch.rand(clips * frames, 3, size, size, generator=stream),
        frames=frames,
    )


def frame(whole: Outcome, number: int) -> Outcome:
    one = slice(number, number + 1)
    assert whole.true_BHW is not None
    assert whole.predicted_BHW is not None
    assert whole.reconstructions_BCHW is not None
    return Outcome(
        images_BCHW=whole.images_BCHW[one],
        true_BHW=whole.true_BHW[one],
        predicted_BHW=whole.predicted_BHW[one],
        reconstructions_BCHW=whole.reconstructions_BCHW[one],
    )


@pytest.mark.parametrize("name", ["ari", "fg_ari", "mbo", "mse", "psnr", "mbo_per_object"])
def test_a_clips_value_is_the_mean_over_its_frames(name: str) -> None:
    whole, measured = outcome(), metric(name)
    found = measure(name, measured, whole)
    singles = [measure(name, measured, frame(whole, number)) for number in range(6)]
    for clip in range(2):
        own = singles[3 * clip : 3 * clip + 3]
        each = [(one.values[0], 1.0 if one.weights is None else one.weights[0]) for one in own]
        total = sum(weight for _, weight in each)
        assert found.values[clip] == pytest.approx(sum(value * weight for value, weight in each) / total)
        assert found.weights is None or found.weights[clip] == total
        assert found.by_frame is not None
        assert found.by_frame[clip] == [one.values[0] for one in own]


def test_frames_without_a_value_are_left_out_of_the_mean() -> None:
    whole = outcome()
    assert whole.true_BHW is not None
    whole.true_BHW[0] = 0
    whole.true_BHW[3:] = 0
    values = measure("fg_ari", metric("fg_ari"), whole).values
    own = [measure("fg_ari", metric("fg_ari"), frame(whole, number)).values[0] for number in (1, 2)]
    assert values[0] == pytest.approx(sum(own) / 2)
    assert math.isnan(values[1])


@pytest.mark.parametrize("name", WHOLE)
def test_a_metric_of_clips_is_that_of_one_picture_of_all_frames(name: str) -> None:
    whole = outcome()
    assert whole.true_BHW is not None
    assert whole.predicted_BHW is not None
    beside = Outcome(  # side by side, where `joined` puts them below one another
        images_BCHW=torch.zeros(2, 3, 6, 18),
        true_BHW=torch.stack([torch.cat(list(whole.true_BHW[at : at + 3]), dim=1) for at in (0, 3)]),
        predicted_BHW=torch.stack(
            [torch.cat(list(whole.predicted_BHW[at : at + 3]), dim=1) for at in (0, 3)]
        ),
    )
    assert measure(name, metric(name), whole).values == pytest.approx(
        measure(WHOLE[name], metric(WHOLE[name]), beside).values
    )


@pytest.mark.parametrize("name", WHOLE)
def test_of_images_both_are_one(name: str) -> None:
    single = outcome(frames=1)
    assert measure(name, metric(name), single) == measure(WHOLE[name], metric(WHOLE[name]), single)


def swapped(outcome: Outcome, change: Callable[[torch.Tensor], torch.Tensor]) -> Outcome:
    """Return perfect predictions of the true labels, with other names in the second half of each clip."""
    assert outcome.true_BHW is not None
    true_BHW = outcome.true_BHW.clamp_min(0)
    predicted_BHW = true_BHW.clone()
    predicted_BHW[1::2] = change(predicted_BHW[1::2])
    return Outcome(images_BCHW=outcome.images_BCHW, true_BHW=true_BHW, predicted_BHW=predicted_BHW, frames=2)


def test_only_whole_clips_see_that_slots_were_swapped() -> None:
    names = ("fg_ari", "video_fg_ari", "slot_stability")
    same = swapped(outcome(frames=2), lambda labels: labels)
    other = swapped(outcome(frames=2), lambda labels: (labels + 1) % 4)
    assert [measure(name, metric(name), same).values for name in names] == [[1.0, 1.0]] * 3
    values = {name: measure(name, metric(name), other).values for name in names}
    assert values["fg_ari"] == [1.0, 1.0]
    assert max(values["video_fg_ari"]) < 0.6
    assert values["slot_stability"] == [0.0, 0.0]


def test_slot_stability_counts_pairs_of_frames_in_which_an_object_is_seen() -> None:
    true = torch.tensor([[[1, 2]], [[1, 2]], [[1, 0]], [[0, 2]], [[1, 2]]])
    predicted = torch.tensor([[[3, 1]], [[3, 0]], [[2, 0]], [[0, 0]], [[3, 0]]])
    clip = Outcome(images_BCHW=torch.zeros(5, 3, 1, 2), true_BHW=true, predicted_BHW=predicted, frames=5)
    # Object 1: 3-3 kept, 3-2 not. Object 2: 1-0 not, then unseen; 0-0 kept.
    assert measure("slot_stability", metric("slot_stability"), clip).values == [2 / 4]
    single = Outcome(images_BCHW=torch.zeros(5, 3, 1, 2), true_BHW=true, predicted_BHW=predicted)
    assert all(map(math.isnan, measure("slot_stability", metric("slot_stability"), single).values))


@pytest.mark.parametrize("seed", range(4))
def test_slot_stability_counted_object_by_object(seed: int) -> None:
    found = outcome(clips=1, frames=8, seed=seed, size=2)  # so small that objects often leave
    assert found.true_BHW is not None
    assert found.predicted_BHW is not None
    kept, pairs = 0, 0
    for name in (1, 2, 3):
        slots = [
            mode(predicted_HW[true_HW == name].tolist())
            for true_HW, predicted_HW in zip(found.true_BHW, found.predicted_BHW, strict=True)
        ]
        for before, after in pairwise(slots):
            if before is not None and after is not None:
                pairs, kept = pairs + 1, kept + (before == after)
    assert measure("slot_stability", metric("slot_stability"), found).values == [kept / pairs]


def mode(labels: list[int]) -> int | None:
    return max(sorted(set(labels)), key=labels.count) if labels else None


def test_a_row_for_each_clip() -> None:
    whole = outcome()
    rows = rows_of(whole, ("a", "b"), {name: metric(name) for name in ("fg_ari", "video_fg_ari", "mse")})
    assert [row["id"] for row in rows] == ["a", "b"]
    assert [row["objects"] for row in rows] == [3, 3]
    assert rows[0].keys() == {"id", "objects", "fg_ari", "video_fg_ari", "mse"}


def test_means_by_frame_are_over_the_clips_that_have_the_frame() -> None:
    ledger = Ledger({"mse": metric("mse"), "video_ari": metric("video_ari")})
    whole, longer = outcome(), outcome(clips=1, frames=4, seed=1)
    ledger.add(MODEL, [1, 2], ["b", "c"], whole)
    ledger.add(MODEL, [0], ["a"], longer)
    found = ledger.close().by_frame[MODEL]
    assert list(found) == ["mse"]
    values = [measure("mse", metric("mse"), one).by_frame for one in (whole, longer)]
    assert values[0] is not None
    assert values[1] is not None
    by_clip = [*values[0], *values[1]]
    for number in range(3):
        assert found["mse"][number] == pytest.approx(sum(one[number] for one in by_clip) / 3)
    assert found["mse"][3] == by_clip[2][3]


def test_a_metric_of_clips_must_give_one_value_for_each() -> None:
    class Wrong:
        higher_is_better, bounds, needs, of_clips = True, (0.0, 1.0), frozenset[str](), True

        def __call__(self, outcome: Outcome) -> torch.Tensor:
            return torch.zeros(len(outcome.images_BCHW), dtype=torch.float64)

    with pytest.raises(SlotlabError, match=r"metric 'wrong'.*\(2,\)"):
        measure("wrong", Wrong(), outcome())


# --- which frames, and baselines ---------------------------------------------------------


def test_frames_before_the_first_measured_one_change_nothing() -> None:
    whole, other = outcome(), outcome(seed=1)
    late = [one.after(2) for one in (whole, other)]
    assert [len(one.images_BCHW) for one in late] == [2, 2]
    assert late[0].frames == 1
    assert whole.true_BHW is not None
    assert late[0].true_BHW is not None
    assert torch.equal(late[0].true_BHW, whole.true_BHW[2::3])
    assert whole.after(0) is whole
    with pytest.raises(ValueError, match="frame 3 is past the end of clips of 3 frames"):
        whole.after(3)


def moving_square(frames: int = 4) -> torch.Tensor:
    clip = torch.zeros(frames, 3, 8, 8)
    for number in range(frames):
        clip[number, :, 2:4, 2 * number : 2 * number + 2] = 1
    return clip


def test_motion_is_what_differs_from_the_median() -> None:
    clip = moving_square()
    found = BASELINES["motion"](torch.cat([clip, torch.zeros_like(clip)]), 2, 4)
    assert torch.equal(found[:4], (clip[:, 0] > 0).long())
    assert not found[4:].any()
    assert not BASELINES["motion"](clip[:1], 3, 1).any()


@pytest.mark.parametrize("name", ["one_segment", "position_grid", "color_kmeans", "motion"])
def test_a_baselines_clip_does_not_depend_on_its_batch(name: str) -> None:
    stream = torch.Generator().manual_seed(0)
    clips = torch.rand(6, 3, 8, 8, generator=stream)
    together = BASELINES[name](clips, 3, 3)
    alone = torch.cat([BASELINES[name](clips[:3], 3, 3), BASELINES[name](clips[3:], 3, 3)])
    assert torch.equal(together, alone)
    assert 0 <= int(together.min()) <= int(together.max()) < 3


def test_colors_keep_their_segment_over_time() -> None:
    clip = moving_square()
    found = BASELINES["color_kmeans"](clip, 2, 4)
    square = {int(label) for label in found[clip[:, 0] > 0]}
    assert len(square) == 1
    assert square.isdisjoint(int(label) for label in found[clip[:, 0] == 0])
