"""Laws of `coco_panoptic`: labels by an independent reading of the format; complaints in full."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from slotlab.framework.contracts import DataError, Dataset, DatasetContext
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.coco_panoptic import CocoDataset, CocoPanopticConfig, slotlab_datasets
from slotlab.registry import ComponentError

H, W = 6, 8
CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 17, "name": "cat", "isthing": 1},
    {"id": 190, "name": "sky", "isthing": 0},
]
SEGMENTS = [
    {"id": 190, "category_id": 190, "area": 8, "iscrowd": 0},
    {"id": 300, "category_id": 1, "area": 16, "iscrowd": 0},
    {"id": 70000, "category_id": 17, "area": 4, "iscrowd": 0},
    {"id": 5, "category_id": 1, "area": 2, "iscrowd": 1},
]


def segments_of_the_png() -> np.ndarray:
    ids = np.zeros((H, W), np.int64)
    ids[0] = 190
    ids[1:3] = 300
    ids[3:5, :2] = 70000
    ids[5, 5:7] = 5
    return ids


def save_png(path: Path, ids: np.ndarray) -> None:
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colors).save(path)


def write_coco(root: Path, split: str = "val2017", numbers: tuple[int, ...] = (42, 7)) -> dict[str, Any]:
    """A tree as COCO's, and its JSON, which the caller may change and write again with `save`."""
    (root / split).mkdir(parents=True)
    data: dict[str, Any] = {"images": [], "annotations": [], "categories": CATEGORIES}
    for number in numbers:
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(
            root / split / f"{number:03d}.png"
        )
        save_png(root / "annotations" / f"panoptic_{split}" / f"{number:03d}.png", segments_of_the_png())
        name = f"{number:03d}.png"
        data["images"].append({"id": number, "file_name": name, "height": H, "width": W})
        data["annotations"].append({"image_id": number, "file_name": name, "segments_info": SEGMENTS})
    save(root, data, split)
    return data


def save(root: Path, data: Any, split: str = "val2017") -> Path:
    path = root / "annotations" / f"panoptic_{split}.json"
    path.write_text(json.dumps(data))
    return path


def build(root: Path, split: str = "all", **settings: Any) -> CocoDataset:
    given = {"annotations": str(root / "annotations/panoptic_val2017.json"), "images": str(root / "val2017")}
    config = CocoPanopticConfig.model_validate(settings if "splits" in settings else given | settings)
    return CocoDataset(config, DatasetContext(split=split, image_size=(8, 8)))


def complaint(root: Path, **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(root, **settings)
    return str(caught.value), caught.value.field


def test_things_are_objects_and_the_rest_is_background(tmp_path: Path) -> None:
    write_coco(tmp_path)
    dataset = build(tmp_path)
    assert isinstance(dataset, Dataset)
    assert [dataset[index].id for index in range(len(dataset))] == ["007", "042"]
    sample = dataset[0]
    ids = segments_of_the_png()
    expected = np.select([ids == 300, ids == 70000], [1, 2], 0)
    assert sample.mask_HW is not None
    assert sample.mask_HW.dtype == torch.uint8
    np.testing.assert_array_equal(sample.mask_HW.numpy(), expected)
    assert torch.equal(dataset.mask(0), sample.mask_HW)
    with Image.open(tmp_path / "val2017" / "007.png") as picture:
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), np.array(picture))
    assert sample.attributes == {
        "num_objects": 2,
        "objects": [
            {"index": 1, "category": "person", "area": 16, "thing": True},
            {"index": 2, "category": "cat", "area": 4, "thing": True},
        ],
    }
    assert torch.equal(pickle.loads(pickle.dumps(dataset)).mask(1), dataset.mask(1))


def test_stuff_may_be_segments_and_crowds_never_are(tmp_path: Path) -> None:
    write_coco(tmp_path)
    dataset = build(tmp_path, stuff="segments")
    ids = segments_of_the_png()
    expected = np.select([ids == 190, ids == 300, ids == 70000], [1, 2, 3], 0)
    np.testing.assert_array_equal(dataset.mask(0).numpy(), expected)
    assert [(entry["category"], entry["thing"]) for entry in dataset.attributes(0)["objects"]] == [
        ("sky", False),
        ("person", True),
        ("cat", True),
    ]


def test_more_than_255_segments_need_wider_labels(tmp_path: Path) -> None:
    data = write_coco(tmp_path, numbers=(1,))
    ids = np.arange(1, 301).reshape(15, 20)
    save_png(tmp_path / "annotations/panoptic_val2017/001.png", ids)
    Image.new("RGB", (20, 15)).save(tmp_path / "val2017/001.png")
    data["annotations"][0]["segments_info"] = [{"id": int(n), "category_id": 1} for n in ids.flat]
    save(tmp_path, data)
    mask = build(tmp_path).mask(0)
    assert mask.dtype == torch.int32
    np.testing.assert_array_equal(mask.numpy(), ids)


def test_own_splits(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "train2017", (1, 2, 3))
    target = find_target(str(tmp_path))
    config = target.data.dataset.config
    assert isinstance(config, CocoPanopticConfig)
    assert target.splits == ("train", "val")
    sizes = [len(CocoDataset(config, DatasetContext(split=s, image_size=(8, 8)))) for s in target.splits]
    assert sizes == [3, 2]
    with pytest.raises(ComponentError) as caught:
        CocoDataset(config, DatasetContext(split="vla", image_size=(8, 8)))
    assert str(caught.value) == "there is no split 'vla'; the splits are train, val; did you mean 'val'?"


def test_instances_are_drawn_from_the_largest_to_the_smallest(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    data = write_coco(tmp_path, numbers=(1, 2))
    runs = {"size": [H, W], "counts": [0, 2, H * W - 2]}  # down the first column
    data["annotations"] = [
        {"id": 9, "image_id": 1, "category_id": 17, "area": 4, "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]},
        {"id": 8, "image_id": 1, "category_id": 1, "area": 24, "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]]},
        {"id": 7, "image_id": 1, "category_id": 1, "area": 2, "segmentation": runs},
        {"id": 6, "image_id": 1, "category_id": 1, "area": 1, "iscrowd": 1, "segmentation": runs},
    ]
    dataset = build(save(tmp_path, data).parent.parent)
    expected = np.zeros((H, W), int)
    expected[:4, :6] = 1
    expected[1:3, 2:4] = 2
    expected[:2, 0] = 3
    np.testing.assert_array_equal(dataset.mask(0).numpy(), expected)
    assert [entry["category"] for entry in dataset.attributes(0)["objects"]] == ["person", "cat", "person"]
    assert dataset.mask(1).shape == (H, W)
    assert dataset.mask(1).sum() == 0
    assert dataset.attributes(1) == {"num_objects": 0, "objects": []}


def square(top: int, left: int, bottom: int, right: int) -> list[list[int]]:
    """A polygon around rows `top` to `bottom` - 1 and columns `left` to `right` - 1."""
    return [[left, top, right, top, right, bottom, left, bottom]]


@pytest.mark.parametrize("overlaps", ["smallest", "first", "last", "background", "void"])
def test_whose_pixels_are_where_instances_overlap(tmp_path: Path, overlaps: str) -> None:
    """A by hand: each pixel on its own, by the list of the instances that it belongs to."""
    pytest.importorskip("pycocotools")
    data = write_coco(tmp_path, numbers=(1,))
    boxes = [(0, 0, 3, 4), (1, 2, 6, 8), (2, 1, 4, 7)]  # of 12, 30 and 12 pixels: the second is the largest
    areas = [12, 30, 12]
    data["annotations"] = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 1 + 16 * (i == 1),
            "area": areas[i],
            "segmentation": square(*box),
        }
        for i, box in enumerate(boxes)
    ]
    dataset = build(save(tmp_path, data).parent.parent, overlaps=overlaps)
    order = [1, 0, 2] if overlaps == "smallest" else [0, 1, 2]
    expected = np.zeros((H, W), int)
    for y, x in np.ndindex(H, W):
        inside = [
            i for i, (top, left, bottom, right) in enumerate(boxes) if top <= y < bottom and left <= x < right
        ]
        winners = {"smallest": inside and max(inside, key=order.index), "first": inside and inside[0]}
        winners["last"] = inside and inside[-1]
        if len(inside) > 1 and overlaps in ("background", "void"):
            expected[y, x] = -1 if overlaps == "void" else 0
        elif inside:
            expected[y, x] = 1 + order.index(winners.get(overlaps, inside[0]))
    np.testing.assert_array_equal(dataset.mask(0).numpy(), expected)
    names = [entry["category"] for entry in dataset.attributes(0)["objects"]]
    assert names == [["person", "cat", "person"][i] for i in order], (
        "an object's index is its value in the mask"
    )


def test_crowds_that_are_void_lie_beneath_what_overlaps(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    data = write_coco(tmp_path, numbers=(1,))
    data["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": square(0, 0, 3, 3)},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": square(0, 2, 3, 5)},
        {"id": 3, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": square(0, 0, 6, 8)},
    ]
    found = build(save(tmp_path, data).parent.parent, overlaps="background", crowds="void").mask(0)
    assert found[0].tolist() == [1, 1, 0, 2, 2, -1, -1, -1]


def test_all_that_does_not_belong_together_is_said_at_once(tmp_path: Path) -> None:
    data = write_coco(tmp_path, numbers=(1, 2, 3, 4, 5, 6))
    path, pngs = tmp_path / "annotations/panoptic_val2017.json", tmp_path / "annotations/panoptic_val2017"
    (tmp_path / "val2017/001.png").unlink()
    (pngs / "002.png").unlink()
    data["annotations"].pop(2)
    data["annotations"][2]["segments_info"] = [{"id": 300, "category_id": 99}, {"id": 301}]
    data["annotations"].append({"image_id": 77, "file_name": "077.png", "segments_info": []})
    data["annotations"].append({"image_id": 6})
    data["images"].append({"id": 5, "file_name": "other.png"})
    data["images"].append("nonsense")
    save(tmp_path, data)
    dataset = build(tmp_path)
    assert set(map(str, dataset.problems)) == {
        f"{pngs}/002.png: is missing; it belongs to image 2 of {path}",
        f"{path}: annotations[5]: image_id 77 is not in images",
        f"{path}: annotations[6] lacks file_name and segments_info",
        f"{path}: image 3 has 0 annotations; a panoptic image has one",
        f"{path}: image 4: segment 300: category_id 99 is not in categories",
        f"{path}: image 4: segments_info[1] lacks category_id",
        f"{path}: annotations[3]: image_id 5 is not in images",
        f"{path}: images[6]: its id 5 is that of images[4]; neither is used",
        f"{path}: images[7] lacks id and file_name",
        f"{tmp_path}/val2017/001.png: is missing; it is image 1 of {path}",
    }
    assert [dataset[index].id for index in range(len(dataset))] == ["006"]


def test_png_and_json_that_disagree(tmp_path: Path) -> None:
    data = write_coco(tmp_path, numbers=(1,))
    path, png = (
        tmp_path / "annotations/panoptic_val2017.json",
        tmp_path / "annotations/panoptic_val2017/001.png",
    )
    data["annotations"][0]["segments_info"] = [*SEGMENTS[1:], {"id": 12, "category_id": 1}]
    save(tmp_path, data)
    for read in (build(tmp_path).mask, build(tmp_path).__getitem__):
        with pytest.raises(DataError) as caught:
            read(0)
        assert str(caught.value).splitlines() == [
            f"{png}: has segments [190], which are not in segments_info of image 1 in {path}",
            f"{png}: has no pixel of segments [12], which are in segments_info of image 1 in {path}",
        ]


def test_broken_files_are_named_when_they_are_read(tmp_path: Path) -> None:
    write_coco(tmp_path, numbers=(1, 2))
    pngs = tmp_path / "annotations/panoptic_val2017"
    Image.new("P", (W, H)).save(pngs / "001.png")
    (tmp_path / "val2017/002.png").write_bytes(b"no picture")
    dataset = build(tmp_path)
    with pytest.raises(DataError) as caught:
        dataset[0]
    assert str(caught.value) == f"{pngs}/001.png: is P, not RGB, whose colors encode the segments"
    with pytest.raises(DataError) as caught:
        dataset[1]
    assert (
        str(caught.value) == f"{tmp_path}/val2017/002.png: cannot be read: it is no picture of a known kind"
    )


def test_instances_that_cannot_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    data = write_coco(tmp_path, numbers=(1, 2, 3))
    data["annotations"] = [
        {
            "image_id": 1,
            "category_id": 1,
            "segmentation": {"size": [H, W + 1], "counts": [0, 1, H * (W + 1) - 1]},
        },
        {"image_id": 2, "category_id": 1, "segmentation": {"size": [H, W]}},
    ]
    del data["images"][2]["height"]
    save(tmp_path, data)
    dataset = build(tmp_path)
    path = tmp_path / "annotations/panoptic_val2017.json"
    assert list(map(str, dataset.problems)) == [
        f"{path}: image 2: annotations[1]: segmentation lacks counts; run lengths have counts and size",
        f"{path}: image 3 has no height, which masks of instances need",
    ]
    texts = []
    for index in range(1):
        with pytest.raises(DataError) as caught:
            dataset.mask(index)
        texts.append(str(caught.value))
    assert texts == [
        (
            f"{tmp_path}/val2017/001.png: image 1: annotations[0]: segmentation is of {W + 1}x{H} pixels, "
            f"the image of {W}x{H}"
        )
    ]


def test_a_json_that_is_not_there_or_not_cocos(tmp_path: Path) -> None:
    path = tmp_path / "annotations/panoptic_val2017.json"
    assert complaint(tmp_path) == (f"there is no file {path}; give a JSON in COCO's format", "annotations")
    write_coco(tmp_path)
    path.write_text("{")
    reason = "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    assert complaint(tmp_path) == (f"{path} cannot be read as JSON: {reason}", "annotations")
    save(tmp_path, {"images": []})
    text = f"{path} has no list annotations, no list categories; it is not in COCO's format"
    assert complaint(tmp_path) == (text, "annotations")
    files = {"val": {"annotations": str(path), "images": str(tmp_path)}}
    assert complaint(tmp_path, splits=files, split="val") == (text, "splits")
    save(tmp_path, {"images": [], "annotations": [], "categories": []})
    assert complaint(tmp_path) == (f"{path} lists no pictures", "annotations")


def test_one_way_to_say_where_the_files_are() -> None:
    cases = [
        ({}, "give either 'annotations' or, for each split, 'splits'"),
        ({"annotations": "a.json"}, "give 'images' with 'annotations', or inside 'splits'"),
        (
            {"splits": {"val": {"annotations": "a.json", "images": "b"}}, "panoptic": "c"},
            "give the panoptic PNGs of each split inside 'splits'",
        ),
    ]
    for settings, text in cases:
        with pytest.raises(ValidationError) as caught:
            CocoPanopticConfig.model_validate(settings)
        assert [error["msg"] for error in caught.value.errors()] == [text]


def test_fingerprint_follows_every_file(tmp_path: Path) -> None:
    data = write_coco(tmp_path)
    seen = {build(tmp_path).fingerprint()}
    assert build(tmp_path).fingerprint() in seen
    save(tmp_path, {**data, "info": 1})
    seen.add(build(tmp_path).fingerprint())
    for path in (tmp_path / "val2017/007.png", tmp_path / "annotations/panoptic_val2017/042.png"):
        path.write_bytes(path.read_bytes() + b"\0")
        seen.add(build(tmp_path).fingerprint())
    assert len(seen) == 4


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("coco_panoptic", 1, [])
