"""Laws of `youtube_vis`: which videos are which split, what masks hold, and what is told of entries that are wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.youtube_vis import YouTubeVISConfig, YouTubeVISDataset
from slotlab.registry import ComponentError

SIZE = (2, 3)


def runs(mask: Any) -> dict[str, Any]:
    """Run lengths down the columns, first of zeros."""
    flat = np.uint8(mask).T.ravel()
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), len(flat)]
    counts = np.diff(ends).tolist()
    return {"size": list(SIZE), "counts": [0, *counts] if flat[0] else counts}


TOP, LEFT = runs([[1, 1, 1], [0, 0, 0]]), runs([[1, 0, 0], [1, 0, 0]])


def content(videos: int = 4, frames: int = 3) -> dict[str, Any]:
    shapes = [[TOP, None, TOP], [LEFT, LEFT, None], [None, runs([[0, 0, 1], [0, 0, 1]]), None]]
    annotations = [
        {
            "id": 10 * video + k,
            "video_id": video,
            "category_id": k % 2 + 1,
            "iscrowd": int(k == 2),
            "segmentations": [*one],
        }
        for video in range(1, videos + 1)
        for k, one in enumerate(shapes)
    ]
    entries = [
        {
            "id": video,
            "file_names": [f"v{9 - video}/{5 * frame:05d}.jpg" for frame in range(frames)],
            "height": SIZE[0],
            "width": SIZE[1],
            "length": frames,
        }
        for video in range(videos, 0, -1)
    ]
    categories = [{"id": 1, "name": "fox"}, {"id": 2, "name": "ape"}]
    return {"videos": entries, "annotations": annotations, "categories": categories}


def make(root: Path, change: Callable[[dict[str, Any]], Any] = lambda data: None) -> Path:
    data = content()
    for entry in data["videos"]:
        for name in entry["file_names"]:
            path = root / "train" / "JPEGImages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE[::-1], (10 * entry["id"],) * 3).save(path)
    change(data)
    (root / "train" / "instances.json").write_text(json.dumps(data))
    return root


def build(root: Path, split: str = "train", **settings: Any) -> YouTubeVISDataset:
    config = YouTubeVISConfig.model_validate({"root": str(root), "val_videos": 1, **settings})
    return YouTubeVISDataset(config, DatasetContext(split=split, image_size=(4, 6)))


def test_the_last_videos_by_their_ids_are_val(tmp_path: Path) -> None:
    make(tmp_path)
    frames = ("00000", "00005", "00010")
    assert build(tmp_path).ids == [f"v{video}/{frame}" for video in (8, 7, 6) for frame in frames]
    assert build(tmp_path, "val").ids == [f"v5/{frame}" for frame in frames]
    assert build(tmp_path, val_videos=0, frames=1).ids == [f"v{video}/00000" for video in (8, 7, 6, 5)]
    assert YouTubeVISConfig.model_validate({"root": "x"}).val_videos == 300
    assert YouTubeVISConfig.model_validate({"root": "x", "val_videos": 0}).splits == ("train",)
    for wrong, text in ((4, "has 4 videos, of which 4 cannot be val and others train; make it fewer"),):
        with pytest.raises(ComponentError, match=text):
            build(tmp_path, val_videos=wrong)


@pytest.mark.parametrize(
    ("settings", "first", "second"),
    [
        ({}, [[1, 1, 1], [2, 0, 0]], [[2, 0, -1], [2, 0, -1]]),
        ({"crowds": "background"}, [[1, 1, 1], [2, 0, 0]], [[2, 0, 0], [2, 0, 0]]),
        ({"crowds": "objects"}, [[1, 1, 1], [2, 0, 0]], [[2, 0, 3], [2, 0, 3]]),
        ({"overlaps": "last"}, [[2, 1, 1], [2, 0, 0]], [[2, 0, -1], [2, 0, -1]]),
        ({"overlaps": "background"}, [[0, 1, 1], [2, 0, 0]], [[2, 0, -1], [2, 0, -1]]),
        ({"overlaps": "void"}, [[-1, 1, 1], [2, 0, 0]], [[2, 0, -1], [2, 0, -1]]),
    ],
)
def test_masks_hold_objects_by_their_number_in_the_video(
    tmp_path: Path, settings: dict[str, Any], first: Any, second: Any
) -> None:
    dataset = build(make(tmp_path), **settings)
    assert dataset.mask(0).tolist() == first
    assert dataset.mask(1).tolist() == second
    assert dataset.mask(2).tolist() == [[1, 1, 1], [0, 0, 0]]
    facts = dataset[4].attributes
    objects = [{"index": 1, "category": "fox"}, {"index": 2, "category": "ape"}]
    if settings.get("crowds") == "objects":
        objects.append({"index": 3, "category": "fox"})
    assert facts == {"video": "v7", "frame": 1, "num_objects": len(objects), "objects": objects}


def test_packed_run_lengths_are_read(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        data["annotations"][0]["segmentations"][0] = {"size": list(SIZE), "counts": "0111N1"}

    with pytest.raises(DataError, match=r"video 1: annotation 10: segmentations\[0\] has "):
        build(make(tmp_path, change)).mask(0)
    masks = pytest.importorskip("pycocotools.mask", reason="needs slotlab[data]")
    packed = masks.encode(np.asfortranarray(np.uint8([[1, 1, 1], [0, 0, 0]])))

    def pack(data: Any) -> None:
        data["annotations"][0]["segmentations"][0] = {**packed, "counts": packed["counts"].decode()}

    assert build(make(tmp_path, pack)).mask(0).tolist() == [[1, 1, 1], [2, 0, 0]]


def test_a_video_without_annotations_is_background(tmp_path: Path) -> None:
    dataset = build(make(tmp_path, lambda data: data["annotations"].clear()))
    assert dataset[0].mask_HW.unique().tolist() == [0]  # type: ignore[union-attr]
    assert dataset.attributes(0)["num_objects"] == 0


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "short": (
        lambda data: data["annotations"][0]["segmentations"].pop(),
        "video 1: annotation 10 has 2 segmentations; the video has 3 frames",
    ),
    "category": (
        lambda data: data["annotations"][0].update(category_id=7),
        "video 1: annotation 10: category_id 7 is not in categories",
    ),
    "crowd": (
        lambda data: data["annotations"][0].update(iscrowd=3),
        "video 1: annotation 10: iscrowd is 3; write 0 or 1",
    ),
    "no list": (
        lambda data: data["annotations"][0].update(segmentations=None),
        "video 1: annotation 10: segmentations is null; it must be a list",
    ),
    "height": (
        lambda data: data["videos"][-1].update(height="2"),
        "video 1: height is '2'; it must be a whole number from 1 to 1048576",
    ),
    "files": (
        lambda data: data["videos"][-1].update(file_names=[]),
        "video 1: file_names is []; it must be a list of the frames' files",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_that_is_wrong_is_named_and_moves_no_other_video(tmp_path: Path, name: str) -> None:
    change, text = WRONG[name]
    dataset = build(make(tmp_path, change))
    assert [str(one) for one in dataset.problems] == [f"{tmp_path}/train/instances.json: {text}"]
    assert [one.place for one in dataset.problems] == [0]
    assert list(dict.fromkeys(dataset.places)) == [1, 2]
    assert dataset.listed == 3
    assert dataset.attributes(0)["video"] == "v7"
    assert build(tmp_path, "val").problems == []


def test_strays_and_missing_files_are_named(tmp_path: Path) -> None:
    def change(data: Any) -> None:
        data["annotations"][0]["video_id"] = 12
        del data["annotations"][1]["video_id"]

    make(tmp_path, change)
    gone = tmp_path / "train/JPEGImages/v8/00005.jpg"
    gone.unlink()
    dataset = build(tmp_path)
    source = tmp_path / "train/instances.json"
    lines = [
        f"{source}: annotation 10: video_id 12 is not in videos",
        f"{source}: annotation 11 lacks video_id",
        f"{gone}: is missing; it is a frame of video 1 of {source}",
    ]
    assert [str(one) for one in dataset.problems] == lines
    with pytest.raises(DataError) as caught:
        dataset[1]
    assert caught.value.lines() == lines[2:]
    source.write_text("{")
    with pytest.raises(ComponentError, match="cannot be read as JSON"):
        build(tmp_path)
    source.write_text('{"videos": [], "annotations": []}')
    with pytest.raises(ComponentError, match="has no list categories"):
        build(tmp_path)
    source.unlink()
    with pytest.raises(ComponentError, match="there is no file"):
        build(tmp_path)


def test_recognition(tmp_path: Path) -> None:
    make(tmp_path)
    for root in (tmp_path, tmp_path / "train"):
        target = find_target(str(root))
        assert (target.name, target.splits) == ("youtube_vis", ("train", "val"))
