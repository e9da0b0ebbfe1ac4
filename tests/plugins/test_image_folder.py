"""Laws of `image_folder`: one's own pictures in natural order, with masks of the same names."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from slotlab.framework.contracts import DataError, Dataset, DatasetContext
from slotlab.framework.data.formats.pairing import ENDINGS
from slotlab.plugins.datasets.image_folder import (
    ImageFolderConfig,
    ImageFolderDataset,
    open_folder,
    slotlab_datasets,
)
from slotlab.registry import ComponentError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
MASK = np.random.default_rng(1).integers(0, 5, (24, 32), dtype=np.uint8)


def build(split: str = "all", **settings: Any) -> Any:
    data = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    return open_folder(ImageFolderConfig.model_validate(data), DatasetContext(split=split, image_size=(8, 8)))


def complaint(split: str = "all", **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(split, **settings)
    return str(caught.value), caught.value.field


def save(path: Path, pixels: np.ndarray = NOISE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def ids(dataset: ImageFolderDataset) -> list[str]:
    return [dataset[i].id for i in range(len(dataset))]


def test_pictures_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.jpg", "img1.bmp", ".hidden.png", "b/img3.png", "b/.x/img4.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    dataset = build(images=tmp_path)
    assert isinstance(dataset, Dataset)
    assert ids(dataset) == ["img1", "img2", "img10"]
    assert ids(build(images=tmp_path, recursive=True)) == ["b/img3", "img1", "img2", "img10"]
    sample = dataset[0]
    assert (sample.path, sample.mask_HW, sample.image_CHW.dtype) == (
        f"{tmp_path}/img1.bmp",
        None,
        torch.uint8,
    )
    np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), NOISE)
    assert not hasattr(dataset, "mask")
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize("ending", sorted(ENDINGS))
def test_every_kind_of_picture_is_read(tmp_path: Path, ending: str) -> None:
    pixels = NOISE[..., 0] if ending == ".pgm" else NOISE
    save(tmp_path / f"a{ending.upper()}", pixels)
    [sample] = build(images=tmp_path)
    assert sample.image_CHW.shape == (3, 24, 32)
    if ending not in (".jpg", ".jpeg", ".webp", ".gif"):  # the kinds that lose nothing
        expected = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), expected)


def test_pictures_and_masks_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    save(tmp_path / "images" / "a.png", np.rot90(NOISE).copy(), exif=exif)
    save(tmp_path / "masks" / "a.png", MASK)
    [sample] = build(images=tmp_path / "images", masks=tmp_path / "masks")
    np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), NOISE)
    np.testing.assert_array_equal(sample.mask_HW.numpy(), MASK)


def test_masks_of_every_kind(tmp_path: Path) -> None:
    colors = np.array([[0, 0, 0], [0, 0, 9], [0, 7, 0], [1, 0, 0], [1, 1, 1]], np.uint8)
    palette = Image.fromarray(MASK)
    palette.putpalette([9, 8, 7] * 5)
    (tmp_path / "masks").mkdir()
    palette.save(tmp_path / "masks" / "palette.png")
    expected = {"palette": MASK, "gray": MASK, "gray16": MASK * np.uint16(1000), "rgb": MASK}
    for name in expected:
        save(tmp_path / "images" / f"{name}.jpg")
    save(tmp_path / "masks" / "gray.png", MASK)
    save(tmp_path / "masks" / "gray16.png", MASK * np.uint16(1000))
    save(tmp_path / "masks" / "rgb.PNG", colors[MASK])
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks")
    assert (len(dataset), dataset.problems) == (4, [])
    for index in range(4):
        sample = dataset[index]
        np.testing.assert_array_equal(sample.mask_HW.numpy(), expected[sample.id])
        assert not sample.mask_HW.dtype.is_floating_point
        assert torch.equal(dataset.mask(index), sample.mask_HW)


def test_masks_match_by_folder_and_name(tmp_path: Path) -> None:
    for number, name in enumerate(("a/1", "b/1")):
        save(tmp_path / "images" / f"{name}.jpg")
        save(tmp_path / "masks" / f"{name}.png", np.full((24, 32), number, np.uint8))
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks", recursive=True)
    assert [(sample.id, int(sample.mask_HW.max())) for sample in dataset] == [("a/1", 0), ("b/1", 1)]


def test_splits_may_have_folders_of_their_own(tmp_path: Path) -> None:
    save(tmp_path / "t" / "1.png")
    save(tmp_path / "v" / "2.png")
    save(tmp_path / "m" / "2.png", MASK)
    splits = {
        "train": {"images": str(tmp_path / "t")},
        "val": {"images": str(tmp_path / "v"), "masks": str(tmp_path / "m")},
    }
    config = ImageFolderConfig.model_validate({"splits": splits})
    assert list(config.splits or ()) == ["train", "val"]
    assert ids(build("train", splits=splits)) == ["1"]
    [sample] = build("val", splits=splits)
    np.testing.assert_array_equal(sample.mask_HW.numpy(), MASK)
    assert complaint("vall", splits=splits) == (
        "there is no split 'vall'; the splits are train, val; did you mean 'val'?",
        None,
    )


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("good.png", "twice.png", "twice.jpg", "bare.png", "lossy.png", "mtwice.png"):
        save(images / name)
    for name in ("good.png", "twice.png", "orphan.png", "lossy.jpg", "mtwice.png", "mtwice.bmp"):
        save(masks / name, MASK)
    dataset = build(images=images, masks=masks)
    assert ids(dataset) == ["good"]
    assert [str(problem) for problem in dataset.problems] == [
        f"{images}/bare.png: its mask {masks}/bare.png is missing",
        f"{images}/twice.png: it has the name of {images}/twice.jpg but for the ending; which is meant?",
        f"{masks}/lossy.jpg: a mask must be a PNG: other kinds may change its labels",
        f"{masks}/mtwice.png: it has the name of {masks}/mtwice.bmp but for the ending; which is meant?",
        f"{masks}/orphan.png: there is no picture orphan in {images}",
    ]


def test_broken_files_are_named_when_they_are_read(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "images" / "a.png"), save(tmp_path / "masks" / "a.png", MASK)
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks")
    for path in (mask, image):
        path.write_bytes(path.read_bytes()[:70])
        with pytest.raises(DataError) as caught:
            dataset[0]
        assert str(caught.value) == f"{path}: cannot be read: image file is truncated"


def test_fingerprint_changes_with_every_file(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        for name in ("a", "b"):
            save(tmp_path / folder / f"{name}.png", MASK)
    settings = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    found = {build(**settings).fingerprint(), build(images=tmp_path / "images").fingerprint()}
    for folder in ("images", "masks"):
        (tmp_path / folder / "b.png").touch()
        found.add(build(**settings).fingerprint())
    (tmp_path / "masks" / "a.png").unlink()
    found.add(build(**settings).fingerprint())
    assert len(found) == 5


def test_travels_to_another_process(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    dataset = build(images=tmp_path)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0].image_CHW, dataset[0].image_CHW)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    save(tmp_path / "images" / "deep" / "a.png")
    (tmp_path / "masks").mkdir()
    endings = ", ".join(sorted(ENDINGS))
    assert complaint(images=tmp_path / "no") == (
        f"there is no folder {tmp_path}/no; give one with pictures in it",
        "images",
    )
    assert complaint(images=tmp_path / "images") == (
        f"no pictures ({endings}) in {tmp_path}/images; 'recursive: true' looks into the folders inside it too",
        "images",
    )
    assert complaint(images=tmp_path / "images", masks=tmp_path / "masks", recursive=True) == (
        f"no pictures ({endings}) in {tmp_path}/masks",
        "masks",
    )
    splits = {"train": {"images": str(tmp_path / "no")}}
    assert complaint("train", splits=splits)[1] == "splits"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "give either 'images' or, with folders for each split, 'splits'"),
        (
            {"images": "x", "splits": {"train": {"images": "x"}}},
            "give either 'images' or, with folders for each split, 'splits'",
        ),
        ({"splits": {}}, "give either 'images' or, with folders for each split, 'splits'"),
        (
            {"splits": {"train": {"images": "x"}}, "masks": "y"},
            "give the masks of each split inside 'splits'",
        ),
    ],
)
def test_folders_are_given_in_one_way(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ImageFolderConfig.model_validate(settings)
    assert [problem["msg"] for problem in caught.value.errors()] == [text]


# --- names ---------------------------------------------------------------------------------


def test_names_match_however_unicode_writes_them(tmp_path: Path) -> None:
    composed, apart = "b\u00fccher_\u00e9", "bu\u0308cher_e\u0301"
    save(tmp_path / "images" / f"{composed}.png")
    save(tmp_path / "masks" / f"{apart}.png", MASK)
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks")
    assert (dataset.problems, ids(dataset)) == ([], [composed])
    save(tmp_path / "images" / f"{apart}.png")
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks")
    assert ids(dataset) == []
    [problem] = dataset.problems
    assert "differ only in how Unicode writes one of their letters" in problem.reason


def test_names_that_differ_in_case_are_told(tmp_path: Path) -> None:
    save(tmp_path / "images" / "IMG_1.JPG")
    save(tmp_path / "masks" / "img_1.png", MASK)
    dataset = build(images=tmp_path / "images", masks=tmp_path / "masks")
    reasons = [problem.reason for problem in dataset.problems]
    end = "which differs in small and capital letters: rename one"
    assert reasons == [
        f"its mask {tmp_path}/masks/IMG_1.png is missing; there is img_1, {end}",
        f"there is no picture img_1 in {tmp_path}/images; there is IMG_1, {end}",
    ]


@pytest.mark.parametrize("suffix", ["_mask", "-seg", ".label", "_gt", " mask"])
def test_masks_beside_their_pictures(tmp_path: Path, suffix: str) -> None:
    for number in range(3):
        save(tmp_path / f"{number:03d}.jpg")
        save(tmp_path / f"{number:03d}{suffix}.png", MASK)
    plain = build(images=tmp_path)
    assert len(plain) == 6
    assert plain.cautions == (
        (
            f"3 of the 6 pictures are named as another one and '{suffix}': if they are masks, write "
            f"mask_suffix: {suffix}; now they are read as pictures"
        ),
    )
    dataset = build(images=tmp_path, mask_suffix=suffix)
    assert (ids(dataset), dataset.problems, dataset.cautions) == (["000", "001", "002"], [], ())
    np.testing.assert_array_equal(dataset[0].mask_HW.numpy(), MASK)


def test_pictures_and_masks_that_both_have_a_suffix(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}_rgb.png")
        save(tmp_path / f"{number}_seg.png", MASK)
    assert build(images=tmp_path).cautions == (
        (
            "half of the 6 pictures end in '_rgb', the others in '_seg': if these are masks, write image_suffix: _rgb "
            "and mask_suffix: _seg; now they are read as pictures"
        ),
    )
    dataset = build(images=tmp_path, image_suffix="_rgb", mask_suffix="_seg")
    assert (ids(dataset), dataset.problems) == (["0", "1", "2"], [])
    assert dataset[2].mask_HW is not None


def test_masks_with_a_suffix_in_a_folder_of_their_own(tmp_path: Path) -> None:
    save(tmp_path / "images" / "1.png")
    save(tmp_path / "masks" / "1_mask.png", MASK)
    folders = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    dataset = build(**folders)
    [missing, orphan] = dataset.problems
    assert missing.reason == (
        f"its mask {tmp_path}/masks/1.png is missing; there is 1_mask: if that is it, write mask_suffix: _mask"
    )
    assert orphan.reason == f"there is no picture 1_mask in {tmp_path}/images"
    assert ids(build(**folders, mask_suffix="_mask")) == ["1"]
    assert complaint(**folders, mask_suffix="_seg") == (
        f"no mask in {tmp_path}/masks ends in '_seg', as mask_suffix says; the first is called '1_mask'",
        "mask_suffix",
    )
    assert complaint(images=tmp_path / "images", image_suffix="_rgb") == (
        f"no picture in {tmp_path}/images ends in '_rgb', as image_suffix says; the first is called '1'",
        "image_suffix",
    )


def test_pictures_that_are_no_pairs_are_not_taken_for_masks(tmp_path: Path) -> None:
    for name in ("1", "2", "10", "12", "img", "img2", "a_1", "a_10", "cat", "dog"):
        save(tmp_path / f"{name}.png")
    assert build(images=tmp_path).cautions == ()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"void": 255, "background": "#ffffff"}, "background and void are both 255; a pixel is one of them"),
        (
            {"void": None},
            "write a label, such as 255, a color, such as '#ffffff', or none; a color needs quotes",
        ),
        ({"background": True}, "expected a number, got true"),
        ({"mask_suffix": "_a", "image_suffix": "_a"}, "pictures and masks cannot end in the same suffix"),
    ],
)
def test_settings_of_masks_that_cannot_be(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ImageFolderConfig.model_validate({"images": "x", **settings})
    assert any(problem["msg"].startswith(text) for problem in caught.value.errors())


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.complaints()) == ("image_folder", [])
