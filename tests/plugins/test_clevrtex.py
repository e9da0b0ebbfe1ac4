"""Laws of `clevrtex`: the scenes as they are on disk, by index, and complaints that name the file."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import DataError, Dataset, DatasetContext
from slotlab.framework.scenes.clevrtex_writer import write_scene
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset, slotlab_datasets
from slotlab.registry import ComponentError

HINT = "--set data.dataset.root=DIR"
CONTEXT = DatasetContext(split="all", image_size=(128, 128))


def build(root: Path, size: tuple[int, int] = (32, 24), **settings: Any) -> CLEVRTexDataset:
    config = CLEVRTexConfig.model_validate({"root": str(root), "picture_size": size, **settings})
    return CLEVRTexDataset(config, CONTEXT)


def complaint(root: Path, **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(root, **settings)
    return str(caught.value), caught.value.field


def error(dataset: CLEVRTexDataset, index: int) -> str:
    with pytest.raises(DataError) as caught:
        dataset[index]
    return str(caught.value)


def make(root: Path, index: int, variant: str = "full", count: int = 3) -> Path:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mask = rng.integers(0, count + 1, (24, 32))
    objects = [{"shape": "cube", "size": "small", "material": f"m{i}", "rotation": 1.5} for i in range(count)]
    return write_scene(
        root, variant, index, image, mask, image[..., 0] / 9, {"objects": objects, "ground_material": "soil"}
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 scenes in two folders, with 3 to 10 objects: 3, 4, ..., 10, 3, ..."""
    for position, index in enumerate(range(990, 1010)):
        make(tmp_path, index, count=3 + position % 8)
    return tmp_path


def test_gives_all_scenes_by_index_as_they_are(root: Path) -> None:
    dataset = build(root)
    assert isinstance(dataset, Dataset)
    assert [int(sample.id[-6:]) for sample in dataset] == list(range(990, 1010))
    paths = sorted(root.rglob("CLEVRTEX_full_??????.png"), key=lambda path: path.name)
    for index, path in enumerate(paths):
        sample = dataset[index]
        assert sample.mask_HW is not None
        assert (sample.path, sample.image_CHW.dtype, sample.mask_HW.dtype) == (
            str(path),
            torch.uint8,
            torch.uint8,
        )
        with Image.open(path) as image, Image.open(str(path)[:-4] + "_flat.png") as mask:
            np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), np.array(image)[..., :3])
            np.testing.assert_array_equal(sample.mask_HW.numpy(), np.array(mask))
    with pytest.raises(IndexError):
        dataset[20]


def test_parts_equal_those_of_the_sample(root: Path) -> None:
    dataset = build(root)
    for index, sample in enumerate(dataset):
        assert sample.mask_HW is not None
        assert torch.equal(dataset.mask(index), sample.mask_HW)
        assert dataset.attributes(index) == sample.attributes


def test_parts_need_no_other_file(root: Path) -> None:
    dataset = build(root)
    for path in root.rglob("CLEVRTEX_full_??????.png"):
        path.write_bytes(b"")
    assert dataset.attributes(1)["num_objects"] == 4
    assert dataset.mask(1).shape == (24, 32)
    for path in root.rglob("*.json"):
        path.write_bytes(b"")
    assert dataset.mask(1).shape == (24, 32)


def test_attributes_are_the_jsons_with_errata_corrected(root: Path) -> None:
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000990.json"
    wrong, right = "PoliigonFabricUpholsteryBrightAnglePattern001", "FabricUpholsteryMidCenturyPebbles001"
    entry = {"shape": "cube", "material": wrong, "3d_coords": [1, 2, 3]}
    path.write_text(json.dumps({"objects": [entry, {"index": 2}], "ground_material": wrong}))
    assert build(root).attributes(0) == {
        "objects": [{"index": 1, "shape": "cube", "material": right, "3d_coords": [1, 2, 3]}, {"index": 2}],
        "num_objects": 2,
        "ground_material": right,
    }


def test_root_may_be_the_variants_folder_or_a_link_to_it(root: Path, tmp_path: Path) -> None:
    expected = build(root)[3].id
    assert build(root / "clevrtex_full")[3].id == expected
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "clevrtex_full").symlink_to(root / "clevrtex_full")
    (root / "clevrtex_full" / "loop").symlink_to(root / "clevrtex_full")
    assert len(build(tmp_path / "linked")) == 20


def test_other_variants_and_files_are_passed_over(root: Path) -> None:
    make(root, 7, "camo")
    (root / "clevrtex_camo" / "0").rename(root / "clevrtex_full" / "2")
    (root / "clevrtex_full" / "0" / "notes.txt").write_text("")
    assert (len(build(root)), build(root).problems) == (20, [])


def test_only_outd_is_one_set(tmp_path: Path) -> None:
    configs = [
        CLEVRTexConfig(root=tmp_path, variant=variant)
        for variant in ("full", "outd", "camo", "pbg", "vbg", "grassbg")
    ]
    assert [config.unsplit for config in configs] == [False, True, False, False, False, False]
    assert {config.object_limit for config in configs} == {10}


def test_fingerprint_changes_with_the_files_that_are_read(root: Path) -> None:
    found = [build(root).fingerprint()]
    assert build(root / "clevrtex_full").fingerprint() == found[0]
    (root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992_depth_0001.png").unlink()
    assert build(root).fingerprint() == found[0]
    for ending in (".png", "_flat.png", ".json"):
        os.utime(root / "clevrtex_full" / "0" / f"CLEVRTEX_full_000992{ending}", (1, 1))
        found.append(build(root).fingerprint())
    make(root, 5)
    found.append(build(root).fingerprint())
    assert len(set(found)) == 5


def test_travels_to_another_process(root: Path) -> None:
    dataset = build(root)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1].image_CHW, dataset[1].image_CHW)


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("clevrtex", 2, [])


def test_missing_root(tmp_path: Path) -> None:
    assert complaint(tmp_path / "data") == (
        f"there is no folder {tmp_path}/data; give the folder that holds clevrtex_full or its archives: {HINT}",
        "root",
    )


def test_wrong_variant_names_those_there(root: Path) -> None:
    assert complaint(root, variant="camo") == (
        (
            f"there is no folder clevrtex_camo in {root}, nor its archives (there is clevrtex_full); "
            f"give the folder that holds clevrtex_camo: {HINT}"
        ),
        "root",
    )


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "clevrtex_full").mkdir()
    assert complaint(tmp_path) == (
        f"no images CLEVRTEX_full_??????.png under {tmp_path}/clevrtex_full; give another folder: {HINT}",
        "root",
    )


def test_all_that_is_missing_or_twice_is_told_and_left_out(root: Path) -> None:
    full = root / "clevrtex_full"
    make(root / "again", 995)
    (root / "again" / "clevrtex_full").rename(full / "again")
    for name in ("0/CLEVRTEX_full_000990_flat.png", "1/CLEVRTEX_full_001002.json"):
        (full / name).unlink()
    for ending in (".png", "_flat.png"):
        (full / "0" / f"CLEVRTEX_full_000991{ending}").unlink()
    dataset = build(root)
    assert [int(sample.id[-6:]) for sample in dataset] == sorted(
        set(range(990, 1010)) - {990, 991, 995, 1002}
    )
    assert [str(problem) for problem in dataset.problems] == [
        f"{full}/0/CLEVRTEX_full_000990.png: CLEVRTEX_full_000990_flat.png is missing",
        f"{full}/0/CLEVRTEX_full_000991.json: CLEVRTEX_full_000991.png and CLEVRTEX_full_000991_flat.png are missing",
        (
            f"{full}/0/CLEVRTEX_full_000995.png: there are two files with one index: "
            f"the other is {full}/again/0/CLEVRTEX_full_000995.png"
        ),
        f"{full}/1/CLEVRTEX_full_001002.png: CLEVRTEX_full_001002.json is missing",
    ]


def test_parts_of_the_published_data_are_told(root: Path) -> None:
    end = "and they, and results, are not those of the whole"
    assert build(root).cautions == (
        (
            "clevrtex_full: 20 scenes are here, 50,000 were published; missing: 0 to 989, 1010 to 49999; "
            f"splits are parts of scenes 990 to 1009, {end}"
        ),
    )
    for index in (0, 1, 3, 5, 7):
        make(root, index, "outd")
    assert build(root, variant="outd").cautions == (
        (
            "clevrtex_outd: 5 scenes are here, 10,000 were published; missing: 2, 4, 6 and 1 more gaps; "
            f"splits are parts of scenes 0 to 7, {end}"
        ),
    )


def test_numbers_that_are_not_sure_are_said_to_be(tmp_path: Path) -> None:
    make(tmp_path, 0, "pbg")
    assert build(tmp_path, variant="pbg").cautions == (
        (
            "clevrtex_pbg: 1 scenes are here, 20,000 were published, as far as is known; missing: 1 to 19999; "
            "splits are parts of scenes 0 to 0, and they, and results, are not those of the whole"
        ),
    )


def test_the_whole_is_told_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "clevrtex_outd" / "0"
    folder.mkdir(parents=True)
    for index in range(10_000):
        for ending in (".png", "_flat.png", ".json"):
            os.close(os.open(folder / f"CLEVRTEX_outd_{index:06d}{ending}", os.O_CREAT))
    dataset = build(tmp_path, variant="outd")
    assert (len(dataset), dataset.cautions, dataset.problems) == (10_000, (), [])


def test_broken_pictures_are_named_when_they_are_read(root: Path) -> None:
    dataset = build(root)
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992.png"
    path.write_bytes(path.read_bytes()[:1000])
    dataset[1]
    assert error(dataset, 2) == f"{path}: cannot be read: image file is truncated"
    path.write_bytes(b"not a picture")
    assert error(dataset, 2) == f"{path}: cannot be read: it is no picture of a known kind"
    path.unlink()
    assert error(dataset, 2) == f"{path}: cannot be read: No such file or directory"


def test_masks_of_colors_are_refused(root: Path) -> None:
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992_flat.png"
    Image.open(path).convert("RGB").save(path)
    assert error(build(root), 2) == (
        f"{path}: its values are not object indices but RGB colors; use a palette PNG"
    )


@pytest.mark.parametrize("ending", [".png", "_flat.png"])
def test_another_size_is_refused(root: Path, ending: str) -> None:
    path = root / "clevrtex_full" / "0" / f"CLEVRTEX_full_000992{ending}"
    Image.open(path).crop((0, 0, 30, 20)).save(path)
    assert error(build(root), 2) == f"{path}: it has 30x20 pixels, not 32x24 as picture_size says"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            b"{",
            "cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (b"{}", "it has no list 'objects' with a mapping for each object"),
        (b"[]", "it has no list 'objects' with a mapping for each object"),
        (b'{"objects": [3]}', "it has no list 'objects' with a mapping for each object"),
        (
            b'{"objects": "\xff"}',
            "cannot be read as JSON: 'utf-8' codec can't decode byte 0xff in position 13: invalid start byte",
        ),
    ],
)
def test_broken_metadata_is_named(root: Path, content: bytes, reason: str) -> None:
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992.json"
    path.write_bytes(content)
    assert error(build(root), 2) == f"{path}: {reason}"
