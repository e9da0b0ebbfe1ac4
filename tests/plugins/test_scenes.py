"""Laws of `scenes`: same picture for same seed, split and index; truth that fits the picture."""

import json
import multiprocessing
import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from slotlab.framework.contracts import BatchedDataset, Dataset, DatasetContext, RawBatch, Sample
from slotlab.framework.scenes import kept_pictures
from slotlab.framework.scenes.kept_pictures import KeptPictures
from slotlab.framework.scenes.material_families import FAMILIES
from slotlab.framework.scenes.recipe import HELD_OUT, ORDINARY, PATTERNED
from slotlab.plugins.datasets.scenes import ScenesConfig, ScenesDataset, slotlab_datasets
from slotlab.registry import ComponentError, SlotlabError

CPU = torch.device("cpu")


def build(
    split: str = "train", size: tuple[int, int] = (32, 32), seed: int = 0, **settings: Any
) -> ScenesDataset:
    context = DatasetContext(split=split, image_size=size, seed=seed)
    return ScenesDataset(ScenesConfig.model_validate(settings), context)


def equal(a: Sample, b: Sample) -> bool:
    assert a.mask_HW is not None
    assert b.mask_HW is not None
    same = torch.equal(a.image_CHW, b.image_CHW) and torch.equal(a.mask_HW, b.mask_HW)
    return same and a.attributes == b.attributes


def same_row(batch: RawBatch, row: int, sample: Sample) -> bool:
    assert batch.masks_BHW is not None
    assert sample.mask_HW is not None
    image = torch.equal(batch.images_BCHW[row], sample.image_CHW)
    facts = batch.ids[row] == sample.id and batch.attributes[row] == sample.attributes
    return image and facts and torch.equal(batch.masks_BHW[row].long(), sample.mask_HW)


# --- determinism -------------------------------------------------------------------------


def test_same_picture_in_any_batch_order_and_copy() -> None:
    first, second = build(), build()
    alone = [first[index] for index in range(12)]
    batch = second.batch(list(reversed(range(12))), CPU)
    assert all(same_row(batch, 11 - index, alone[index]) for index in range(12))
    assert same_row(build().batch([7, 7, 3], CPU), 1, alone[7])
    copy = pickle.loads(pickle.dumps(first))
    assert all(equal(copy[index], alone[index]) for index in (0, 5))


def test_same_picture_whatever_the_threads() -> None:
    # Pictures of 96 pixels a side are large enough that torch divides the work.
    one = build(size=(96, 96), variant="full").batch(range(3), CPU)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        two = build(size=(96, 96), variant="full").batch(range(3), CPU)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.images_BCHW, two.images_BCHW)
    assert torch.equal(one.masks_BHW, two.masks_BHW)  # type: ignore[arg-type]


@pytest.mark.slow
def test_same_picture_in_a_spawned_worker() -> None:
    dataset = build()
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=None,
        sampler=[3, 1],
        num_workers=1,
        multiprocessing_context=multiprocessing.get_context("spawn"),
    )
    assert all(map(equal, loader, [dataset[3], dataset[1]]))


def test_seeds_splits_and_indices_differ() -> None:
    samples = [build()[0], build()[1], build(seed=1)[0], build("val")[0], build("test")[0]]
    images = {sample.image_CHW.numpy().tobytes() for sample in samples}
    assert len(images) == len(samples)
    assert [sample.id for sample in samples[2:]] == [
        "scenes_train_000000",
        "scenes_val_000000",
        "scenes_test_000000",
    ]


def test_a_caller_cannot_spoil_the_stored_picture() -> None:
    dataset = build()
    before = dataset[0].image_CHW.clone()
    dataset[0].image_CHW.zero_()
    dataset.batch([0], CPU).images_BCHW.zero_()
    mask_HW = dataset[0].mask_HW
    assert mask_HW is not None
    mask_HW.zero_()
    assert torch.equal(dataset[0].image_CHW, before)
    assert equal(dataset[0], build()[0])


def test_other_counts_leave_the_scenes_as_they_are() -> None:
    assert equal(build(num_train=5)[4], build(num_train=500)[4])
    assert equal(build(endless=True)[4], build()[4])


# --- truth -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (24, 40), (40, 24), (96, 16)])
def test_masks_fit_the_metadata(size: tuple[int, int]) -> None:
    dataset = build(size=size, min_objects=2, max_objects=7, min_visible=0.005)
    batch = dataset.batch(range(12), CPU)
    assert batch.masks_BHW is not None
    assert (batch.images_BCHW.dtype, batch.images_BCHW.shape) == (torch.uint8, (12, 3, *size))
    assert (batch.masks_BHW.dtype, batch.masks_BHW.shape) == (torch.uint8, (12, *size))
    for mask_HW, attributes in zip(batch.masks_BHW, batch.attributes, strict=True):
        values, pixels = mask_HW.unique(return_counts=True)
        count = attributes["num_objects"]
        assert 2 <= count <= 7
        assert values.tolist() == list(range(count + 1))
        assert pixels.min() >= 0.005 * size[0] * size[1]
        assert [entry["index"] for entry in attributes["objects"]] == list(range(1, count + 1))


def test_metadata_says_where_and_what() -> None:
    dataset = build(size=(64, 64), min_objects=1, max_objects=1, shapes=["sphere"])
    for index in range(10):
        sample = dataset[index]
        assert sample.mask_HW is not None
        [entry] = sample.attributes["objects"]
        column, row, depth = entry["pixel_coords"]
        assert sample.mask_HW[int(row), int(column)] == 1
        assert 5 < depth < 18
        assert entry["3d_coords"][2] == pytest.approx(entry["size"], abs=1e-3)
        assert 0 <= entry["rotation"] < 360
        assert all(0 <= value <= 255 for value in entry["color"])
        # A ball of radius r at depth d covers a disc of r / d, in units of the view's tangent.
        radius = (sample.mask_HW.sum() / torch.pi) ** 0.5
        assert radius == pytest.approx(32 * entry["size"] / depth / 0.274, rel=0.12)
        assert json.loads(json.dumps(sample.attributes)) == sample.attributes


def test_all_counts_shapes_sizes_and_textures_come_up_alike_often() -> None:
    batch = build().batch(range(400), CPU)
    counts = torch.tensor([facts["num_objects"] for facts in batch.attributes]).bincount(minlength=11)
    assert counts[:3].tolist() == [0, 0, 0]
    assert (counts[3:] > 25).all()
    assert (counts[3:] < 80).all()
    entries = [entry for facts in batch.attributes for entry in facts["objects"]]
    assert {entry["shape"] for entry in entries} == {"cube", "sphere", "cylinder", "blob"}
    assert {entry["size"] for entry in entries} == {0.4, 0.6, 0.9}
    assert {entry["material"] for entry in entries} == set(PATTERNED)
    assert {facts["ground_material"] for facts in batch.attributes} == set(PATTERNED)


def test_settings_restrict_what_comes_up() -> None:
    settings = {"shapes": ["cone"], "textures": ["plain"], "ground_textures": ["wood"], "sizes": [0.5]}
    for facts in build(max_objects=3, **settings).batch(range(5), CPU).attributes:
        assert facts["ground_material"] == "wood"
        found = [(entry["shape"], entry["material"], entry["size"]) for entry in facts["objects"]]
        assert found == [("cone", "plain", 0.5)] * 3


def test_ten_objects_find_room() -> None:
    batch = build(size=(64, 64), min_objects=10).batch(range(6), CPU)
    assert [facts["num_objects"] for facts in batch.attributes] == [10] * 6


# --- variants ----------------------------------------------------------------------------


def materials(variant: str) -> tuple[set[str], set[str], set[str]]:
    facts = build(variant=variant).batch(range(40), CPU).attributes
    entries = [entry for fact in facts for entry in fact["objects"]]
    return (
        {entry["material"] for entry in entries},
        {fact["ground_material"] for fact in facts},
        {entry["shape"] for entry in entries},
    )


def test_outd_has_nothing_of_full() -> None:
    assert not set(HELD_OUT) & set(ORDINARY)
    assert len(ORDINARY) >= 12
    assert len(HELD_OUT) >= 4
    assert set(FAMILIES) == {*ORDINARY, *HELD_OUT, "grass"}
    on_objects, on_ground, shapes = materials("outd")
    assert on_objects | on_ground == set(HELD_OUT)
    assert shapes == {"cone", "icosahedron", "torus", "capsule"}


def test_plain_grounds_plain_objects_and_grass() -> None:
    assert materials("pbg")[1] == {"plain"}
    assert materials("pbg")[0] == set(PATTERNED)
    assert materials("vbg")[0] == {"plain"}
    assert materials("vbg")[1] == set(PATTERNED)
    assert materials("grassbg")[1] == {"grass"}


def test_camo_has_one_texture_and_one_color() -> None:
    for facts in build(variant="camo").batch(range(20), CPU).attributes:
        assert {entry["material"] for entry in facts["objects"]} == {facts["ground_material"]}
        assert len({tuple(entry["color"]) for entry in facts["objects"]}) == 1


# --- as a dataset ------------------------------------------------------------------------


def test_interface() -> None:
    dataset = build("val", max_objects=5, num_val=7)
    assert isinstance(dataset, Dataset)
    assert isinstance(dataset, BatchedDataset)
    assert (len(dataset), dataset.config.object_limit) == (7, 5)
    assert equal(dataset[-1], dataset[6])
    assert dataset.batch([0], CPU, masks=False).masks_BHW is None
    for index in (7, -8):
        with pytest.raises(IndexError):
            dataset[index]
        with pytest.raises(IndexError):
            dataset.batch([0, index], CPU)
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("scenes", 2, [])
    assert ScenesConfig.rendered
    assert ScenesConfig.splits == ("train", "val", "test")


def test_endless_epochs() -> None:
    dataset = build(num_train=4, endless=True)
    assert (len(dataset), dataset.endless) == (4, True)
    later = dataset.batch([4, 5, 403], CPU)
    assert later.ids == ("scenes_train_000004", "scenes_train_000005", "scenes_train_000403")
    assert same_row(later, 2, build(num_train=500)[403])
    assert not dataset._pictures._kept["cpu"]
    with pytest.raises(IndexError):
        dataset[-5]
    validation = build("val", num_val=4, endless=True)
    assert not validation.endless
    with pytest.raises(IndexError):
        validation[4]


def test_pictures_are_kept_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kept_pictures.MEMORY, "cpu", 4 * 32 * 32 * 5 + 1)
    dataset = build()
    first = dataset.batch(range(4), CPU)
    second = dataset.batch(range(8), CPU)
    assert sorted(dataset._pictures._kept["cpu"]) == [0, 1, 2, 3, 4]
    assert torch.equal(first.images_BCHW, second.images_BCHW[:4])
    assert same_row(dataset.batch([7], CPU), 0, build()[7])


def test_kept_pictures_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build()
    before = dataset[2]
    asked: list[Any] = []
    original = KeptPictures._make

    def make(self: KeptPictures, numbers: Any, device: torch.device) -> Any:
        asked.append(list(numbers))
        return original(self, numbers, device)

    monkeypatch.setattr(KeptPictures, "_make", make)
    assert same_row(dataset.batch([5, 2, 3, 5], CPU), 1, before)
    dataset.batch([2, 3, 5], CPU)
    assert asked == [[5, 3]]
    assert pickle.loads(pickle.dumps(dataset))._pictures._kept == {}


# --- complaints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message", "field"),
    [
        (
            {"min_objects": 7, "max_objects": 6},
            "6 is less than min_objects, which is 7",
            "max_objects",
        ),
        ({"min_visible": 0.4}, "3 objects cannot each show on 0.4 of the picture", "min_visible"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        build(**settings)
    (detail,) = caught.value.errors()
    assert (detail["msg"], detail["loc"]) == (f"Value error, {message}", (field,))


def test_unknown_split() -> None:
    with pytest.raises(ComponentError) as caught:
        build(split="validation")
    assert str(caught.value) == "there is no split 'validation'; the splits are train, val, test"


@pytest.mark.parametrize(
    "settings",
    [
        {"max_objects": 11},
        {"shapes": []},
        {"textures": ["fur"]},
        {"num_train": 0},
        {"sizes": []},
        {"sizes": [0.0]},
        {"sizes": [1.6]},
        {"variant": "clevr"},
        {"size_range": [0.4, 0.9]},
    ],
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScenesConfig.model_validate(settings)


def test_objects_too_many_to_show_are_left_out_down_to_the_least() -> None:
    crowded = {"sizes": [1.3], "min_visible": 0.03}
    counts = [
        facts["num_objects"] for facts in build(min_objects=1, **crowded).batch(range(8), CPU).attributes
    ]
    assert max(counts) < 10
    with pytest.raises(SlotlabError) as caught:
        build(min_objects=10, **crowded).batch([3, 0], CPU)
    assert str(caught.value) == (
        "dataset scenes: found no scene of 10 objects with each on 0.03 of the picture "
        "(split 'train', index 3); lower min_objects, min_visible or sizes"
    )
