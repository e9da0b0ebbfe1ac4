"""The law of orientations: no picture lies otherwise on its mask than its user said, unless that is told."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.plugins.datasets.image_folder import ImageFolderConfig, open_folder

STORED = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}
"""How a camera stores an upright picture, by orientation: transpositions."""


def scene(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose red channel is 100 where its mask is 1, in one corner: nothing is symmetric."""
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 3, : size[1] // 4] = 1
    return np.stack([mask * 100, mask * 0, mask * 0], -1), mask


def save(path: Path, pixels: np.ndarray, orientation: int | None, *, turned: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    for step in STORED.get(orientation or 1, []) if turned else []:
        image = image.transpose(Image.Transpose(step))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


def build(root: Path, **settings: Any) -> Any:
    config = ImageFolderConfig.model_validate(
        {"images": str(root / "images"), "masks": str(root / "masks"), **settings}
    )
    return open_folder(config, DatasetContext(split="all", image_size=(8, 8)))


def aligned(sample: Any) -> bool:
    return bool(((sample.image_CHW[0] == 100) == (sample.mask_HW == 1)).all())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(24, 36), (24, 24)], ids=["oblong", "square"])
def test_a_mask_is_never_silently_turned_otherwise_than_its_picture(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    """Masks as stored, upright, and with a tag of their own: read rightly, or refused with EXIF named."""
    image, mask = scene(size)
    ways = {
        "raw": (None, True),  # drawn on the picture as it is stored, without the tag
        "upright": (None, False),
        "tagged": (orientation, True),
    }
    for name, (tag, turned) in ways.items():
        root = tmp_path / name
        save(root / "images/a.png", image, orientation, turned=True)
        stored = Image.fromarray(mask)
        for step in STORED.get(orientation, []) if turned else []:
            stored = stored.transpose(Image.Transpose(step))
        save(root / "masks/a.png", np.array(stored), tag, turned=False)
        right = {"raw": "ignore", "upright": "apply", "tagged": "apply"}[name]
        assert aligned(build(root, exif=right)[0])
        try:
            sample = build(root)[0]
        except DataError as error:
            assert orientation != 1
            assert f"EXIF orientation {orientation} (" in str(error)  # noqa: PT017
            assert f"exif: {right}" in str(error)  # noqa: PT017
            assert name != "tagged"
        else:
            assert aligned(sample)


def test_all_64_pairs_of_tags(tmp_path: Path) -> None:
    image, mask = scene((6, 9))
    told = 0
    for one, other in product(range(1, 9), repeat=2):
        root = tmp_path / f"{one}{other}"
        save(root / "images/a.png", image, one, turned=True)
        save(root / "masks/a.png", mask, other, turned=True)
        assert aligned(build(root, exif="apply")[0])
        try:
            assert aligned(build(root)[0])
        except DataError as error:
            told += 1
            assert one != other
            assert "EXIF orientation" in str(error)  # noqa: PT017
    assert told == sum(
        one != other and ((one > 4) == (other > 4)) for one, other in product(range(1, 9), repeat=2)
    )


def test_a_setting_that_makes_sizes_differ_is_told_with_exif(tmp_path: Path) -> None:
    image, mask = scene((24, 36))
    save(tmp_path / "images/a.png", image, 6, turned=True)
    save(tmp_path / "masks/a.png", mask, None, turned=False)
    assert aligned(build(tmp_path)[0])
    with pytest.raises(DataError) as caught:
        build(tmp_path, exif="ignore")[0]
    assert str(caught.value) == (
        f"{tmp_path}/images/a.png: has the EXIF orientation 6 (turned by a quarter) and 24x36 pixels as stored, "
        f"its mask {tmp_path}/masks/a.png has no EXIF orientation and 36x24: they are of one size only with "
        "exif: apply (each file is turned as its own tag says)"
    )


def test_tags_without_meaning_are_none(tmp_path: Path) -> None:
    image, mask = scene((24, 36))
    for tag in (0, 9, 77):
        save(tmp_path / str(tag) / "images/a.png", image, tag, turned=False)
        save(tmp_path / str(tag) / "masks/a.png", mask, None, turned=False)
        assert aligned(build(tmp_path / str(tag))[0])


def test_the_count_of_objects_needs_no_picture(tmp_path: Path) -> None:
    image, mask = scene((24, 36))
    save(tmp_path / "images/a.png", image, 3, turned=True)
    save(tmp_path / "masks/a.png", mask, None, turned=True)
    assert build(tmp_path).mask(0).sum() == mask.sum()


def test_data_whose_pictures_have_no_orientation_refuses_one() -> None:
    from slotlab.framework.data.formats.exif import refuse_turned

    image = Image.new("RGB", (3, 2))
    refuse_turned(image, "a.png")
    image.getexif()[0x0112] = 6
    with pytest.raises(DataError) as caught:
        refuse_turned(image, "a.png")
    assert str(caught.value) == (
        "a.png: has the EXIF orientation 6 (turned by a quarter), which the pictures of this data do not have; "
        "save it upright, without the tag"
    )
