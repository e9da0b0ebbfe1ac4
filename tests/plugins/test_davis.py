"""Laws of `davis`: sequences are those of the lists, labels are the palette's indices, and 255 is void."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.formats.frame_files import FrameFiles
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.davis import DAVISConfig, open_davis
from slotlab.registry import ComponentError

PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, *range(3, 256), *range(3, 256), *range(3, 256)]


def make(root: Path, size: str = "480p") -> Path:
    for split, names in (("train", ["dogs", "bear"]), ("val", ["camel"])):
        listing = root / "ImageSets" / "2017" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(names) + "\n")
        for name in names:
            for frame in range(3):
                for kind, ending in (("JPEGImages", "jpg"), ("Annotations_unsupervised", "png")):
                    path = root / kind / size / name / f"{frame:05d}.{ending}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image = Image.fromarray(np.uint8([[0, 1, 2, 255]] * 3), "L")
                    if ending == "png":
                        image = image.convert("P")
                        image.putdata([0, 1, 2, 255] * 3)
                        image.putpalette(PALETTE)
                    image.save(path)
    return root


def build(root: Path, split: str = "train", **settings: Any) -> FrameFiles:
    config = DAVISConfig.model_validate({"root": str(root), **settings})
    return open_davis(config, DatasetContext(split=split, image_size=(4, 6)))


def complaint(read: Any) -> str:
    with pytest.raises(ComponentError) as caught:
        read()
    return str(caught.value)


def test_sequences_are_those_of_the_list_in_its_order(tmp_path: Path) -> None:
    dataset = build(make(tmp_path))
    assert dataset.ids == [f"{name}/{frame:05d}" for name in ("dogs", "bear") for frame in range(3)]
    assert build(tmp_path, "val", frames=2).ids == ["camel/00000", "camel/00001"]
    assert dataset[1].image_CHW.shape == (3, 3, 4)
    assert dataset.mask(1).tolist() == [[0, 1, 2, -1]] * 3
    before = dataset.fingerprint()
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("dogs bear  ")
    assert build(tmp_path).fingerprint() != before


def test_recognition(tmp_path: Path) -> None:
    make(tmp_path / "DAVIS")
    for root in (tmp_path, tmp_path / "DAVIS"):
        target = find_target(str(root))
        assert (target.name, target.splits) == ("davis", ("train", "val"))
    make(tmp_path / "DAVIS", "Full-Resolution")
    with pytest.raises(Exception, match=r"holds data of 'davis' for 2 values of resolution"):
        find_target(str(tmp_path))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    make(tmp_path)
    archive = "DAVIS-2017-Unsupervised-trainval-480p.zip"
    masks = tmp_path / "Annotations_unsupervised" / "480p"
    (masks / "bear" / "00002.png").unlink()
    dataset = build(tmp_path)
    line = f"{tmp_path}/JPEGImages/480p/bear/00002.jpg: its mask {masks}/bear/00002.png is missing"
    assert [str(one) for one in dataset.problems] == [line]
    with pytest.raises(DataError) as caught:
        dataset[5]
    assert caught.value.lines() == [line]
    (tmp_path / "JPEGImages/480p/dogs").rename(tmp_path / "dogs")
    dataset = build(tmp_path)
    assert str(dataset.problems[0]) == f"{tmp_path}/JPEGImages/480p/dogs: is missing"
    assert (dataset.listed, list(dataset.places)) == (2, [1, 1, 1])
    masks.rename(tmp_path / "elsewhere")
    assert complaint(lambda: build(tmp_path)) == f"there is no folder {masks}; {archive} has it"
    listing = tmp_path / "ImageSets/2017/train.txt"
    listing.write_text("\n")
    assert complaint(lambda: build(tmp_path)) == f"{listing} lists no sequences; {archive} has it"
    listing.unlink()
    assert complaint(lambda: build(tmp_path)) == f"there is no file {listing}; {archive} has it"
    assert complaint(lambda: build(tmp_path, "test")) == "there is no split 'test'; the splits are train, val"
