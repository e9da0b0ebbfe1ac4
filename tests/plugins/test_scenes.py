"""Laws of `scenes`: same scene for same seed, split and index; truth that fits the picture."""

import multiprocessing
import pickle
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from slotlab.framework.contracts import Dataset, DatasetContext, Sample
from slotlab.framework.scenes.colors import difference, draw_ground, draw_object
from slotlab.framework.scenes.geometry import EXTENTS, Shape, dot, intersect, normals, turn
from slotlab.framework.scenes.scene import draw_camera
from slotlab.framework.scenes.textures import FAMILIES
from slotlab.plugins.datasets.scenes import ScenesConfig, ScenesDataset, slotlab_datasets
from slotlab.registry import ComponentError, SlotlabError

SHAPES = get_args(Shape)


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


# --- determinism -------------------------------------------------------------------------


def test_same_scene_in_any_order_and_process() -> None:
    first, second = build(), build()
    forward = [first[i] for i in range(6)]
    backward = [second[i] for i in reversed(range(6))][::-1]
    assert all(map(equal, forward, backward))
    assert all(equal(first[i], forward[i]) for i in range(6))
    copy = pickle.loads(pickle.dumps(first))
    assert all(equal(copy[i], forward[i]) for i in range(6))


@pytest.mark.slow
def test_same_scene_in_a_spawned_worker() -> None:
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
    mask_HW = dataset[0].mask_HW
    assert mask_HW is not None
    dataset[0].image_CHW.zero_()
    mask_HW.zero_()
    assert torch.equal(dataset[0].image_CHW, before)
    assert equal(dataset[0], build()[0])


def test_other_counts_leave_the_scenes_as_they_are() -> None:
    assert equal(build(num_train=5)[4], build(num_train=500)[4])


# --- truth -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (24, 40), (40, 24), (96, 16)])
def test_masks_fit_the_metadata(size: tuple[int, int]) -> None:
    dataset = build(size=size, min_objects=2, max_objects=7, min_visible=0.01)
    for index in range(12):
        sample = dataset[index]
        assert sample.mask_HW is not None
        assert (sample.image_CHW.dtype, sample.image_CHW.shape) == (torch.uint8, (3, *size))
        assert (sample.mask_HW.dtype, sample.mask_HW.shape) == (torch.int64, size)
        values, pixels = sample.mask_HW.unique(return_counts=True)
        count = sample.attributes["num_objects"]
        assert 2 <= count <= 7
        assert values.tolist() == list(range(count + 1))
        assert pixels.min() >= 0.01 * min(size) ** 2
        assert [entry["index"] for entry in sample.attributes["objects"]] == list(range(1, count + 1))


def test_all_counts_shapes_and_patterns_come_up() -> None:
    dataset = build(min_objects=2, max_objects=4)
    samples = [dataset[index] for index in range(60)]
    entries = [entry for sample in samples for entry in sample.attributes["objects"]]
    assert {sample.attributes["num_objects"] for sample in samples} == {2, 3, 4}
    assert {entry["shape"] for entry in entries} == set(SHAPES)
    assert {entry["material"] for entry in entries} == set(FAMILIES)
    assert {sample.attributes["ground_material"] for sample in samples} == set(FAMILIES)
    assert all(0.4 <= entry["size"] <= 0.9 for entry in entries)


def test_settings_restrict_what_comes_up() -> None:
    dataset = build(
        shapes=["cone"], textures=["plain"], ground_textures=["wood"], size_range=[0.5, 0.5], max_objects=3
    )
    for index in range(5):
        attributes = dataset[index].attributes
        assert attributes["ground_material"] == "wood"
        assert [(e["shape"], e["material"], e["size"]) for e in attributes["objects"]] == [
            ("cone", "plain", 0.5)
        ] * 3


def test_ten_objects_find_room() -> None:
    dataset = build(size=(64, 64), min_objects=10, max_objects=10)
    assert [dataset[index].attributes["num_objects"] for index in range(5)] == [10] * 5


def test_pictures_use_the_range_and_have_no_black_sky() -> None:
    dataset = build(size=(64, 64))
    images = torch.stack([dataset[index].image_CHW for index in range(30)]).float()
    assert 90 < images.mean() < 170
    assert images.max() == 255
    assert images[:, :, 0].amax(dim=(1, 2)).min() > 20


@pytest.mark.parametrize("size", [(64, 64), (16, 160), (160, 16), (240, 320)])
def test_every_ray_goes_down_to_the_ground(size: tuple[int, int]) -> None:
    for seed in range(20):
        rays_3N = draw_camera(np.random.default_rng(seed), size).rays(size, 1)
        assert rays_3N[2].max() < -0.05


def test_objects_are_told_from_a_plain_ground() -> None:
    clear = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        ground = draw_ground(rng)[0]
        clear.append(difference(draw_object(rng, [ground])[0], ground))
    assert min(clear) > 0.25
    assert np.mean(np.array(clear) >= 0.38) > 0.97


@pytest.mark.parametrize("size", [(48, 48), (32, 80), (80, 32)])
def test_an_object_is_seen_where_its_center_projects(size: tuple[int, int]) -> None:
    dataset = build(size=size, min_objects=1, max_objects=1)
    for index in range(10):
        picture = dataset._draw(index)
        [body] = picture.scene.bodies
        u, v, depth = picture.scene.camera.project(body.center)
        row, column = (size[0] - v * min(size)) / 2, (size[1] + u * min(size)) / 2
        assert depth > 4
        assert picture.mask_HW[min(int(row), size[0] - 1), min(int(column), size[1] - 1)] == 1
        vectors_3N = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
        world_3N = body.size * turn(body.to_local(vectors_3N), body.yaw)
        np.testing.assert_allclose(world_3N, vectors_3N, atol=1e-5)


def test_interface() -> None:
    dataset = build("val", max_objects=5, num_val=7)
    assert isinstance(dataset, Dataset)
    assert (len(dataset), dataset.config.object_limit) == (7, 5)
    assert equal(dataset[-1], dataset[6])
    with pytest.raises(IndexError):
        dataset[7]
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("scenes", 1, [])


# --- geometry ----------------------------------------------------------------------------


def level(shape: Shape, points_3N: np.ndarray) -> np.ndarray:
    """Below 1 inside the solid, 1 on it: written from its definition, not from the rays' formulas."""
    x, y, z = points_3N
    radius = np.hypot(x, y)
    if shape == "sphere":
        return np.sqrt(radius**2 + z**2)
    if shape == "cube":
        return np.abs(points_3N).max(axis=0) / EXTENTS["cube"].half_height
    if shape == "cylinder":
        return np.maximum(radius / EXTENTS["cylinder"].footprint, np.abs(z))
    return np.maximum(2 * radius / EXTENTS["cone"].footprint + z, -z)


@pytest.mark.parametrize("shape", SHAPES)
def test_rays_meet_each_solid_where_marching_does(shape: Shape) -> None:
    rng = np.random.default_rng(0)
    origin_3N = rng.normal(size=(3, 600))
    origin_3N *= 4 / np.linalg.norm(origin_3N, axis=0)
    direction_3N = rng.uniform(-0.9, 0.9, size=(3, 600)) - origin_3N
    direction_3N /= np.linalg.norm(direction_3N, axis=0)
    hit_N = intersect(shape, origin_3N.astype(np.float32), direction_3N.astype(np.float32))
    steps = np.linspace(2, 6, 2001)
    inside_SN = np.stack([level(shape, origin_3N + step * direction_3N) < 1 for step in steps])
    marched_N = np.where(inside_SN.any(axis=0), steps[inside_SN.argmax(axis=0)], np.inf)
    both_N = np.isfinite(hit_N) & np.isfinite(marched_N)
    assert both_N.sum() > 200
    np.testing.assert_allclose(hit_N[both_N], marched_N[both_N], atol=0.004)
    # Marching may step over a grazed edge; it never finds what the formula misses.
    assert not (np.isinf(hit_N) & np.isfinite(marched_N)).any()
    assert (np.isfinite(hit_N) & np.isinf(marched_N)).sum() <= 6

    points_3N = (origin_3N + np.where(both_N, hit_N, 0) * direction_3N)[:, both_N].astype(np.float32)
    normals_3N = normals(shape, points_3N)
    np.testing.assert_allclose(np.linalg.norm(normals_3N, axis=0), 1, atol=1e-4)
    assert (dot(normals_3N, direction_3N[:, both_N].astype(np.float32)) < 0.02).all()
    assert (level(shape, points_3N + 0.01 * normals_3N) > 1).all()
    assert np.linalg.norm(points_3N, axis=0).max() <= EXTENTS[shape].bound * 1.001


# --- complaints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message", "field"),
    [
        ({"min_objects": 7}, "6 is less than min_objects, which is 7", "max_objects"),
        ({"size_range": [0.9, 0.4]}, "the least size comes first, but 0.9 is more than 0.4", "size_range"),
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
    "settings", [{"max_objects": 11}, {"shapes": []}, {"textures": ["fur"]}, {"num_train": 0}]
)
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ScenesConfig.model_validate(settings)


def test_objects_too_many_to_show_are_left_out_down_to_the_least() -> None:
    crowded = {"size_range": [1.2, 1.4], "min_visible": 0.03, "max_objects": 10}
    counts = [build(min_objects=1, **crowded)[index].attributes["num_objects"] for index in range(4)]
    assert max(counts) < 10
    with pytest.raises(SlotlabError) as caught:
        build(min_objects=10, **crowded)[0]
    assert str(caught.value) == (
        "dataset scenes: found no scene of 10 objects with each on 0.03 of the picture "
        "(split 'train', index 0); lower min_objects, min_visible or size_range"
    )
