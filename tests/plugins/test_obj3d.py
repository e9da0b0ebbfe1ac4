"""Laws of `obj3d`: which frames are read, and what is told of missing ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.contracts import DatasetContext
from slotlab.framework.data.formats.frame_files import FrameFiles
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.obj3d import OBJ3DConfig, open_obj3d
from slotlab.registry import ComponentError


def build(root: Path, split: str = "train", **settings: Any) -> FrameFiles:
    config = OBJ3DConfig.model_validate({"root": str(root), **settings})
    return open_obj3d(config, DatasetContext(split=split, image_size=(4, 6)))


def obj3d(root: Path, frames: int = 8, start: int = 0) -> Path:
    for split in ("train", "val", "test"):
        for frame in range(start, start + frames):
            path = root / split / "3" / f"test_{frame}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 6, 3), frame, np.uint8)).save(path)
    return root


def test_obj3d_reads_fifty_frames_from_the_second_file(tmp_path: Path) -> None:
    obj3d(tmp_path, 100)
    config = OBJ3DConfig.model_validate({"root": str(tmp_path)})
    assert (config.first, config.frames, config.splits) == (1, 50, ("train", "val", "test"))
    assert build(tmp_path).ids == [f"3/test_{frame}" for frame in range(1, 51)]
    assert build(tmp_path, first=None).ids == [f"3/test_{frame}" for frame in range(50)]
    assert len(build(tmp_path, first=None, frames=None)) == 100
    assert build(tmp_path)[3].mask_HW is None
    assert build(tmp_path).cautions == []


def test_obj3d_tells_what_is_missing(tmp_path: Path) -> None:
    obj3d(tmp_path / "OBJ3D", 8, start=2)
    dataset = build(tmp_path, frames=20)
    text = f"{tmp_path}/OBJ3D/train/3/test_1.png: is missing, though later frames of the video 3 are there"
    assert [str(one) for one in dataset.problems] == [text]
    assert dataset.cautions == [
        "videos with fewer than 20 frames: 1, such as 3 with 9; they are read as they are"
    ]
    with pytest.raises(ComponentError) as caught:
        build(tmp_path / "nowhere")
    assert (str(caught.value), caught.value.field) == (
        f"there is no folder {tmp_path}/nowhere/train with folders of frames; root is the folder above it",
        "root",
    )
    target = find_target(str(tmp_path))
    assert (target.name, target.splits) == ("obj3d", ("train", "val", "test"))
