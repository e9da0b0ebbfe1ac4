"""Laws of writing CLEVRTex's tree: what is written is what is read, and unfinished scenes show."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.contracts import DatasetContext
from slotlab.framework.scenes.clevrtex_writer import depth_steps, write_scene
from slotlab.plugins.datasets.clevrtex import CLEVRTexConfig, CLEVRTexDataset

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
MASK = RNG.integers(0, 11, (24, 32))
DEPTH = RNG.random((24, 32)) * 20
OBJECTS = [{"shape": "cube", "size": 0.9, "material": f"m{i}", "rotation": 30.5} for i in range(10)]
METADATA = {"objects": OBJECTS, "ground_material": "soil", "note": "kept"}


def build(root: Path, variant: str = "full") -> CLEVRTexDataset:
    config = CLEVRTexConfig.model_validate({"root": str(root), "variant": variant, "picture_size": (32, 24)})
    return CLEVRTexDataset(config, DatasetContext(split="all", image_size=(8, 8)))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = write_scene(tmp_path, "camo", 12345, IMAGE, MASK, DEPTH, METADATA)
    assert path == tmp_path / "clevrtex_camo" / "12" / "CLEVRTEX_camo_012345.png"
    [sample] = build(tmp_path, "camo")
    assert (sample.id, sample.path) == ("CLEVRTEX_camo_012345", str(path))
    np.testing.assert_array_equal(sample.image_CHW.numpy(), IMAGE.transpose(2, 0, 1))
    assert sample.mask_HW is not None
    np.testing.assert_array_equal(sample.mask_HW.numpy(), MASK)
    objects = [{"index": i, **entry} for i, entry in enumerate(OBJECTS, start=1)]
    assert sample.attributes == {"objects": objects, "num_objects": 10, "ground_material": "soil"}


def test_files_are_of_the_official_kinds(tmp_path: Path) -> None:
    path = write_scene(tmp_path, "full", 0, IMAGE, MASK, DEPTH, METADATA)
    stem = str(path.with_suffix(""))
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        assert image.getextrema()[3] == (255, 255)
    with Image.open(f"{stem}_flat.png") as mask:
        assert mask.mode == "P"
        colors = [tuple(mask.convert("RGB").getpixel((x, y))) for y in range(24) for x in range(32)]
    for index, color in ((0, (0, 0, 0)), (1, (255, 0, 0)), (2, (0, 128, 0)), (10, (253, 180, 98))):
        assert {colors[i] for i in np.flatnonzero(index == MASK)} == {color}
    with Image.open(f"{stem}_depth_0001.png") as depth:
        assert depth.mode == "I;16"
        np.testing.assert_allclose(np.array(depth) / 1000, DEPTH, atol=0.0005001)
    facts = json.loads(Path(f"{stem}.json").read_text())
    del facts["objects"]
    assert facts == {
        "num_objects": 10,
        "split": "full",
        "image_index": 0,
        "image_filename": "CLEVRTEX_full_000000.png",
        "mask_filename": "CLEVRTEX_full_000000_flat.png",
        "depth_filename": "CLEVRTEX_full_000000_depth_0001.png",
        "ground_material": "soil",
        "note": "kept",
    }


def test_without_depth_there_is_no_file_of_it(tmp_path: Path) -> None:
    path = write_scene(tmp_path, "full", 0, IMAGE, MASK, None, METADATA)
    names = sorted(file.name[len(path.stem) :] for file in path.parent.iterdir())
    assert names == [".json", ".png", "_flat.png"]
    assert "depth_filename" not in json.loads(path.with_suffix(".json").read_text())


def test_far_and_unknown_depth_is_the_greatest_step() -> None:
    depth = np.array([[0.0, 1.0004, 65.534, 65.6, np.inf, np.nan, -1.0]], np.float32)
    assert depth_steps(depth).tolist() == [[0, 1000, 65534, 65535, 65535, 65535, 0]]


def test_a_scene_without_json_is_unfinished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path, "full", 0, IMAGE, MASK, None, METADATA)

    def full_disk(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("slotlab.framework.scenes.clevrtex_writer.json.dumps", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_scene(tmp_path, "full", 1, IMAGE, MASK, None, METADATA)
    dataset = build(tmp_path)
    assert len(dataset) == 1
    assert [str(problem) for problem in dataset.problems] == [
        f"{tmp_path}/clevrtex_full/0/CLEVRTEX_full_000001.png: CLEVRTEX_full_000001.json is missing"
    ]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"variant": "Full_2"}, "a variant is named by lower-case letters, not 'Full_2'"),
        ({"index": 10**6}, "a scene's number is from 0 to 999999, not 1000000"),
        (
            {"image_HW3": IMAGE[..., :2]},
            "an image is uint8 of shape (H, W, 3), not uint8 of (24, 32, 2)",
        ),
        ({"mask_HW": MASK.T}, "the mask has shape (32, 24), the image (24, 32)"),
        ({"depth_HW": DEPTH[1:]}, "the depth has shape (23, 32), the image (24, 32)"),
        ({"mask_HW": MASK + 1}, "a mask's values are 0 to 10, the objects' indices, not 1 to 11"),
        ({"metadata": {"objects": [{"index": 2}]}}, "objects are listed by their index, from 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    arguments: dict[str, Any] = {
        "root": tmp_path,
        "variant": "full",
        "index": 0,
        "image_HW3": IMAGE,
        "mask_HW": MASK,
        "depth_HW": DEPTH,
        "metadata": METADATA,
    }
    with pytest.raises(ValueError) as caught:
        write_scene(**(arguments | changes))
    assert str(caught.value) == text
    assert list(tmp_path.iterdir()) == []
