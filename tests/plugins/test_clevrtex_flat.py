"""Laws of `clevrtex_flat`: numbered pictures with RGB masks, in which a color is an object's index."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.contracts import DataError, Dataset, DatasetContext
from slotlab.plugins.datasets.clevrtex_flat import (
    CLEVRTexFlatConfig,
    CLEVRTexFlatDataset,
    object_indices,
    slotlab_datasets,
)
from slotlab.registry import ComponentError

COLORS = np.array(
    [
        (0, 0, 0),
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
        (255, 255, 0),
        (141, 211, 199),
        (255, 255, 179),
        (190, 186, 218),
        (251, 128, 114),
        (128, 177, 211),
        (253, 180, 98),
    ],
    np.uint8,
)


def build(root: Path, split: str = "train", **settings: Any) -> CLEVRTexFlatDataset:
    config = CLEVRTexFlatConfig.model_validate({"root": str(root), **settings})
    return CLEVRTexFlatDataset(config, DatasetContext(split=split, image_size=(8, 8)))


def complaint(root: Path, split: str = "train", **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(root, split, **settings)
    return str(caught.value), caught.value.field


def indices_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 11, (24, 32))


def make(folder: Path, number: int, image: str = "{}.png", mask: str = "{}.png") -> None:
    """A picture of noise and its mask, under `folder`/images and `folder`/masks."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number + 999).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "images" / image.format(number))
    Image.fromarray(COLORS[indices_of(number)]).save(folder / "masks" / mask.format(number))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Training pictures 0 to 11 (0, 1, ..., 10, 11 by name in another order), two for validation."""
    for number in range(12):
        make(tmp_path / "train", number)
    for number in (5, 3):
        make(tmp_path / "val", number, "img_{:05d}.png", "mask{}_rgb.PNG")
    return tmp_path


def test_gives_each_split_by_number(root: Path) -> None:
    train, val = build(root), build(root, "val")
    assert isinstance(train, Dataset)
    assert [sample.id for sample in train] == [f"clevrtex_train_{number:06d}" for number in range(12)]
    assert [sample.id for sample in val] == ["clevrtex_val_000003", "clevrtex_val_000005"]
    assert (train.problems, val.problems) == ([], [])
    sample = val[1]
    assert sample.path == f"{root}/val/images/img_00005.png"
    with Image.open(sample.path) as image:
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), np.array(image))
    assert sample.mask_HW is not None
    assert (sample.image_CHW.dtype, sample.mask_HW.dtype) == (torch.uint8, torch.uint8)
    np.testing.assert_array_equal(sample.mask_HW.numpy(), indices_of(5))
    assert torch.equal(val.mask(1), sample.mask_HW)


@given(st.integers(0, 2**32 - 1), st.sets(st.integers(0, 10), min_size=1))
def test_the_partition_is_that_of_distinct_colors(seed: int, present: set[int]) -> None:
    """The reference's rule: labels are the inverse of `np.unique` on rows of RGB values."""
    indices = np.random.default_rng(seed).choice(sorted(present), (12, 16))
    mask = COLORS[indices]
    found = object_indices(mask, "x")
    np.testing.assert_array_equal(found, indices)
    _, first, rows = np.unique(mask.reshape(-1, 3), axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(found.ravel()[first][rows.ravel()], found.ravel())  # one label a color
    assert len(np.unique(found)) == len(first)  # and one color a label


def test_palette_masks_are_read_by_their_colors(root: Path) -> None:
    path = root / "train" / "masks" / "0.png"
    before = build(root).mask(0)
    Image.open(path).quantize(16).save(path)
    assert torch.equal(build(root).mask(0), before)


def test_an_unknown_color_is_named_with_the_right_one(root: Path) -> None:
    path = root / "train" / "masks" / "0.png"
    mask = np.zeros((24, 32, 3), np.uint8)
    mask[3, 5:9] = (254, 3, 0)
    Image.fromarray(mask).save(path)
    with pytest.raises(DataError) as caught:
        build(root)[0]
    assert str(caught.value) == (
        f"{path}: color (254, 3, 0) in row 3, column 5 (4 pixels are like that) is none of CLEVRTex's masks; "
        "the nearest is (255, 0, 0), object 1; masks must be kept without loss, resized by nearest if at all"
    )


def test_all_that_does_not_match_is_told_at_once(root: Path) -> None:
    train = root / "train"
    (train / "masks" / "3.png").unlink()
    (train / "images" / "4.png").unlink()
    (train / "images" / "x05.png").write_bytes(b"")
    (train / "masks" / "last.png").write_bytes(b"")
    (train / "masks" / ".7.png").write_bytes(b"")
    (train / "masks" / "7.txt").write_bytes(b"")
    dataset = build(root)
    assert [int(sample.id[-6:]) for sample in dataset] == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert [str(problem) for problem in dataset.problems] == [
        f"{train}/images/3.png: there is no mask of number 3 in {train}/masks",
        f"{train}/images/x05.png: it has the number 5, as {train}/images/5.png has",
        f"{train}/masks/4.png: there is no picture of number 4 in {train}/images",
        f"{train}/masks/last.png: its name has no number, by which pictures and masks are matched",
    ]


def test_broken_files_are_named(root: Path) -> None:
    for kind in ("masks", "images"):
        path = root / "train" / kind / "1.png"
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(DataError) as caught:
            build(root)[1]
        assert str(caught.value) == f"{path}: cannot be read: image file is truncated"


def test_fingerprint_changes_with_pictures_and_masks(root: Path) -> None:
    found = {build(root).fingerprint(), build(root, "val").fingerprint()}
    for folder in ("images", "masks"):
        (root / "train" / folder / "2.png").touch()
        found.add(build(root).fingerprint())
    assert len(found) == 4


def test_travels_to_another_process(root: Path) -> None:
    dataset = build(root)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1].image_CHW, dataset[1].image_CHW)


def test_folders_are_settings(root: Path) -> None:
    (root / "train").rename(root / "other")
    dataset = build(root, train_images="other/images", train_masks=str(root / "other" / "masks"))
    assert len(dataset) == 12


def test_missing_folders(root: Path) -> None:
    assert complaint(root, "val", val_masks="val/m") == (
        (
            f"there is no folder {root}/val/m; name it by --set data.dataset.val_masks=FOLDER, "
            "or the one above it by data.dataset.root"
        ),
        "val_masks",
    )
    assert complaint(root / "no") == (
        (
            f"there is no folder {root}/no/train/images; name it by --set data.dataset.train_images=FOLDER, "
            "or the one above it by data.dataset.root"
        ),
        "root",
    )
    assert complaint(root, train_images=".") == (f"no numbered PNGs in {root}", "train_images")


def test_unknown_split(root: Path) -> None:
    assert complaint(root, "vall") == (
        "there is no split 'vall'; the splits are train, val; did you mean 'val'?",
        None,
    )


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.complaints()) == ("clevrtex_flat", [])
    config = CLEVRTexFlatConfig(root=Path("/x"))
    assert (config.splits, config.object_limit) == (("train", "val"), 10)
