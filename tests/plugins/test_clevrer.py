"""Laws of `clevrer`: which videos are there, what predicted masks hold, and what annotations say."""

import json
from pathlib import Path
from typing import Any

import pytest

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.clevrer import CLEVRERConfig, CLEVRERDataset
from slotlab.registry import ComponentError

pytest.importorskip("av", reason="needs slotlab[video]")
RED = {"color": "red", "material": "metal", "shape": "cube"}
BLUE = {"color": "blue", "material": "rubber", "shape": "sphere"}
GRAY = {"color": "gray", "material": "metal", "shape": "cylinder"}


def runs(rows: int, columns: int = 480) -> dict[str, Any]:
    """Run lengths of the first rows and columns of a picture of 320 x 480."""
    counts = [0, rows] + [320 - rows, rows] * (columns - 1)
    return {"size": [320, 480], "counts": [*counts, 320 * 480 - sum(counts)]}


def proposal(look: dict[str, str], mask: dict[str, Any], score: float = 0.9) -> dict[str, Any]:
    return {**look, "mask": mask, "score": score}


def make(root: Path, numbers: tuple[int, ...] = (0, 1), frames: Any = None) -> Path:
    """Videos whose files are empty: masks and annotations are read without them."""
    shown = frames or [[proposal(RED, runs(2))], [proposal(BLUE, runs(4)), proposal(RED, runs(2))]]
    track = [
        {
            "object_id": number,
            "location": [number, 1, 2],
            "velocity": [0, 0, 0],
            "inside_camera_view": number == 7,
        }
        for number in (7, 4)
    ]
    for number in numbers:
        path = root / "videos" / "train" / "video_00000-01000" / f"video_{number:05d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path = root / "derender_proposals" / f"proposal_{number:05d}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"frames": [{"objects": one} for one in shown]}))
        path = root / "annotations" / "train" / "annotation_00000-01000" / f"annotation_{number:05d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {
            "object_property": [{"object_id": 7, **RED}, {"object_id": 4, **BLUE}],
            "motion_trajectory": [{"frame_id": frame, "objects": track} for frame in range(2)],
            "collision": [{"object_ids": [4, 7], "frame_id": 1, "location": [0, 0, 0]}],
        }
        path.write_text(json.dumps(told))
    return root


def build(root: Path, split: str = "train", **settings: Any) -> CLEVRERDataset:
    given = {"root": str(root), "masks": True, "frames": 2, **settings}
    return CLEVRERDataset(CLEVRERConfig.model_validate(given), DatasetContext(split=split, image_size=(4, 6)))


def damage(read: Any) -> str:
    with pytest.raises(DataError) as caught:
        read()
    [line] = caught.value.lines()
    return line


def test_videos_are_those_of_the_split_and_missing_ones_are_named(tmp_path: Path) -> None:
    make(tmp_path, (0, 1, 3))
    dataset = build(tmp_path)
    assert [one.place for one in dataset.problems] == [2]
    assert str(dataset.problems[0]) == (
        f"{tmp_path}/videos/train/video_00000-01000/video_00002.mp4: is missing, though later videos are there"
    )
    assert (dataset.listed, list(dict.fromkeys(dataset.places))) == (4, [0, 1, 3])
    assert dataset.ids[:3] == ["video_00000/00000", "video_00000/00001", "video_00001/00000"]
    assert dataset.cautions == [
        f"{tmp_path}/videos/train holds 3 of the 10,000 videos of this split",
        "the masks of CLEVRER are predictions: objects may be missing, doubled or wrong",
    ]
    assert len(build(tmp_path, frames=128)) == 3 * 128
    with pytest.raises(ComponentError, match=r"there is no folder .*/videos/val; it holds video_10000-11000"):
        build(tmp_path, "val")
    target = find_target(str(tmp_path))
    assert (target.name, target.splits) == ("clevrer", ("train",))


def test_masks_are_linked_by_their_looks(tmp_path: Path) -> None:
    dataset = build(make(tmp_path))
    assert dataset.mask(0)[:6, 0].tolist() == [2, 2, 0, 0, 0, 0]
    assert dataset.mask(1)[:6, 0].tolist() == [1, 1, 1, 1, 0, 0]
    known = build(tmp_path, annotations=True)
    assert known.mask(0)[:6, 0].tolist() == [1, 1, 0, 0, 0, 0]
    assert build(tmp_path, masks=False)._labels(0, 0) is None


def test_the_most_certain_of_doubled_objects_is_painted_and_lies_above(tmp_path: Path) -> None:
    frames = [
        [proposal(RED, runs(9), 0.3), proposal(RED, runs(2), 0.8), proposal(BLUE, runs(4), 0.5)],
        [proposal(GRAY, runs(1))],
    ]
    dataset = build(make(tmp_path, frames=frames), annotations=True)
    assert dataset.mask(0)[:6, 0].tolist() == [1, 1, 2, 2, 0, 0]
    assert dataset.mask(1)[:2, 0].tolist() == [3, 0]


def test_annotations_tell_of_each_object(tmp_path: Path) -> None:
    facts = build(make(tmp_path), annotations=True).attributes(3)
    assert (facts["video"], facts["frame"], facts["num_objects"]) == ("video_00001", 1, 2)
    assert facts["collisions"] == [[1, 1, 2]]
    assert facts["objects"][1] == {
        "index": 2,
        **BLUE,
        "3d_coords": [4, 1, 2],
        "velocity": [0, 0, 0],
        "inside_camera_view": False,
    }
    json.dumps(facts)
    assert build(tmp_path).attributes(3) == {"video": "video_00001", "frame": 1}


def test_damaged_files_are_named(tmp_path: Path) -> None:
    make(tmp_path, frames=[[proposal(RED, {"size": [2, 2], "counts": [0, 4]})]])
    path = tmp_path / "derender_proposals" / "proposal_00000.json"
    assert damage(lambda: build(tmp_path).mask(0)) == (
        f"{path}/frames[0]: the mask of the red metal cube is of 2x2 pixels, the image of 480x320"
    )
    assert damage(lambda: build(tmp_path).mask(1)) == f"{path}: has 1 frames; frame 1 is missing"
    for content, text in (
        ("{", "cannot be read as JSON"),
        ('{"frames": [{}]}', "has not the form of proposals"),
    ):
        path.write_text(content)
        assert damage(lambda: build(tmp_path).mask(0)).startswith(f"{path}: {text}")
    path.unlink()
    assert damage(lambda: build(tmp_path).mask(0)) == f"{path}: is missing"
    told = tmp_path / "annotations" / "train" / "annotation_00000-01000" / "annotation_00000.json"
    told.write_text("[]")
    line = damage(lambda: build(tmp_path, annotations=True).attributes(0))
    assert line.startswith(f"{told}: has not the form of an annotation")
    assert damage(lambda: build(tmp_path)[0]).startswith(
        f"{tmp_path}/videos/train/video_00000-01000/video_00000.mp4: "
    )
