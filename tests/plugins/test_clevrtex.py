"""Laws of `clevrtex`: the pixels, splits and complaints that the official tree calls for."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.clevrtex_tree import Files, read_image
from slotlab.framework.contracts import Dataset, DatasetContext, Size
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset, slotlab_datasets
from slotlab.registry import ComponentError, SlotlabError

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
SAMPLE = SHARED / "clevrtex_sample"
REAL = SHARED / "real"
needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no sample of CLEVRTex at {SAMPLE}; set SLOTLAB_SHARED"
)
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no CLEVRTex pictures at {REAL}; set SLOTLAB_SHARED"
)
HINT = "--set data.dataset.root=DIR"


def build(root: Path, split: str = "all", size: Size = (128, 128), **settings: Any) -> CLEVRTexDataset:
    context = DatasetContext(split=split, image_size=size)
    return CLEVRTexDataset(CLEVRTexConfig.model_validate({"root": str(root), **settings}), context)


def complaint(root: Path, split: str = "all", **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(root, split, **settings)
    return str(caught.value), caught.value.field


def write_scene(folder: Path, variant: str, index: int, num_objects: int, visible: int | None = None) -> None:
    """An image of noise with random alpha, a mask of `visible` upright bars, and the JSON."""
    rng = np.random.default_rng(index)
    place = folder / str(index // 1000)
    place.mkdir(parents=True, exist_ok=True)
    stem = f"CLEVRTEX_{variant}_{index:06d}"
    Image.fromarray(rng.integers(0, 256, (240, 320, 4), dtype=np.uint8)).save(place / f"{stem}.png")
    bars = np.zeros((240, 320), np.uint8)
    for number in range(1, (num_objects if visible is None else visible) + 1):
        bars[50:150, 25 * number : 25 * number + 20] = number
    mask = Image.fromarray(bars)
    mask.putpalette([7 * value % 256 for value in range(768)])
    mask.save(place / f"{stem}_flat.png")
    Image.new("L", (320, 240)).save(place / f"{stem}_depth_0001.png")
    objects = [
        {"shape": "cube", "size": "small", "material": f"m{i}", "index": i, "rotation": 1.5, "color": "gray"}
        for i in range(1, num_objects + 1)
    ]
    metadata = {"num_objects": num_objects, "ground_material": "soil", "objects": objects}
    (place / f"{stem}.json").write_text(json.dumps(metadata))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """20 scenes in two folders, with 3 to 10 objects: 3, 4, ..., 10, 3, ..."""
    for position, index in enumerate(range(990, 1010)):
        write_scene(tmp_path / "clevrtex_full", "full", index, 3 + position % 8)
    return tmp_path


def reference(path: Path, crop: int | None, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The official loader's steps, written down again (clevrtex_eval.py, `_reindex` and `__getitem__`)."""
    image = Image.open(path)
    image = Image.merge("RGB", image.split()[:3])
    flat = path.parent / (path.name[: -len(".png")] + "_flat.png")
    mask = Image.open(flat) if flat.exists() else None
    if crop is not None:
        left, top = (320 - crop) // 2, (240 - crop) // 2
        box = (left, top, 320 - left - (320 - crop) % 2, 240 - top - (240 - crop) % 2)
        image = image.crop(box)
        mask = mask.crop(box) if mask else None
    image = image.resize((columns, rows), Image.BILINEAR)
    mask = mask.resize((columns, rows), Image.NEAREST) if mask else None
    return np.array(image), None if mask is None else np.array(mask)


def assert_equals_reference(dataset: CLEVRTexDataset, paths: list[Path], crop: int | None) -> None:
    assert len(dataset) == len(paths)
    for index, path in enumerate(paths):
        sample = dataset[index]
        image, mask = reference(path, crop, *dataset.context.image_size)
        assert sample.id == path.stem
        assert sample.mask_HW is not None
        assert (sample.image_CHW.dtype, sample.mask_HW.dtype) == (torch.uint8, torch.int64)
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), image)
        np.testing.assert_array_equal(sample.mask_HW.numpy(), mask)


@needs_sample
@pytest.mark.parametrize(("crop", "size"), [(192, (128, 128)), (None, (64, 96))])
def test_every_pixel_of_the_sample_is_the_official_loaders(crop: int | None, size: Size) -> None:
    paths = sorted((SAMPLE / "clevrtex_full" / "0").glob("CLEVRTEX_full_??????.png"))
    assert len(paths) == 240
    assert_equals_reference(build(SAMPLE, size=size, crop=crop), paths, crop)


@needs_sample
def test_sample_has_the_splits_its_notes_state() -> None:
    spans = {split: [build(SAMPLE, split)[i].id[-6:] for i in (0, -1)] for split in ("test", "val", "train")}
    assert spans == {"test": ["000000", "000023"], "val": ["000024", "000047"], "train": ["000048", "000239"]}


@needs_sample
def test_metadata_and_whole_masks_agree_on_the_sample() -> None:
    kept = [
        [f.stem for f in build(SAMPLE, max_objects=6, count=count)._scenes]
        for count in ("metadata", "mask_colors")
    ]
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 240


@needs_real
@pytest.mark.parametrize("name", ["1.png", "2.png", "3.png"])
def test_real_pictures_are_read_as_the_official_loader_does(name: str) -> None:
    for crop, size in ((192, (128, 128)), (None, (128, 128)), (191, (31, 57))):
        np.testing.assert_array_equal(
            read_image(Files(REAL / name), crop, size), reference(REAL / name, crop, *size)[0]
        )


@pytest.mark.parametrize("crop", [192, 191, 240, None])
@pytest.mark.parametrize("size", [(128, 128), (48, 80), (192, 192)])
def test_pixels_of_a_written_tree(root: Path, crop: int | None, size: Size) -> None:
    paths = sorted(root.rglob("CLEVRTEX_full_??????.png"), key=lambda path: path.name)
    assert_equals_reference(build(root, crop=crop, size=size), paths, crop)


def test_is_a_dataset_that_knows_its_objects(root: Path) -> None:
    dataset = build(root)
    assert isinstance(dataset, Dataset)
    sample = dataset[1]
    assert sample.id == "CLEVRTEX_full_000991"
    assert sample.attributes["num_objects"] == 4
    assert sample.attributes["ground_material"] == "soil"
    assert [entry["material"] for entry in sample.attributes["objects"]] == ["m1", "m2", "m3", "m4"]
    with pytest.raises(IndexError):
        dataset[20]


def test_splits_are_by_sorted_index(root: Path) -> None:
    ids = {split: [int(s.id[-6:]) for s in build(root, split)] for split in ("test", "val", "train", "all")}
    train, everything = list(range(994, 1010)), list(range(990, 1010))
    assert ids == {"test": [990, 991], "val": [992, 993], "train": train, "all": everything}


def test_every_split_of_outd_is_all_of_it(tmp_path: Path) -> None:
    for index in range(3):
        write_scene(tmp_path / "clevrtex_outd", "outd", index, 3)
    assert {len(build(tmp_path, split, variant="outd")) for split in ("train", "val", "test", "all")} == {3}


def test_root_may_be_the_variants_folder(root: Path) -> None:
    assert build(root / "clevrtex_full")[3].id == build(root)[3].id


def test_filter_keeps_few_objects_after_the_split(root: Path) -> None:
    assert build(root, "train").config.object_limit == 10
    dataset = build(root, "train", max_objects=5)
    assert dataset.config.object_limit == 5
    assert [sample.attributes["num_objects"] for sample in dataset] == [3, 4, 5, 3, 4, 5]


def test_mask_colors_count_the_whole_mask(tmp_path: Path) -> None:
    # Of the two bars the first, columns 25 to 44, is outside the crop, columns 64 to 255.
    write_scene(tmp_path / "clevrtex_full", "full", 0, num_objects=10, visible=2)
    assert len(build(tmp_path, max_objects=2, count="mask_colors")) == 1
    message, _ = complaint(tmp_path, max_objects=1, count="mask_colors")
    assert message == (
        "none of the 1 scenes of split 'all' has at most 1 objects (by mask_colors); they have 2 to 2"
    )


def test_travels_to_another_process(root: Path) -> None:
    dataset = build(root, "val")
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1].image_CHW, dataset[1].image_CHW)


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("clevrtex", 1, [])


def test_missing_root(tmp_path: Path) -> None:
    assert complaint(tmp_path / "data") == (
        f"there is no folder {tmp_path}/data; give the folder that holds clevrtex_full: {HINT}",
        "root",
    )


def test_wrong_variant_names_those_there(root: Path) -> None:
    message, field = complaint(root, variant="camo")
    assert field == "root"
    assert message == (
        f"there is no folder clevrtex_camo in {root} (there is clevrtex_full); "
        f"give the folder that holds clevrtex_camo: {HINT}"
    )


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "clevrtex_full").mkdir()
    assert complaint(tmp_path) == (
        f"no images CLEVRTEX_full_??????.png under {tmp_path}/clevrtex_full; give another folder: {HINT}",
        "root",
    )


def test_all_that_is_missing_or_twice_is_said_at_once(root: Path) -> None:
    full = root / "clevrtex_full"
    write_scene(full / "again", "full", 995, 3)
    for index in (990, 991, 992, 993):
        (full / "0" / f"CLEVRTEX_full_{index:06d}_flat.png").unlink()
    (full / "1" / "CLEVRTEX_full_001002.json").unlink()
    masks = ", ".join(f"{full}/0/CLEVRTEX_full_{index:06d}_flat.png" for index in (990, 991, 992))
    message, field = complaint(root)
    assert field == "root"
    assert message == (
        f"4 of 21 scenes lack their mask: {masks} and 1 more; "
        f"1 of 21 scenes lack their metadata: {full}/1/CLEVRTEX_full_001002.json; "
        "1 indices have more than one image, the first is 995: "
        f"{full}/0/CLEVRTEX_full_000995.png, {full}/again/0/CLEVRTEX_full_000995.png; unpack the archive again"
    )


def test_empty_after_the_filter(root: Path) -> None:
    assert complaint(root, "val", max_objects=3) == (
        "none of the 2 scenes of split 'val' has at most 3 objects (by metadata); they have 5 to 6",
        "max_objects",
    )


def test_too_few_for_the_split(tmp_path: Path) -> None:
    write_scene(tmp_path / "clevrtex_full", "full", 0, 3)
    assert complaint(tmp_path, "test") == (
        f"split 'test' is empty: {tmp_path}/clevrtex_full has too few scenes, 1",
        "root",
    )


def test_unknown_split(root: Path) -> None:
    assert complaint(root, "valid") == (
        "there is no split 'valid'; the splits are train, val, test, all; did you mean 'val'?",
        None,
    )


def test_crop_too_large(root: Path) -> None:
    assert complaint(root, crop=256) == ("256 is too much for pictures of 320x240; at most 240", "crop")


def test_truncated_picture_is_named_when_it_is_read(root: Path) -> None:
    dataset = build(root)
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992.png"
    path.write_bytes(path.read_bytes()[:5000])
    dataset[1]
    with pytest.raises(SlotlabError) as caught:
        dataset[2]
    assert str(caught.value) == f"cannot read {path}: image file is truncated"
    path.write_bytes(b"not a picture")
    with pytest.raises(SlotlabError) as caught:
        dataset[2]
    assert str(caught.value) == f"cannot read {path}: cannot identify image file '{path}'"


def test_colored_mask_is_refused(root: Path) -> None:
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992_flat.png"
    Image.open(path).convert("RGB").save(path)
    with pytest.raises(SlotlabError) as caught:
        build(root)[2]
    assert str(caught.value) == (
        f"cannot read {path}: its values are not object indices but RGB colors; use a palette PNG"
    )


def test_broken_metadata_is_named(root: Path) -> None:
    path = root / "clevrtex_full" / "0" / "CLEVRTEX_full_000992.json"
    for text, reason in (
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{}", "it has no list 'objects'"),
    ):
        path.write_text(text)
        with pytest.raises(SlotlabError) as caught:
            build(root, max_objects=6)
        assert str(caught.value) == f"cannot read {path}: {reason}"
