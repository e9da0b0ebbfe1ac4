"""Every field of COCO's JSON with every kind of wrong value: named with its id, or accepted; never a traceback."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.contracts import VOID, DataError, DatasetContext
from slotlab.framework.data.formats import coco_fields as fields
from slotlab.framework.data.sample_ids import Ids
from slotlab.plugins.datasets.coco_panoptic import CocoDataset, CocoPanopticConfig
from slotlab.registry import ComponentError

pytest.importorskip("pycocotools")

H, W = 12, 16
MISSING = object()
ODD: list[Any] = [
    MISSING,
    None,
    [],
    {},
    "",
    "text",
    "7",
    True,
    -1,
    -7.5,
    0,
    1.5,
    64.0,
    1e300,
    float("nan"),
    float("inf"),
    10**30,
    [1],
    [[1, 2, 3]],
    {"a": 1},
    "x" * 10_000,
    "\0",
    "../" * 50,
]
SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


def instances() -> dict[str, Any]:
    runs = {"size": [H, W], "counts": [0, 5, H * W - 5]}
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "height": H, "width": W} for n in (1, 2, 3)],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "category_id": 5, "bbox": [0, 0, 1, 1], "area": 30.0 - k}
            | {"iscrowd": 0, "segmentation": SQUARE if k else runs}
            for n in (1, 2, 3)
            for k in (0, 1)
        ],
        "categories": [{"id": 5, "name": "cat", "isthing": 1}],
    }


def panoptic() -> dict[str, Any]:
    data = instances()
    data["annotations"] = [
        {
            "image_id": n,
            "file_name": f"{n}.png",
            "segments_info": [{"id": k, "category_id": 5, "area": 3, "iscrowd": 0} for k in (1, 2)],
        }
        for n in (1, 2, 3)
    ]
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("val", "annotations/all"):
        (tmp_path / folder).mkdir(parents=True)
    ids = np.zeros((H, W, 3), np.uint8)
    ids[:4, :, 0], ids[4:8, :, 0] = 1, 2
    for n in (1, 2, 3):
        Image.fromarray(np.full((H, W, 3), 50 * n, np.uint8)).save(tmp_path / f"val/{n}.png")
        Image.fromarray(ids).save(tmp_path / f"annotations/all/{n}.png")
    return tmp_path


def build(root: Path, data: Any, **settings: Any) -> CocoDataset:
    path = root / "annotations/all.json"
    path.write_text(json.dumps(data))
    given = {"annotations": str(path), "images": str(root / "val"), **settings}
    return CocoDataset(
        CocoPanopticConfig.model_validate(given), DatasetContext(split="all", image_size=(8, 8))
    )


def complaints(dataset: CocoDataset) -> Iterator[str]:
    """Read everything; yield all that is wrong, in words."""
    yield from map(str, dataset.problems)
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except DataError as error:
            yield str(error)
        else:
            assert sample.mask_HW is not None
            assert sample.mask_HW.shape == (H, W)
            seen = set(sample.mask_HW.unique().tolist()) - {0, VOID}
            assert seen <= {one["index"] for one in sample.attributes["objects"]}
            assert sample.attributes == dataset.attributes(index)
            assert np.array_equal(sample.mask_HW, dataset.mask(index))
    Ids("the dataset").add(enumerate(dataset.ids))


FIELDS = [
    *(("instances", "images", name) for name in ("id", "file_name", "height", "width")),
    *(
        ("instances", "annotations", name)
        for name in ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
    ),
    *(("instances", "categories", name) for name in ("id", "name", "isthing")),
    *(("panoptic", "images", name) for name in ("id", "file_name", "height", "width")),
    *(("panoptic", "annotations", name) for name in ("image_id", "file_name", "segments_info")),
    *(("panoptic", "segments_info", name) for name in ("id", "category_id", "area", "iscrowd")),
    *(("panoptic", "categories", name) for name in ("id", "name", "isthing")),
]


@pytest.mark.parametrize(("kind", "part", "name"), FIELDS)
def test_odd_values_are_told_with_id_and_field_or_are_accepted(
    root: Path, kind: str, part: str, name: str
) -> None:
    for value in ODD:
        for broken in ("fail", "skip"):
            data = copy.deepcopy(instances() if kind == "instances" else panoptic())
            entry = data["annotations"][0]["segments_info"][0] if part == "segments_info" else data[part][0]
            if value is MISSING:
                entry.pop(name, None)
            else:
                entry[name] = value
            dataset = build(root, data, broken_annotations=broken)
            texts = list(complaints(dataset))
            for text in texts:
                assert len(text) < 700
                assert "\0" not in text
            told = " ".join([*texts, *dataset.cautions])
            if told:
                assert name in told or "is missing" in told or "has no pixel" in told or "segments" in told, (
                    told
                )
                ids = ("image 1", "annotation 10", "[0]", "categor", "segment ", "image_id", "images 1")
                assert any(one in told for one in ids), told
            if broken == "skip" and part == "annotations" and kind == "instances":
                assert len(dataset) == 3, (value, texts)
                assert texts == []


def test_whole_numbers_may_be_written_as_floats_and_ids_as_text(root: Path) -> None:
    expected = build(root, instances())
    data = instances()
    for image in data["images"]:
        image |= {"id": str(image["id"]), "height": float(H), "width": float(W)}
    for annotation in data["annotations"]:
        annotation |= {"category_id": "5", "image_id": float(annotation["image_id"]), "iscrowd": 0.0}
    data["annotations"][0]["segmentation"] = {"size": [float(H), float(W)], "counts": [0.0, 5.0, H * W - 5.0]}
    found = build(root, data)
    assert found.problems == ()
    for index in range(3):
        assert np.array_equal(found.mask(index), expected.mask(index))


@pytest.mark.parametrize("place", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, [], 7, "text", {}])
def test_entries_that_are_no_mappings(root: Path, place: str, entry: Any) -> None:
    for data in (instances(), panoptic()):
        data[place].append(entry)
        dataset = build(root, data)
        assert any(f"{place}[" in text and "lacks" in text for text in complaints(dataset))
        assert len(dataset) == 3


@pytest.mark.parametrize("place", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [None, {}, "text", 3, MISSING])
def test_lists_that_are_none(root: Path, place: str, value: Any) -> None:
    data = instances() | ({} if value is MISSING else {place: value})
    if value is MISSING:
        del data[place]
    with pytest.raises(ComponentError, match=f"has no list {place}"):
        build(root, data)


def test_the_annotation_is_skipped_and_the_picture_stays(root: Path) -> None:
    data = instances()
    data["annotations"][1]["segmentation"] = []
    data["annotations"][2]["segmentation"] = [3, 4, 30, 4, 30, 40]
    data["annotations"][4]["area"] = None
    path = root / "annotations/all.json"
    failed = build(root, data)
    assert len(failed) == 0
    assert [problem.place for problem in failed.problems] == [0, 1, 2]
    assert list(map(str, failed.problems)) == [
        f"{path}: image 1: annotation 11: segmentation is an empty list; it shows no pixel of the object",
        (
            f"{path}: image 2: annotation 20: segmentation holds 3 where a polygon is expected; one polygon is "
            "written [[x, y, x, y, ...]]"
        ),
        f"{path}: image 3: annotation 30: area is null; an area is a number from 0",
    ]
    skipped = build(root, data, broken_annotations="skip")
    assert (len(skipped), skipped.problems) == (3, ())
    assert [skipped.attributes(index)["num_objects"] for index in range(3)] == [1, 1, 1]
    [caution] = skipped.cautions
    assert caution.startswith(
        f"{path}: 3 annotations are left out, as broken_annotations says: image 1: annotation 11"
    )


def test_one_name_for_two_pictures(root: Path) -> None:
    data = instances()
    data["images"][1]["file_name"] = "1.png"
    path = root / "annotations/all.json"
    dataset = build(root, data)
    text = "images 1 and 2 have one file_name, '1.png'"
    assert list(map(str, dataset.problems)) == [f"{path}: {text}", f"{path}: {text}"]
    assert list(dataset.ids) == ["3"]


def test_pictures_of_one_name_in_two_folders_have_ids_of_their_own(root: Path) -> None:
    data = instances()
    for number, name in enumerate(("a/x.png", "b/x.png", "b/y.png")):
        (root / "val" / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (W, H)).save(root / "val" / name)
        data["images"][number]["file_name"] = name
    assert list(build(root, data).ids) == ["a/x", "b/x", "b/y"]


def test_ids_that_are_there_twice(root: Path) -> None:
    data = instances()
    data["images"].append({**data["images"][0]})
    assert build(root, data).problems == ()
    data["images"][-1]["height"] = 3
    [problem, *_] = build(root, data).problems
    assert problem.reason == "images[3]: its id 1 is that of images[0]; neither is used"
    data = instances()
    data["annotations"].append({**data["annotations"][0]})
    [problem] = build(root, data).problems
    assert problem.reason == "image 1: annotation 10: id 10 is there twice"


def test_names_are_found_however_unicode_writes_them(root: Path) -> None:
    data = instances()
    data["images"][0]["file_name"] = "bücher.png"
    Image.new("RGB", (W, H)).save(root / "val" / "bu\u0308cher.png")
    dataset = build(root, data)
    assert dataset.problems == ()
    assert "bücher" in dataset.ids


def test_a_name_that_differs_in_case_is_told(root: Path) -> None:
    (root / "val/1.png").rename(root / "val/1.PNG")
    [problem] = build(root, instances()).problems
    text = f"is missing; it is image 1 of {root}/annotations/all.json; there is 1.PNG, which differs in small and"
    assert problem.reason == f"{text} capital letters"


# --- crowds and what nobody labeled --------------------------------------------------------


def test_crowds_may_be_void(root: Path) -> None:
    data = instances()
    everything = {"size": [H, W], "counts": [0, H * W]}
    data["annotations"][0] |= {"iscrowd": 1, "segmentation": everything}
    plain, void, objects = (build(root, data, crowds=one) for one in ("background", "void", "objects"))
    inside = np.zeros((H, W), bool)
    inside[2:8, 2:8] = True
    assert np.array_equal(plain.mask(0), inside)
    assert np.array_equal(void.mask(0), np.where(inside, 1, VOID))
    assert np.array_equal(objects.mask(0).numpy() > 0, np.ones((H, W)))
    assert [one.attributes(0)["num_objects"] for one in (plain, void, objects)] == [1, 1, 2]


def test_crowds_and_unlabeled_pixels_of_panoptic_pngs_may_be_void(root: Path) -> None:
    data = panoptic()
    data["annotations"][0]["segments_info"][0]["iscrowd"] = 1
    mask = build(root, data, crowds="void", unlabeled="void").mask(0).numpy()
    assert (mask[:4] == VOID).all()
    assert (mask[4:8] == 1).all()
    assert (mask[8:] == VOID).all()
    assert build(root, data).mask(0).unique().tolist() == [0, 1]


# --- run lengths ---------------------------------------------------------------------------


@settings(max_examples=80)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_packed_run_lengths_are_read_as_pycocotools_does(rows: int, columns: int, seed: int) -> None:
    from pycocotools import mask as runs

    rng = np.random.default_rng(seed)
    pixels = (rng.random((rows, columns)) < rng.random()).astype(np.uint8)
    packed = runs.encode(np.asfortranarray(pixels))
    segmentation = {"size": [rows, columns], "counts": packed["counts"].decode()}
    np.testing.assert_array_equal(fields.draw(segmentation, (rows, columns)), pixels.astype(bool))


@settings(max_examples=200)
@given(st.text(max_size=30) | st.lists(st.integers() | st.floats() | st.none(), max_size=9))
def test_run_lengths_of_any_text_and_numbers_end_in_words(counts: Any) -> None:
    try:
        found = fields.draw({"size": [3, 4], "counts": counts}, (3, 4))
    except ValueError as error:
        assert len(str(error)) < 300  # noqa: PT017
    else:
        assert found.shape == (3, 4)


@settings(max_examples=200)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3), st.lists))
def test_segmentations_of_any_shape_end_in_words(segmentation: Any) -> None:
    try:
        found = fields.draw(segmentation, (3, 4))
    except ValueError as error:
        assert len(str(error)) < 300  # noqa: PT017
    else:
        assert found.shape == (3, 4)
