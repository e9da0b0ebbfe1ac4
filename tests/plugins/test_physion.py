"""Laws of `physion`: which trials a split has, what is told of contacts and objects, and of damaged files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slotlab.framework.contracts import DataError, DatasetContext
from slotlab.framework.data.inspection.target import find_target
from slotlab.plugins.datasets.physion import PhysionConfig, open_physion
from slotlab.registry import ComponentError

from .test_video_files import encoded, physion_hdf5, physion_place

pytest.importorskip("av", reason="needs slotlab[video]")
HEAD = ",ground truth outcome\n"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def build(root: Path, split: str = "train", **settings: Any) -> Any:
    config = PhysionConfig.model_validate({"root": str(root), "frames": 3, **settings})
    return open_physion(config, DatasetContext(split=split, image_size=(4, 6)))


def videos(dataset: Any) -> list[str]:
    return [dataset.attributes(frames[0])["video"] for frames in dataset.videos]


def trained(root: Path) -> Path:
    folders = ("Drop_training_MP4s", "Collide_training_MP4s", "Drop_readout_MP4s")
    names = [f"PhysionTrainMP4s/{folder}/b_{number:04d}_img.mp4" for folder in folders for number in (10, 9)]
    return touch(root, *names)


@pytest.mark.parametrize("above", ["", "PhysionTrainMP4s/", "PhysionTrainMP4s/PhysionTrainMP4s/"])
def test_a_subset_is_found_however_its_archive_was_unpacked(tmp_path: Path, above: str) -> None:
    touch(tmp_path, f"{above}Roll_training_MP4s/b_0001_img.mp4", f"{above}Roll_readout_MP4s/c_0001_img.mp4")
    assert videos(build(tmp_path)) == ["roll/b_0001"]
    assert videos(build(tmp_path, "readout")) == ["roll/c_0001"]


@pytest.mark.parametrize("above", ["", "Physion/", "PhysionTestMP4s/", "PhysionTestMP4s/Physion/"])
def test_of_the_test_the_videos_that_models_see_are_read(tmp_path: Path, above: str) -> None:
    kinds = {"mp4s-redyellow": "-redyellow", "mp4s": ""}
    touch(tmp_path, *(f"{above}Link/{kind}/b{mark}_0001_img.mp4" for kind, mark in kinds.items()))
    dataset = build(tmp_path, "test", splits=["test"])
    assert videos(dataset) == ["link/b_0001"]
    assert "mp4s-redyellow" in str(dataset._files[0].path)
    assert find_target(str(tmp_path)).splits == ("test",)


def test_trials_are_in_the_order_of_scenarios_and_numbers_and_lists_split_them(tmp_path: Path) -> None:
    trained(tmp_path)
    assert videos(build(tmp_path)) == ["collide/b_0009", "collide/b_0010", "drop/b_0009", "drop/b_0010"]
    lists = tmp_path / "lists"
    lists.mkdir()
    for part, number in (("train", 9), ("val", 10)):
        listed = {"Drop": [f"PhysionTrainMP4s/Drop_readout_MP4s/b_{number:04d}_img.mp4", f"x/{part}_img.mp4"]}
        (lists / f"readout_{part}.json").write_text(json.dumps(listed))
    for split, number in (("readout", 9), ("readout_val", 10)):
        dataset = build(tmp_path, split, splits=[split], lists=str(lists))
        assert videos(dataset) == [f"drop/b_{number:04d}"]
        assert "1 of the 2 trials in" in dataset.cautions[0]


def test_what_is_left_out_is_named_as_in_any_list(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / "wrong.txt").write_text("b-redyellow_0009_img\n\n")
    assert videos(build(tmp_path, leave_out=str(tmp_path / "wrong.txt"))) == ["collide/b_0010", "drop/b_0010"]


def test_labels_are_joined_by_the_name_of_the_trial(tmp_path: Path) -> None:
    trained(tmp_path)
    labels = tmp_path / "PhysionTrainMP4s" / "readout_labels.csv"
    unlabeled = build(tmp_path, "readout")
    assert "contact" not in unlabeled.attributes(0)
    assert f"there is no {labels}: frames are read without `contact`" in unlabeled.cautions[0]
    labels.write_text(f"{HEAD}b_0010,True\nb_0009,False\n")
    found = build(tmp_path, "readout")
    assert [found.attributes(index[0])["contact"] for index in found.videos] == [False, True]
    assert "contact" not in build(tmp_path).attributes(0)
    assert found.attributes(4) == {"video": "drop/b_0010", "frame": 1, "scenario": "drop", "contact": True}
    labels.write_text(f"{HEAD}b_0010,True\n")
    short = build(tmp_path, "readout")
    assert [(one.reason, one.place) for one in short.problems] == [(f"has no row in {labels}", 0)]
    assert (videos(short), short.listed, set(short.places)) == (["drop/b_0010"], 2, {1})


def test_mistakes_are_told_with_the_file_the_field_and_the_way_out(tmp_path: Path) -> None:
    def complaint(split: str = "train", **settings: Any) -> tuple[str, str | None]:
        with pytest.raises(ComponentError) as caught:
            build(tmp_path, split, **settings)
        return str(caught.value), caught.value.field

    text, field = complaint()
    assert field == "root"
    assert text.startswith("there are no files of the subset training: they are called ")
    assert str(tmp_path / "PhysionTrainMP4s" / "Collide_training_MP4s" / "NAME_img.mp4") in text
    assert str(tmp_path / "testing" / "Collide" / "NAME.hdf5") in complaint("test", files="hdf5")[0]
    trained(tmp_path)
    assert complaint("trian")[0].endswith("the splits are train, readout, test; did you mean 'train'?")
    text, field = complaint("val", splits=["val"])
    assert (text.startswith("val is SlotFormer's, since Physion has none: give `lists`"), field) == (
        True,
        "lists",
    )
    assert complaint(lists=str(tmp_path))[0].startswith(
        f"there is no file {tmp_path / 'training_train.json'}"
    )
    (tmp_path / "training_train.json").write_text("[1]")
    assert "is no list of trials by scenario" in complaint(lists=str(tmp_path))[0]
    (tmp_path / "training_train.json").write_text("{}")
    assert complaint(lists=str(tmp_path)) == ("no trial of the split 'train' is left", "splits")
    assert complaint(leave_out=str(tmp_path / "none.txt"))[1] == "leave_out"
    labels = tmp_path / "readout_labels.csv"
    labels.write_text(f"{HEAD}b_0009,True\nb_0010,yes\n")
    text, field = complaint("readout")
    assert text == f"{labels}, line 3: expected a trial and True or False, found 'b_0010,yes'"
    touch(tmp_path, "PhysionTrainMP4s/Drop_training_MP4s/b-redyellow_0009_img.mp4")
    assert "are the same trial; keep one" in complaint()[0]


def test_hdf5_tells_of_objects_roles_and_contacts(tmp_path: Path) -> None:
    root = Path(physion_hdf5(tmp_path)["root"])
    dataset = build(root, files="hdf5")
    objects = [
        {"index": 1, "id": 4, "model": "cube", "role": "patient"},
        {"index": 2, "id": 7, "model": "bowl", "role": "agent"},
    ]
    common = {"scenario": "drop", "num_objects": 2, "objects": objects}
    assert dataset.attributes(0) == {
        "video": "drop/pilot_0000", "frame": 0, "contact": False, "contact_now": False, **common
    }  # fmt: skip
    told = [dataset.attributes(index) for index in dataset.videos[1]]
    assert [(one["contact"], one["contact_now"]) for one in told] == [
        (True, False), (True, False), (True, True)
    ]  # fmt: skip
    every = build(root, files="hdf5", frames=None)
    assert [len(frames) for frames in every.videos] == [3, 3]


def paint(file: Any, place: str, data: Any) -> None:
    if place in file:
        del file[place]
    if data is not None:
        file[place] = data


COLORS, MASK = "static/object_segmentation_colors", "frames/0000/images/_id"


@pytest.mark.parametrize(
    ("place", "data", "told"),
    [
        (COLORS, None, f"FILE has no {COLORS}; download it again"),
        (
            COLORS,
            np.ones((2, 3), np.uint8),
            f"FILE/{COLORS} gives two objects one color, so that masks do not",
        ),
        (COLORS, np.ones((3, 3), np.uint8), f"FILE/{COLORS} has uint8 [3, 3]; each of 2 objects has a color"),
        (MASK, None, f"FILE has no {MASK}; download it again"),
        (MASK, np.zeros(9, np.uint8), f"FILE/{MASK} cannot be read: it is no picture of a known kind"),
        (MASK, encoded(np.zeros((2, 2), np.uint8)), f"FILE/{MASK} holds no colors of objects, it is L"),
        ("frames/0002", None, "FILE ends after 2 frames; frame 2, counted from 0, is missing"),
        ("", None, "FILE cannot be read: "),
    ],
)
def test_damage_in_hdf5_is_told_with_what_is_missing(
    tmp_path: Path, place: str, data: Any, told: str
) -> None:
    physion_hdf5(tmp_path)
    path = physion_place(tmp_path, 0, "hdf5")
    if place:
        with pytest.importorskip("h5py").File(path, "a") as file:
            paint(file, place, data)
    else:
        path.write_bytes(path.read_bytes()[:200])
    dataset = build(tmp_path, files="hdf5")
    with pytest.raises(DataError) as caught:
        dataset[2 if place == "frames/0002" else 0]
    (problem,) = caught.value.problems
    assert f"{problem.path} {problem.reason}".replace(str(path), "FILE").startswith(told)
