"""Laws of `moving_scenes`: same video for same seed, split and number; truth that fits the frames."""

import json
import multiprocessing
import pickle
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from slotlab.framework.contracts import BatchedDataset, Dataset, DatasetContext, RawBatch, Sample
from slotlab.framework.contracts.dataset_capabilities import HasVideos
from slotlab.framework.data.read_capabilities import offers
from slotlab.framework.probing.attributes import choose_attributes
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.scenes import kept_videos
from slotlab.framework.scenes.motion import GRAVITY
from slotlab.framework.scenes.moving_recipe import MOVING_VARIANTS
from slotlab.framework.scenes.recipe import PATTERNED
from slotlab.plugins.datasets.moving_scenes import (
    MovingScenesConfig,
    MovingScenesDataset,
    slotlab_datasets,
)
from slotlab.registry import ComponentError, SlotlabError

CPU = torch.device("cpu")


def build(
    split: str = "train", size: tuple[int, int] = (32, 32), seed: int = 0, **settings: Any
) -> MovingScenesDataset:
    context = DatasetContext(split=split, image_size=size, seed=seed)
    return MovingScenesDataset(MovingScenesConfig.model_validate({"num_frames": 4, **settings}), context)


def equal(a: Sample, b: Sample) -> bool:
    assert a.mask_HW is not None
    assert b.mask_HW is not None
    same = torch.equal(a.image_CHW, b.image_CHW) and torch.equal(a.mask_HW, b.mask_HW)
    return same and (a.id, a.attributes) == (b.id, b.attributes)


def same_row(batch: RawBatch, row: int, sample: Sample) -> bool:
    assert batch.masks_BHW is not None
    assert sample.mask_HW is not None
    image = torch.equal(batch.images_BCHW[row], sample.image_CHW)
    facts = batch.ids[row] == sample.id and batch.attributes[row] == sample.attributes
    return image and facts and torch.equal(batch.masks_BHW[row].long(), sample.mask_HW)


def whole(dataset: MovingScenesDataset, videos: int) -> tuple[torch.Tensor, list[Sequence[Any]]]:
    """Return the masks (B, T, H, W) of the first videos, and the attributes of their frames."""
    length = dataset.config.num_frames
    batch = dataset.batch(range(videos * length), CPU)
    assert batch.masks_BHW is not None
    facts = [batch.attributes[first : first + length] for first in range(0, videos * length, length)]
    return batch.masks_BHW.view(videos, length, *batch.masks_BHW.shape[1:]), facts


# --- determinism -------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["movi_a", "textured"])
def test_same_frames_in_any_batch_order_and_copy(variant: str) -> None:
    first, second = build(variant=variant), build(variant=variant)
    alone = [first[index] for index in range(24)]
    batch = second.batch(list(reversed(range(24))), CPU)
    assert all(same_row(batch, 23 - index, alone[index]) for index in range(24))
    assert same_row(build(variant=variant).batch([17, 17, 3], CPU), 1, alone[17])
    copy = pickle.loads(pickle.dumps(first))
    assert all(equal(copy[index], alone[index]) for index in (0, 9))


def test_same_truth_in_any_order() -> None:
    first, second = build(), build()
    second.batch(range(20), CPU)
    for index in (13, 2, 3):
        assert first.flow(index).equal(second.flow(index))
        assert first.depth(index).equal(second.depth(index))
        assert first.boxes(index).equal(second.boxes(index))


def test_same_frames_whatever_the_threads() -> None:
    # Pictures of 96 pixels a side are large enough that torch divides the work.
    one = build(size=(96, 96)).batch(range(4), CPU)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        two = build(size=(96, 96)).batch(range(4), CPU)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.images_BCHW, two.images_BCHW)
    assert torch.equal(one.masks_BHW, two.masks_BHW)  # type: ignore[arg-type]
    assert one.attributes == two.attributes


@pytest.mark.slow
def test_same_frames_in_a_spawned_worker() -> None:
    dataset = build()
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=None,
        sampler=[5, 2],
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("spawn"),
    )
    assert all(map(equal, loader, [dataset[5], dataset[2]]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_shows_the_same_motion() -> None:
    device = torch.device("cuda")
    here, there = build().batch(range(24), CPU), build().batch(range(24), device)
    for a, b in zip(here.attributes, there.attributes, strict=True):
        assert a["collisions"] == b["collisions"]
        for fact in ("velocity", "shape", "size"):
            assert [one[fact] for one in a["objects"]] == [one[fact] for one in b["objects"]]
    assert here.masks_BHW is not None
    assert there.masks_BHW is not None
    assert (here.masks_BHW != there.masks_BHW.cpu()).float().mean() < 1e-3


def test_seeds_splits_and_videos_differ() -> None:
    samples = [build()[0], build()[4], build(seed=1)[0], build("val")[0], build("test")[0]]
    assert len({sample.image_CHW.numpy().tobytes() for sample in samples}) == len(samples)
    assert [sample.id for sample in samples[:2] + samples[3:]] == [
        "moving_scenes_train_000000_00",
        "moving_scenes_train_000001_00",
        "moving_scenes_val_000000_00",
        "moving_scenes_test_000000_00",
    ]


def test_a_caller_cannot_spoil_the_stored_frame() -> None:
    dataset = build()
    before = dataset[1].image_CHW.clone()
    dataset[1].image_CHW.zero_()
    dataset.batch([1], CPU).images_BCHW.zero_()
    dataset.flow(1).zero_()
    mask_HW = dataset[1].mask_HW
    assert mask_HW is not None
    mask_HW.zero_()
    assert torch.equal(dataset[1].image_CHW, before)
    assert equal(dataset[1], build()[1])


def test_other_counts_leave_the_videos_as_they_are() -> None:
    assert equal(build(num_train=2)[7], build(num_train=500)[7])


# --- videos ------------------------------------------------------------------------------


def test_videos_are_the_samples_in_the_order_of_time() -> None:
    dataset = build("val", num_frames=5, num_val=3)
    assert isinstance(dataset, HasVideos)
    assert offers(dataset, HasVideos)
    assert [list(video) for video in dataset.videos] == [list(range(v * 5, v * 5 + 5)) for v in range(3)]
    for number, video in enumerate(dataset.videos):
        facts = dataset.batch(video, CPU).attributes
        assert [(fact["video"], fact["frame"]) for fact in facts] == [(number, f) for f in range(5)]
    assert dataset.batch(dataset.videos[2], CPU).ids[1] == "moving_scenes_val_000002_01"


@pytest.mark.parametrize("size", [(96, 16), (16, 96)])
def test_pictures_may_be_tall_or_wide(size: tuple[int, int]) -> None:
    masks, videos = whole(build(size=size), 4)
    for number, facts in enumerate(videos):
        assert set(range(1, facts[0]["num_objects"] + 1)) <= set(masks[number, 0].unique().tolist())


@pytest.mark.parametrize("variant", MOVING_VARIANTS)
def test_objects_keep_what_they_are_and_show(variant: str) -> None:
    settings = {"variant": variant, "size": (40, 56), "num_frames": 8, "min_visible": 0.004}
    masks, videos = whole(build(**settings), 8)
    pixels = torch.stack([(masks == label).sum((2, 3)) for label in range(1, 6)], 2)
    for number, facts in enumerate(videos):
        count = facts[0]["num_objects"]
        assert 3 <= count <= 5
        for fixed in ("index", "shape", "size", "material", "color", "rotation"):
            assert len({json.dumps([entry[fixed] for entry in fact["objects"]]) for fact in facts}) == 1
        assert [entry["index"] for entry in facts[0]["objects"]] == list(range(1, count + 1))
        assert masks[number].max() <= count
        least = 0.004 * 40 * 56
        assert (pixels[number, 0, :count] >= least).all(), "all in the first frame"
        assert ((pixels[number, :, :count] >= least).sum(0) >= 4).all(), "and in half of all"
        assert json.loads(json.dumps(facts)) == list(facts)


def test_objects_are_where_the_metadata_says() -> None:
    masks, videos = whole(build(size=(64, 64), min_objects=1, max_objects=1, shapes=["sphere"]), 6)
    for video_THW, facts in zip(masks, videos, strict=True):
        for mask_HW, fact in zip(video_THW, facts, strict=True):
            [entry] = fact["objects"]
            column, row, _ = entry["pixel_coords"]
            if 0 <= row < 64 and 0 <= column < 64:
                assert mask_HW[int(row), int(column)] == 1
            assert entry["visible_fraction"] == 1
        for (before,), (after,) in pairwise(fact["objects"] for fact in facts):
            way = torch.tensor(after["3d_coords"]) - torch.tensor(before["3d_coords"])
            velocity = torch.tensor(after["velocity"])
            torch.testing.assert_close(way[:2] * 12, velocity, rtol=0, atol=0.08)
            assert way[2] == 0


def test_friction_slows_objects_down_and_stops_them() -> None:
    start = build(friction=0.0, num_frames=2, restitution=1.0, min_objects=1, max_objects=1)
    slow = build(friction=0.3, num_frames=36, min_objects=1, max_objects=1, min_visible=0.0)
    for number in range(5):
        speed = torch.tensor(start[2 * number].attributes["objects"][0]["velocity"]).norm()
        found = [
            torch.tensor(slow[36 * number + frame].attributes["objects"][0]["velocity"]).norm()
            for frame in range(36)
        ]
        rest = int(speed / (0.3 * GRAVITY) * 12) + 1
        assert found[0] == pytest.approx(float((speed - 0.3 * GRAVITY / 12).clamp(min=0)), abs=0.01)
        assert rest > 35 or found[rest] == 0


# --- events ------------------------------------------------------------------------------


def hidden(facts: Sequence[Any]) -> bool:
    return any(entry["visible_fraction"] < 0.9 for fact in facts for entry in fact["objects"])


def test_something_happens_in_every_video_if_it_must() -> None:
    settings = {"min_objects": 2, "max_objects": 2, "num_frames": 6, "sizes": [0.5]}
    quiet = [not facts[0]["collisions"] and not hidden(facts) for facts in whole(build(**settings), 16)[1]]
    assert any(quiet)
    for facts in whole(build(**settings, events="some"), 16)[1]:
        assert facts[0]["collisions"] or hidden(facts)


def test_collisions_change_velocities_and_are_of_the_video() -> None:
    _, videos = whole(build(friction=0.0, num_frames=8), 10)
    met = 0
    for facts in videos:
        assert all(fact["collisions"] == facts[0]["collisions"] for fact in facts)
        struck = {(frame, i) for frame, *both in facts[0]["collisions"] for i in both}
        met += len(struck)
        assert all(0 <= frame < 8 and 1 <= i < j for frame, i, j in facts[0]["collisions"])
        for frame in range(1, 8):
            for before, after in zip(facts[frame - 1]["objects"], facts[frame]["objects"], strict=True):
                changed = before["velocity"] != after["velocity"]
                assert (frame, after["index"]) in struck or not changed
    assert met > 10


# --- variants ----------------------------------------------------------------------------


def moving(facts: Any) -> int:
    return sum(entry["velocity"] != [0, 0] for entry in facts["objects"])


def test_all_move_in_movi_a() -> None:
    for facts in whole(build(), 10)[1]:
        assert moving(facts[0]) == facts[0]["num_objects"]
        assert {entry["material"] for entry in facts[0]["objects"]} == {"plain"}
        assert facts[0]["ground_material"] == "plain"


def test_one_sphere_is_launched_in_obj3d() -> None:
    _, videos = whole(build(variant="obj3d", num_frames=12), 16)
    for facts in videos:
        first = [entry for entry in facts[0]["objects"] if entry["velocity"] != [0, 0]]
        if not facts[0]["collisions"] or facts[0]["collisions"][0][0] > 0:
            [launched] = first
            assert launched["shape"] == "sphere"
            assert 2.5 < torch.tensor(launched["velocity"]).norm() < 4.5
    assert sum(bool(facts[0]["collisions"]) for facts in videos) > 8, "it is aimed at another"


def test_what_nobody_hits_rests_in_still() -> None:
    dataset = build(variant="still", num_frames=6)
    masks, videos = whole(dataset, 10)
    resting = 0
    for number, facts in enumerate(videos):
        struck = {i for _, *both in facts[0]["collisions"] for i in both}
        assert moving(facts[0]) >= 1
        assert moving(facts[0]) == 1 or struck
        for entry in facts[0]["objects"]:
            label = entry["index"]
            own = [fact["objects"][label - 1] for fact in facts]
            if entry["velocity"] == [0, 0] and label not in struck:
                resting += 1
                assert len({json.dumps([e["3d_coords"], e["velocity"]]) for e in own}) == 1
                for frame in range(6):
                    flow = dataset.flow(number * 6 + frame)
                    assert (flow[masks[number, frame] == label] == 0).all()
    assert resting > 15


def test_nothing_moves_without_movers() -> None:
    dataset = build(movers=0, size=(24, 40))
    batch = dataset.batch(range(8), CPU)
    assert batch.images_BCHW[:4].equal(batch.images_BCHW[:1].expand(4, -1, -1, -1))
    assert all(dataset.flow(index).abs().max() == 0 for index in range(8))


def test_textured_has_textures_and_other_settings_win() -> None:
    _, videos = whole(build(variant="textured"), 12)
    assert {facts[0]["ground_material"] for facts in videos} <= set(PATTERNED)
    assert {entry["material"] for facts in videos for entry in facts[0]["objects"]} <= set(PATTERNED)
    settings = {"shapes": ["cone"], "textures": ["wood"], "ground_textures": ["grass"], "sizes": [0.5]}
    for facts in whole(build(**settings), 4)[1]:
        assert facts[0]["ground_material"] == "grass"
        found = {(entry["shape"], entry["material"], entry["size"]) for entry in facts[0]["objects"]}
        assert found == {("cone", "wood", 0.5)}


# --- flow, depth and boxes ---------------------------------------------------------------


def test_truth_has_the_promised_form() -> None:
    dataset = build(size=(24, 40))
    for index in (0, 6):
        sample = dataset[index]
        assert sample.mask_HW is not None
        flow, depth, boxes = dataset.flow(index), dataset.depth(index), dataset.boxes(index)
        assert (flow.dtype, flow.shape) == (torch.float16, (24, 40, 2))
        assert (depth.dtype, depth.shape) == (torch.float16, (24, 40))
        assert (boxes.dtype, boxes.shape) == (torch.float32, (5, 4))
        assert (flow[sample.mask_HW == 0] == 0).all()
        assert flow.abs().max() > 0, "the first frame has flow, too"
        for label in range(1, sample.attributes["num_objects"] + 1):
            rows, columns = (sample.mask_HW == label).nonzero().unbind(1)
            edges = [rows.min() / 24, columns.min() / 40, (rows.max() + 1) / 24, (columns.max() + 1) / 40]
            torch.testing.assert_close(boxes[label - 1], torch.stack(edges))
        assert (boxes[sample.attributes["num_objects"] :] == 0).all()
    for index in (-1, len(dataset) - 1):
        assert dataset.boxes(index).equal(dataset.boxes(-1))
    with pytest.raises(IndexError):
        dataset.flow(len(dataset))


# --- as a dataset ------------------------------------------------------------------------


def test_interface() -> None:
    dataset = build("val", max_objects=5, num_val=2)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, BatchedDataset)
    assert (len(dataset), dataset.config.object_limit) == (8, 5)
    assert equal(dataset[-1], dataset[7])
    assert dataset.batch([0], CPU, masks=False).masks_BHW is None
    for index in (8, -9):
        with pytest.raises(IndexError):
            dataset[index]
        with pytest.raises(IndexError):
            dataset.batch([0, index], CPU)
    assert dataset.at_a_time(CPU) == 256
    assert build(size=(1024, 1024)).at_a_time(CPU) == 4, "one whole video"
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("moving_scenes", 1, [])
    assert MovingScenesConfig.rendered
    assert MovingScenesConfig.splits == ("train", "val", "test")


def test_what_videos_depend_on_is_data() -> None:
    settings = [
        {},
        {"variant": "still"},
        {"speed": 2.0},
        {"num_frames": 5},
        {"events": "some"},
        {"sizes": [0.5]},
        {"friction": 0.1},
    ]
    found = [json.dumps(build(**one).depends()) for one in settings]
    assert len(set(found)) == len(settings)
    assert build(num_train=5).depends() == build(num_val=7).depends()


def asked(dataset: MovingScenesDataset, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Return a list that grows with the numbers of videos that are drawn."""
    found: list[list[int]] = []
    original = dataset._videos.draw

    def draw(numbers: Sequence[int], device: torch.device) -> Any:
        found.append(list(numbers))
        return original(numbers, device)

    monkeypatch.setattr(dataset._videos, "draw", draw)
    return found


def test_kept_videos_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build()
    before = dataset[9]
    found = asked(dataset, monkeypatch)
    assert same_row(dataset.batch([5, 9, 30, 6], CPU), 1, before)
    dataset.batch([28, 8, 4], CPU)
    dataset.flow(31)
    assert found == [[1, 7]]


def test_videos_are_kept_up_to_the_limit_and_beyond_it_those_of_the_last_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(kept_videos.MEMORY, "cpu", 4 * 32 * 32 * 4 * 3 + 1)
    dataset = build()
    found = asked(dataset, monkeypatch)
    dataset.batch(range(20), CPU)
    for index in range(20):
        assert equal(dataset[index], build()[index])
    assert found == [[0, 1, 2, 3, 4]]
    dataset.batch(range(20, 24), CPU)
    assert equal(dataset[16], build()[16])
    assert found[1:] == [[5], [4]]


def test_a_probe_of_pictures_leaves_velocities_out() -> None:
    objects = [sample.attributes["objects"] for sample in map(build().__getitem__, range(12))]
    chosen, left_out = choose_attributes(objects, ProbeSettings(), lambda column, row: (column, row))
    assert {"pixel_coords", "shape"} <= {one.name for one in chosen}
    assert {"velocity", "visible_fraction"} <= set(left_out)


# --- complaints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message", "field"),
    [
        ({"min_objects": 7, "max_objects": 6}, "6 is less than min_objects, which is 7", "max_objects"),
        ({"min_visible": 0.4}, "3 objects cannot each show on 0.4 of the picture", "min_visible"),
        (
            {"speed": 20.0, "sizes": [0.3], "fps": 6},
            "8 steps a frame let objects of this speed jump over others; take 37",
            "substeps",
        ),
        (
            {"speed": 20.0, "sizes": [0.1], "fps": 4},
            "8 steps a frame let objects of this speed jump over others; lower speed, or raise fps or sizes",
            "substeps",
        ),
        (
            {"events": "some", "min_objects": 1},
            "'some' takes two objects to meet, and min_objects is 1",
            "events",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        build(**settings)
    (detail,) = caught.value.errors()
    assert (detail["msg"], detail["loc"]) == (f"Value error, {message}", (field,))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_objects": 11},
        {"num_frames": 0},
        {"num_frames": 101},
        {"shapes": []},
        {"num_train": 0},
        {"sizes": [1.6]},
        {"variant": "full"},
        {"speed": -1},
        {"friction": 1.5},
        {"restitution": 1.1},
        {"fps": 0},
        {"substeps": 0},
        {"events": "all"},
        {"movers": -1},
        {"endless": True},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MovingScenesConfig.model_validate(settings)


def test_the_steps_that_are_proposed_are_enough() -> None:
    assert build(speed=20.0, sizes=[0.3], substeps=37, fps=6).config.substeps == 37


def test_unknown_split() -> None:
    with pytest.raises(ComponentError) as caught:
        build(split="validation")
    assert str(caught.value) == "there is no split 'validation'; the splits are train, val, test"


def test_a_video_that_cannot_be_is_told() -> None:
    crowded = {"sizes": [1.3], "min_visible": 0.03, "max_objects": 10}
    with pytest.raises(SlotlabError) as caught:
        build(min_objects=10, events="some", **crowded).batch([9, 0], CPU)
    assert str(caught.value) == (
        "dataset moving_scenes: found no video of 10 objects in which something happens with each on 0.03 of "
        "the first frame and of half of all frames (split 'train', video 2); lower min_objects, min_visible, "
        "sizes or speed"
    )


def test_cautions() -> None:
    def told(**settings: Any) -> list[str]:
        return MovingScenesConfig.model_validate(settings).cautions()

    assert told() == told(variant="obj3d") == told(shapes=["cone"], movers=2) == []
    assert told(variant="textured", textures=["wood"], movers=1) == [
        "the variant 'textured' has no say in textures, movers, which these settings name"
    ]
    assert told(speed=0) == ["speed is 0: nothing moves in these videos"]
    assert told(movers=0) == ["movers is 0: nothing moves in these videos"]
