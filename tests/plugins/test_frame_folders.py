"""Laws of `frame_folders`: which frames are read, what keeps its label, and what is told of damage."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.clips import training_clips
from slotlab.framework.data.formats.frame_files import FrameFiles
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.selection import select
from slotlab.framework.spec.data import ClipSpec
from slotlab.plugins.datasets.frame_folders import FrameFoldersConfig, open_videos
from slotlab.plugins.datasets.image_folder import ImageFolderConfig
from slotlab.registry import ComponentError


def save(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(np.uint8(value), (4, 6, 3)).copy() if np.ndim(value) < 2 else value).save(
        path
    )
    return path


def folders(root: Path, videos: int = 2, frames: int = 6, start: int = 8) -> Path:
    for video in range(videos):
        for frame in range(start, start + frames):
            save(root / f"v{video}" / f"test_{frame}.png", (video, frame, 0))
            save(root / "masks" / f"v{video}" / f"test_{frame}.png", np.full((4, 6), frame % 3, np.uint8))
    return root


def build(root: Path, split: str = "all", **settings: Any) -> FrameFiles:
    config = FrameFoldersConfig.model_validate({"root": str(root), **settings})
    return open_videos(config, DatasetContext(split=split, image_size=(4, 6)))


def complaint(read: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        read()
    return str(caught.value), caught.value.field


# --- which frames ------------------------------------------------------------------------


def test_numbers_in_names_are_the_order(tmp_path: Path) -> None:
    for video in ("v10", "v9"):
        for frame in (10, 9, 11, 100, 8):
            save(tmp_path / video / f"test_{frame}.png", frame)
    assert build(tmp_path).ids == [
        f"{v}/test_{frame}" for v in ("v9", "v10") for frame in (8, 9, 10, 11, 100)
    ]
    assert build(tmp_path, frames=2).ids == ["v9/test_8", "v9/test_9", "v10/test_8", "v10/test_9"]


@pytest.mark.parametrize("masks", ["masks", "instance_masks", "GT"])
def test_pictures_and_masks_are_not_taken_for_two_videos_without_a_word(tmp_path: Path, masks: str) -> None:
    for name in ("images", masks):
        for frame in range(3):
            save(tmp_path / name / f"{frame}.png", np.full((4, 6), frame, np.uint8))
    found = build(tmp_path)
    assert len({one.partition("/")[0] for one in found.ids}) == 2
    [text] = found.cautions
    assert f"'images' and '{masks}' are read as two videos" in text
    right = f"dataset: {{name: image_folder, images: {tmp_path / 'images'}, masks: {tmp_path / masks}}}"
    assert right in text
    given = yaml.safe_load(right)["dataset"]
    assert given.pop("name") == "image_folder"
    assert ImageFolderConfig.model_validate(given).masks == tmp_path / masks
    assert not any("two videos" in one for one in build(tmp_path, masks=str(tmp_path)).cautions)


@pytest.mark.parametrize("names", [("v0", "v1"), ("v0", "v1", "masks"), ("masks", "labels"), ("masks",)])
def test_folders_that_are_no_pair_are_videos_without_a_word(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        save(tmp_path / name / "0.png", 1)
    assert list(build(tmp_path).cautions) == []


def test_own_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(tmp_path / split / "a" / "0.png", 1)
    assert build(tmp_path, "val", splits=["train", "val"]).ids == ["a/0"]
    assert complaint(lambda: build(tmp_path, "vla", splits=["train", "val"]))[0] == (
        "there is no split 'vla'; the splits are train, val; did you mean 'val'?"
    )
    assert complaint(lambda: build(tmp_path)) == (
        f"the folders in {tmp_path} hold no pictures: if they are splits, write splits: [train, val]",
        "splits",
    )
    with pytest.raises(ValidationError):
        build(tmp_path, splits=[])


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert complaint(lambda: build(gone)) == (
        f"there is no folder {gone}; give one with a folder of pictures for each video",
        "root",
    )
    assert complaint(lambda: build(tmp_path)) == (
        f"{tmp_path} holds no folders; each video is a folder of pictures in it",
        "root",
    )
    save(tmp_path / "v" / "0.png", 0)
    (tmp_path / "w").mkdir()
    assert complaint(lambda: build(tmp_path, masks=str(gone))) == (
        f"there is no folder {gone}; give the folder with a folder of masks for each video",
        "masks",
    )
    dataset = build(tmp_path)
    assert [str(one) for one in dataset.problems] == [
        f"{tmp_path}/w: holds no pictures; it should be a video"
    ]
    assert (len(dataset), dataset.listed, list(dataset.places)) == (1, 2, [0])


def test_recognition_leaves_pictures_to_image_folder(tmp_path: Path) -> None:
    save(tmp_path / "pictures" / "images" / "0.png", 0)
    save(tmp_path / "pictures" / "masks" / "0.png", 0)
    save(tmp_path / "videos" / "a" / "0.png", 0)
    save(tmp_path / "splits" / "train" / "a" / "0.png", 0)
    found = [find_target(str(tmp_path / name)).data.dataset for name in ("pictures", "videos", "splits")]
    assert [one.name for one in found] == ["image_folder", "frame_folders", "frame_folders"]
    assert found[2].config.splits == ("train",)  # type: ignore[attr-defined]


# --- masks -------------------------------------------------------------------------------


def test_colors_are_numbered_by_video_and_not_by_frame(tmp_path: Path) -> None:
    red, blue, green = [200, 0, 0], [0, 0, 200], [0, 200, 0]
    for frame, colors in enumerate(([red, [0, 0, 0]], [blue, red], [[0, 0, 0], green])):
        save(tmp_path / "v" / f"{frame}.png", 0)
        save(tmp_path / "v" / f"{frame}_m.png", np.uint8([colors]))
    dataset = build(tmp_path, mask_suffix="_m")
    assert [dataset.mask(frame).tolist() for frame in range(3)] == [[[3, 0]], [[1, 3]], [[0, 2]]]
    other = build(tmp_path, mask_suffix="_m", background="#c80000", void="black")
    assert [other.mask(frame).tolist() for frame in range(3)] == [[[0, -1]], [[1, 0]], [[-1, 2]]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[[0, 2, 5]], [[5, 0, 9]]]),
        ({"background": 5}, [[[5, 2, 0]], [[0, 5, 9]]]),
        ({"void": 5}, [[[0, 2, -1]], [[-1, 0, 9]]]),
        ({"background": "none"}, [[[1, 2, 3]], [[3, 1, 4]]]),
        ({"background": "none", "void": 2}, [[[1, -1, 2]], [[2, 1, 3]]]),
        ({"background": "#050505"}, [[[1, 2, 0]], [[0, 1, 3]]]),
    ],
)
def test_labels_stay_what_they_are_under_each_setting(
    tmp_path: Path, settings: dict[str, Any], expected: Any
) -> None:
    for frame, values in enumerate(([0, 2, 5], [5, 0, 9])):
        save(tmp_path / "v" / f"{frame}.png", 0)
        save(tmp_path / "m" / "v" / f"{frame}.png", np.uint8([values]))
    names = build(tmp_path, frames=2)
    assert names.problems
    (tmp_path / "videos").mkdir()
    (tmp_path / "v").rename(tmp_path / "videos" / "v")
    dataset = build(tmp_path / "videos", masks=str(tmp_path / "m"), **settings)
    assert [dataset.mask(frame).tolist() for frame in range(2)] == expected


# --- what is missing or damaged ----------------------------------------------------------


def test_a_missing_frame_is_named_and_no_clip_passes_over_it(tmp_path: Path) -> None:
    root, masks = folders(tmp_path), tmp_path.with_name(f"{tmp_path.name}_masks")
    (root / "masks").rename(masks)
    (root / "v0" / "test_10.png").unlink()
    (masks / "v0" / "test_10.png").unlink()
    (masks / "v1" / "test_9.png").unlink()
    dataset = build(root, masks=str(masks))
    lines = [
        f"{root}/v0/test_10.png: is missing, though later frames of the video v0 are there",
        f"{root}/v1/test_9.png: its mask {masks}/v1/test_9.png is missing",
    ]
    assert [str(one) for one in dataset.problems] == lines
    assert [one.place for one in dataset.problems] == [0, 1]
    assert len(dataset) == 12
    for index, line in ((2, lines[0]), (7, lines[1])):
        with pytest.raises(DataError) as caught:
            dataset[index]
        assert caught.value.lines() == [line]
    sets = [f"data.dataset.masks={masks}", "data.on_error=skip", "data.store=off"]
    chosen = select(find_target(str(root), sets=sets).data, "all")
    assert sorted(chosen.facts["skipped"]) == lines
    clips = training_clips(chosen, ClipSpec(frames=2, start="all"), 0)
    found = [[chosen.positions[place] for place in clips.frames(number)] for number in range(len(clips))]
    assert found == [[0, 1], [3, 4], [4, 5], [8, 9], [9, 10], [10, 11]]


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    broken = folders(tmp_path) / "v1" / "test_9.png"
    broken.write_bytes(broken.read_bytes()[:40])
    dataset = build(tmp_path, masks=str(tmp_path / "masks"))
    with pytest.raises(DataError, match=r"v1/test_9\.png: cannot be read"):
        dataset[list(dataset.ids).index("v1/test_9")]


@pytest.mark.parametrize("gone", ["v0", "v3", "v9"])
def test_a_video_that_cannot_be_read_moves_no_other(tmp_path: Path, gone: str) -> None:
    for video in range(10):
        save(tmp_path / f"v{video}" / "0.png", video)
    protocol = "{name: whole, image_size: 8, splits: {train: [0.0, 0.4], val: [0.4, 1.0]}}"

    def members() -> dict[str, str]:
        data = find_target(
            str(tmp_path), protocol=protocol, sets=["data.on_error=skip", "data.store=off"]
        ).data
        chosen = {split: select(data, split) for split in ("train", "val")}
        return {one[index].id: split for split, one in chosen.items() for index in range(len(one))}

    whole = members()
    (tmp_path / gone / "0.png").unlink()
    assert members() == {name: split for name, split in whole.items() if name != f"{gone}/0"}
