"""Laws of `movi`: what TFDS writes comes back to the bit, and nothing that is missing or damaged goes unnoticed."""

import json
import multiprocessing
import pickle
import random
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.data import DataLoader

from slotlab.framework.contracts import DataError, Dataset, DatasetContext
from slotlab.framework.data.formats import movi
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.selection import select
from slotlab.framework.evaluation.breakdown import traits
from slotlab.framework.jobs.train import prepare
from slotlab.framework.probing.attributes import choose_attributes
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.framework.spec.merge import SHIPPED
from slotlab.plugins.datasets.movi import MOViConfig, MOViDataset, slotlab_datasets
from slotlab.registry import ComponentError

CLIPS, FRAMES, SIZE, OBJECTS = 3, 4, 8, 3
GSUTIL = "gsutil -m cp 'gs://kubric-public/tfds"


def build(root: Path, split: str = "val", **settings: Any) -> MOViDataset:
    config = MOViConfig.model_validate({"root": str(root), **settings})
    return MOViDataset(config, DatasetContext(split=split, image_size=(8, 8)))


def leaf(root: Path, variant: str = "c", size: int = SIZE) -> Path:
    return root / f"movi_{variant}" / f"{size}x{size}" / "1.0.0"


@pytest.fixture
def root(tmp_path: Path, tfrecord_writer: ModuleType) -> Path:
    """Three clips of MOVi-C's validation in two files."""
    clips = [tfrecord_writer.clip("c", seed) for seed in range(CLIPS)]
    tfrecord_writer.write_split(leaf(tmp_path), "c", "validation", clips, shards=2)
    return tmp_path


def shard(root: Path, number: int = 0) -> Path:
    return leaf(root) / f"movi_c-validation.tfrecord-{number:05d}-of-00002"


def complaint(read: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        read()
    return str(caught.value), caught.value.field


def damage(read: Any) -> str:
    with pytest.raises(DataError) as caught:
        read()
    [line] = caught.value.lines()
    return line


def changed(root: Path, writer: ModuleType, **features: Any) -> Path:
    """The first clip with other features (`__` for /; None leaves one out), alone in its folder."""
    made = writer.features_of(writer.clip("c", 0))
    for name, values in features.items():
        made[name.replace("__", "/")] = values
    path = root / "changed"
    [file] = writer.write_split(path, "c", "validation", [{k: v for k, v in made.items() if v is not None}])
    assert isinstance(file, Path)
    return file


# --- what was written is read ---------------------------------------------------------------


@pytest.mark.parametrize("variant", list("abcdef"))
@pytest.mark.parametrize("wide", [False, True])
def test_frames_masks_and_facts_are_what_was_written(
    tmp_path: Path, tfrecord_writer: ModuleType, variant: str, wide: bool
) -> None:
    clips = [tfrecord_writer.clip(variant, seed, wide=wide) for seed in range(2)]
    [path] = tfrecord_writer.write_split(leaf(tmp_path, variant), variant, "validation", clips)
    dataset = build(tmp_path, variant=variant, resolution=SIZE)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 2 * FRAMES
    for index in range(len(dataset)):
        clip, frame = clips[index // FRAMES], index % FRAMES
        sample = dataset[index]
        assert sample.mask_HW is not None
        assert (sample.image_CHW.dtype, sample.mask_HW.dtype) == (torch.uint8, torch.uint8)
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), clip["video"][frame])
        np.testing.assert_array_equal(sample.mask_HW.numpy(), clip["segmentations"][frame])
        assert torch.equal(dataset.mask(index), sample.mask_HW)
        assert dataset.attributes(index) == sample.attributes
        assert sample.id == dataset.ids[index] == f"val_{index // FRAMES:05d}_0{frame}"
        assert sample.path == f"{path}[{index // FRAMES}]"
        check_facts(sample.attributes, clip, variant, frame)
    for index in (-1, 2 * FRAMES):
        with pytest.raises(IndexError, match=f"there are 8 frames, none has number {index}"):
            dataset[index]


def check_facts(attributes: Any, clip: Any, variant: str, frame: int) -> None:
    json.dumps(attributes, allow_nan=False)
    assert attributes["num_objects"] == OBJECTS
    assert (attributes["frame"], attributes["video"]) == (frame, clip["metadata/video_name"][0].decode())
    assert attributes.get("background") == ("noon_grass" if variant in "cdef" else None)
    assert ("background_color" in attributes) == (variant == "b")
    for number, one in enumerate(attributes["objects"]):
        assert one["index"] == number + 1
        assert one["visibility"] == clip["visibility"][number, frame]
        assert np.float32(one["mass"]) == clip["mass"][number]
        assert np.array_equal(np.float32(one["3d_coords"]), clip["positions"][number, frame])
        assert np.array_equal(np.float32(one["pixel_coords"]), SIZE * clip["image_positions"][number, frame])
        box = dict(clip["bboxes"][number]).get(frame)
        assert (one["bbox"] is None) == (box is None) == (number == OBJECTS - 1 and frame == 1)
        assert box is None or np.array_equal(np.float32(one["bbox"]), box)
        if variant in "ab":
            assert one["shape"] == movi.FACTS["shape_label"].labels[clip["shape_label"][number]]
            assert one["material"] == ("metal", "rubber")[clip["material_label"][number]]
            assert np.array_equal(np.float32(one["color"]), clip["color"][number])
        else:
            assert one["category"] == movi.FACTS["category"].labels[clip["category"][number]]
            assert one["asset_id"] == f"Asset_{number}"
            assert np.float32(one["scale"]) == clip["scale"][number]
        if variant == "a":
            assert one["size"] == ("small", "large")[clip["size_label"][number]]
            assert one["color_name"] == movi.FACTS["color_label"].labels[clip["color_label"][number]]
        assert one.get("is_dynamic") == (bool(clip["is_dynamic"][number]) if variant in "def" else None)


def test_labels_have_the_order_of_the_published_features() -> None:
    """kubric's challenges/movi/movi_[a-f].py: cube is 0 and Toys is 16."""
    labels = {name: list(fact.labels) for name, fact in movi.FACTS.items() if fact.labels}
    assert labels["shape_label"][:4] == ["cube", "cylinder", "sphere", "cone"]
    assert labels["shape_label"][-3:] == ["spot", "teapot", "suzanne"]
    assert labels["color_label"] == sorted(labels["color_label"])
    assert labels["category"] == sorted(labels["category"])
    assert [len(names) for names in labels.values()] == [11, 2, 2, 8, 17]


def test_labels_beyond_255_are_kept(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    masks = np.arange(FRAMES * SIZE * SIZE).reshape(FRAMES, SIZE, SIZE).astype(np.uint16) * 200
    file = changed(tmp_path, tfrecord_writer, segmentations=[tfrecord_writer.png(mask) for mask in masks])
    dataset = build(file.parent)
    assert [dataset.mask(index).dtype for index in range(2)] == [torch.int32, torch.int32]
    np.testing.assert_array_equal(dataset.mask(3).numpy(), masks[3].astype(np.int32))


def test_facts_that_a_file_lacks_are_left_out(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    """The released MOVi-B lacks scale (kubric#270)."""
    gone = {"instances__scale": None, "background": None, "instances__bboxes__ragged_flat_values": None}
    attributes = build(changed(tmp_path, tfrecord_writer, **gone).parent).attributes(0)
    assert "background" not in attributes
    assert not {"scale", "bbox"} & {*attributes["objects"][0]}


def test_a_clip_without_objects(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    made = tfrecord_writer.features_of(tfrecord_writer.clip("c", 0))
    empty = {name: values[:0] if name.startswith("instances") else values for name, values in made.items()}
    empty["metadata/num_instances"] = np.array([0])
    tfrecord_writer.write_split(tmp_path, "c", "train", [empty])
    attributes = build(tmp_path, "train").attributes(0)
    assert (attributes["num_objects"], attributes["objects"]) == (0, [])


# --- which frames, in which order -----------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "number", "frames"),
    [
        (24, 9, [0, 2, 5, 8, 10, 13, 16, 18, 21]),
        (24, 24, list(range(24))),
        (24, None, list(range(24))),
        (24, 1, [0]),
        (24, 2, [0, 12]),
        (24, 4, [0, 6, 12, 18]),
    ],
)
def test_frames_are_evenly_spaced_from_the_first(total: int, number: int | None, frames: list[int]) -> None:
    config = MOViConfig.model_validate({"root": "nowhere", "frames_per_clip": number})
    assert config.frames("val", total) == frames


def test_frames_per_clip(root: Path, tfrecord_writer: ModuleType) -> None:
    whole = build(root)
    some = build(root, frames_per_clip=2)
    assert len(some) == CLIPS * 2
    assert list(some.ids) == [f"val_0000{clip}_0{frame}" for clip in range(CLIPS) for frame in (0, 2)]
    for place, index in enumerate((0, 2, 4, 6, 8, 10)):
        assert torch.equal(some[place].image_CHW, whole[index].image_CHW)
        assert some[place].attributes == whole[index].attributes
    assert len(build(root, frames_per_clip={"train": 2})) == CLIPS * FRAMES
    assert len(build(root, frames_per_clip={"val": 1})) == CLIPS
    assert complaint(lambda: build(root, frames_per_clip=5)) == (
        "5 frames of each clip are wanted, and clips have 4",
        "frames_per_clip",
    )


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "all", [9], {"train": 0}, {"trian": 9}, {"val": True}])
def test_frames_per_clip_that_are_no_number(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        MOViConfig.model_validate({"root": "nowhere", "frames_per_clip": value})
    [error] = caught.value.errors()
    assert error["loc"] == ("frames_per_clip",)
    if value is not True:
        assert error["msg"] == (
            "write how many frames, from 1, or that for splits (train, val, test), such as {train: 9}"
        )


@pytest.mark.parametrize("shards", [1, 2, 3, 12])
def test_the_order_of_clips_is_that_of_files_and_records(
    tmp_path: Path, tfrecord_writer: ModuleType, shards: int
) -> None:
    clips = [tfrecord_writer.clip("c", seed, frames=1, size=2) for seed in range(12)]
    tfrecord_writer.write_split(tmp_path, "c", "train", clips, shards=shards)
    dataset = build(tmp_path, "train")
    assert [dataset.attributes(index)["video"] for index in range(12)] == [str(seed) for seed in range(12)]


def test_each_split_reads_its_own_files(root: Path, tfrecord_writer: ModuleType) -> None:
    for split, seed in (("train", 7), ("test", 8)):
        tfrecord_writer.write_split(leaf(root), "c", split, [tfrecord_writer.clip("c", seed)])
    found = {split: build(root, split).attributes(0)["video"] for split in ("train", "val", "test")}
    assert found == {"train": "7", "val": "0", "test": "8"}
    assert complaint(lambda: build(root, "validation")) == (
        "there is no split 'validation'; the splits are train, val, test",
        None,
    )


def test_samples_do_not_depend_on_order_process_or_workers(root: Path) -> None:
    dataset = build(root)
    expected = [dataset[index] for index in range(len(dataset))]
    fresh: Any = pickle.loads(pickle.dumps(dataset))
    for index in reversed(range(len(dataset))):
        assert torch.equal(fresh[index].image_CHW, expected[index].image_CHW)
        assert fresh[index].attributes == expected[index].attributes
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        loader: Any = DataLoader(
            dataset, batch_size=None, num_workers=2, multiprocessing_context=context  # type: ignore[arg-type]
        )  # fmt: skip
        for sample, other in zip(loader, expected, strict=True):
            assert torch.equal(sample.image_CHW, other.image_CHW)
            assert torch.equal(sample.mask_HW, other.mask_HW)
            assert (sample.id, sample.attributes) == (other.id, other.attributes)


def test_only_the_wanted_frame_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, decoded = build(root), []
    real = movi.decode
    monkeypatch.setattr(movi, "decode", lambda data, name: decoded.append(name) or real(data, name))
    dataset[FRAMES + 2]
    assert decoded == [f"{shard(root, 1)}[0]/{part}[2]" for part in ("video", "segmentations")]


# --- where the files are --------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(4))
def test_any_folder_on_the_way_to_the_files_is_a_root(root: Path, steps: int) -> None:
    path = [root, *leaf(root).parents[:2][::-1], leaf(root)][steps]
    dataset = build(path, resolution=SIZE)
    assert len(dataset) == CLIPS * FRAMES
    assert dataset.fingerprint() == build(root).fingerprint()


def test_of_several_sizes_one_is_chosen(root: Path, tfrecord_writer: ModuleType) -> None:
    clips = [tfrecord_writer.clip("c", 0, size=4)]
    tfrecord_writer.write_split(leaf(root, size=4), "c", "validation", clips)
    assert build(root, resolution=4)[0].image_CHW.shape == (3, 4, 4)
    assert build(root, resolution=8)[0].image_CHW.shape == (3, 8, 8)
    assert complaint(lambda: build(root)) == (
        f"MOVi-C is in {root} with 4 and 8 pixels a side; choose one, such as resolution: 4",
        "resolution",
    )
    assert complaint(lambda: build(root, resolution=128)) == (
        (
            f"MOVi-C is in {root} with 4 and 8 pixels a side, not 128; get the files of that size with\n"
            f"  {GSUTIL}/movi_c/128x128/1.0.0/*' FOLDER"
        ),
        "resolution",
    )


def test_a_folder_whose_name_tells_another_size(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    folder = leaf(tmp_path, size=256)
    tfrecord_writer.write_split(folder, "c", "validation", [tfrecord_writer.clip("c", 0)])
    assert complaint(lambda: build(tmp_path, resolution=256)) == (
        f"the frames in {folder} have 8 x 8 pixels, not 256 x 256",
        "resolution",
    )


def test_what_is_not_there_is_told_with_what_is(root: Path) -> None:
    gone, empty = root / "gone", root / "empty"
    empty.mkdir()
    assert complaint(lambda: build(gone)) == (
        f"there is no folder {gone}; give the folder that holds movi_c, or the one that holds movi_c-*.tfrecord-*",
        "root",
    )
    looked = "nor in its folders movi_e/256x256/1.0.0, 256x256/1.0.0 and 1.0.0 (of any size)"
    text = "there are no files movi_e-*.tfrecord-* in"
    assert complaint(lambda: build(empty, variant="e")) == (f"{text} {empty}, {looked}", "root")
    assert complaint(lambda: build(root, variant="e")) == (
        f"{text} {root}, {looked}; there is MOVi-C: choose another variant",
        "variant",
    )


def test_two_versions(root: Path, tfrecord_writer: ModuleType) -> None:
    other = leaf(root).with_name("1.0.1")
    tfrecord_writer.write_split(other, "c", "validation", [tfrecord_writer.clip("c", 0)])
    assert complaint(lambda: build(root)) == (
        f"MOVi-C is in 2 folders; give one of them: {leaf(root)}, {other}",
        "root",
    )
    assert len(build(other)) == FRAMES


def test_splits_that_are_not_there(root: Path, tfrecord_writer: ModuleType) -> None:
    assert complaint(lambda: build(root, "train")) == (
        (
            f"there are no files of the split 'train' of MOVi-C in {leaf(root)} (there are val); get them with\n"
            f"  {GSUTIL}/movi_c/8x8/1.0.0/movi_c-train.tfrecord-*' {leaf(root)}"
        ),
        "splits",
    )
    tfrecord_writer.write_split(leaf(root, "a"), "a", "train", [tfrecord_writer.clip("a", 0)])
    assert complaint(lambda: build(root, "test", variant="a")) == (
        (
            f"there are no files of the split 'test' of MOVi-A in {leaf(root, 'a')} (there are train): it is published "
            "without one; MOVi-C, MOVi-D and MOVi-E have one"
        ),
        "splits",
    )


def test_missing_files_are_named_with_the_way_to_get_them(root: Path, tfrecord_writer: ModuleType) -> None:
    shard(root, 1).unlink()
    name = shard(root, 1).name
    assert complaint(lambda: build(root)) == (
        (
            f"1 of the 2 files of the split 'val' are missing in {leaf(root)}: {name}; get them with\n"
            f"  {GSUTIL}/movi_c/8x8/1.0.0/{name}' {leaf(root)}"
        ),
        "root",
    )
    clips = [tfrecord_writer.clip("c", 0)] * 8
    for path in tfrecord_writer.write_split(leaf(root), "c", "train", clips, shards=8)[1:]:
        path.unlink()
    shown = ", ".join(f"movi_c-train.tfrecord-0000{number}-of-00008" for number in range(1, 6))
    assert complaint(lambda: build(root, "train")) == (
        (
            f"7 of the 8 files of the split 'train' are missing in {leaf(root)}: {shown} and 2 more; get them with\n"
            f"  {GSUTIL}/movi_c/8x8/1.0.0/movi_c-train.tfrecord-*' {leaf(root)}"
        ),
        "root",
    )


def test_files_of_two_copies(root: Path, tfrecord_writer: ModuleType) -> None:
    tfrecord_writer.write_split(leaf(root), "c", "validation", [tfrecord_writer.clip("c", 0)])
    assert complaint(lambda: build(root)) == (
        (
            f"{leaf(root)} holds files movi_c-validation.tfrecord of 1 and 2 in all: they belong to different copies; "
            "keep those of one"
        ),
        "root",
    )


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"splits": []}, "name at least one split, and each once"),
        ({"splits": ["val", "val"]}, "name at least one split, and each once"),
        (
            {"splits": ["train", "val"], "frames_per_clip": {"test": 2}},
            "frames_per_clip names the split 'test'; the splits are train, val",
        ),
    ],
)
def test_settings_that_contradict_each_other(settings: Any, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        MOViConfig.model_validate({"root": "nowhere", **settings})


def test_fingerprint_follows_the_files_of_the_split(root: Path, tfrecord_writer: ModuleType) -> None:
    before = build(root).fingerprint()
    assert build(root, frames_per_clip=1).fingerprint() == before
    tfrecord_writer.write_split(leaf(root), "c", "train", [tfrecord_writer.clip("c", 9)])
    assert build(root).fingerprint() == before
    shard(root).write_bytes(shard(root).read_bytes())
    assert build(root).fingerprint() != before


def test_recognition(root: Path, tfrecord_writer: ModuleType) -> None:
    for path in (root, leaf(root)):
        target = find_target(str(path))
        assert target.data.dataset.config == MOViConfig.model_validate(
            {"root": str(path), "splits": ["val"], "variant": "c", "resolution": SIZE}
        )
        assert (target.name, target.splits) == ("movi", ("val",))
    chosen = select(find_target(str(root), sets=["data.store=off"]).data, "val")
    assert len(chosen) == CLIPS * FRAMES
    tfrecord_writer.write_split(leaf(root, "e"), "e", "validation", [tfrecord_writer.clip("e", 0)])
    with pytest.raises(Exception, match=r"holds data of 'movi' for 2 values of variant \(c, e\)"):
        find_target(str(root))
    assert find_target(str(root), sets=["data.dataset.variant=e"]).data.dataset.name == "movi"
    tfrecord_writer.write_split(leaf(root, size=4), "c", "validation", [tfrecord_writer.clip("c", 0, size=4)])
    with pytest.raises(Exception, match=r"holds data of 'movi' for 2 values of resolution \(4, 8\)"):
        find_target(str(root / "movi_c"))


# --- damage ---------------------------------------------------------------------------------


def test_every_changed_byte_of_a_file_is_noticed(root: Path) -> None:
    whole, chance = shard(root, 1).read_bytes(), random.Random(0)
    for place in [*range(12), *range(len(whole) - 4, len(whole)), *chance.sample(range(len(whole)), 60)]:
        data = bytearray(whole)
        data[place] ^= chance.randrange(1, 256)
        shard(root, 1).write_bytes(data)
        with pytest.raises(DataError) as caught:
            [part[index] for part in [build(root)] for index in range(len(part))]
        assert str(shard(root, 1)) in caught.value.problems[0].path
        assert "checksum" in caught.value.problems[0].reason


def test_a_file_that_ends_anywhere_gives_an_error(root: Path, tfrecord_writer: ModuleType) -> None:
    whole = shard(root, 1).read_bytes()
    ends = [0, len(tfrecord_writer.framed(tfrecord_writer.record(tfrecord_writer.clip("c", 1))))]
    for size in [*ends, *random.Random(0).sample(range(len(whole)), 80), len(whole) - 1]:
        shard(root, 1).write_bytes(whole[:size])
        line = damage(lambda: build(root))
        if size in ends:
            text = (
                f"it holds {int(size > 0)} records, not 2 as dataset_info.json says; download the file again"
            )
            assert line == f"{shard(root, 1)}: {text}"
        else:
            assert line.startswith(f"{shard(root, 1)}[{int(size > ends[1])}]: it is cut off")


def test_without_the_number_of_records_only_an_empty_file_is_noticed_and_a_warning_says_so(
    root: Path,
) -> None:
    assert build(root).cautions == []
    (leaf(root) / "dataset_info.json").unlink()
    assert build(root).cautions == [
        (
            f"{leaf(root)}/dataset_info.json does not tell how many clips each of the 2 files of 'val' has: a file that "
            "ends too early, but between two clips, would not be noticed"
        )
    ]
    shard(root).write_bytes(b"")
    assert damage(lambda: build(root)) == f"{shard(root)}: it holds 0 records, not 1; download the file again"
    for content in ("{", "[]", '{"splits": [{"name": "validation"}]}'):
        (leaf(root) / "dataset_info.json").write_text(content)
        assert "not 1; download" in damage(lambda: build(root))


def test_a_damaged_clip_leaves_the_others(root: Path) -> None:
    data = bytearray(shard(root).read_bytes())
    data[100] ^= 1
    shard(root).write_bytes(data)
    dataset = build(root)
    line = f"{shard(root)}[0]: the checksum of its {len(data) - 16} bytes is wrong: it is damaged"
    assert damage(lambda: dataset[0]) == f"{line}; download the file again"
    assert dataset[FRAMES].attributes["video"] == "1"


def test_clips_that_are_all_damaged(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    [path] = tfrecord_writer.write_split(tmp_path, "c", "train", [b"\x0b"] * 2)
    with pytest.raises(DataError) as caught:
        build(tmp_path, "train")
    assert caught.value.lines() == [
        f"{path}[{row}]: it is no tf.train.Example: byte 0: there is no type 3 of protobuf"
        for row in range(2)
    ]


@pytest.mark.parametrize(
    ("features", "text"),
    [
        ({"metadata__num_instances": None}, "there is no field 'metadata/num_instances'"),
        ({"metadata__num_instances": np.array([1, 2])},
         "field 'metadata/num_instances' is [1, 2]; expected one number of objects"),
        ({"metadata__num_instances": [b"3"]}, "field 'metadata/num_instances' holds bytes values; expected int64"),
        ({"instances__mass": np.ones(2, np.float32)},
         "field 'instances/mass' has 2 values; 3 objects with 1 each have 3"),
        ({"instances__visibility": np.ones(11, int)},
         "field 'instances/visibility' has 11 values; 3 objects with 4 each have 12"),
        ({"instances__positions": np.ones(36, int)}, "field 'instances/positions' holds int64 values; expected float"),
        ({"instances__asset_id": [b"a"]}, "field 'instances/asset_id' has 1 values; 3 objects with 1 each have 3"),
        ({"instances__category": np.array([0, 17, 1])},
         "field 'instances/category' holds the label 17; there are 17, from 0 (Action Figures) to 16 (Toys)"),
        ({"instances__bbox_frames__ragged_row_lengths_0": np.array([4, 4, 4])},
         ("field 'instances/bboxes' has 44 values in 3 rows of 11 boxes, for 11 frames; 3 objects have a row each, "
         "4 values a box")),
    ],
)  # fmt: skip
def test_facts_that_contradict_each_other(
    tmp_path: Path, tfrecord_writer: ModuleType, features: Any, text: str
) -> None:
    file = changed(tmp_path, tfrecord_writer, **features)
    dataset = build(file.parent)
    for read in (lambda: dataset[0], lambda: dataset.attributes(0)):
        assert damage(read).startswith(f"{file}[0]: {text}")


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.zeros((8, 8), np.uint8), "it is a PNG picture, L of 8 bits; a frame is a PNG, RGB of 8 bits"),
        (
            np.zeros((8, 8, 4), np.uint8),
            "it is a PNG picture, RGBA of 8 bits; a frame is a PNG, RGB of 8 bits",
        ),
        (np.zeros((8, 4, 3), np.uint8), "it has 8 x 4 pixels; the frames of this data have 8 x 8"),
    ],
)
def test_frames_of_another_kind(
    tmp_path: Path, tfrecord_writer: ModuleType, pixels: np.ndarray, text: str
) -> None:
    frames = tfrecord_writer.features_of(tfrecord_writer.clip("c", 0))["video"]
    frames[1] = tfrecord_writer.png(pixels)
    file = changed(tmp_path, tfrecord_writer, video=frames)
    dataset = build(file.parent)
    assert damage(lambda: dataset[1]) == f"{file}[0]/video[1]: {text}"
    dataset[0]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            np.zeros((8, 8, 3), np.uint8),
            "it is a PNG picture, RGB of 8 bits; a mask is a PNG, gray of 8 or 16 bits",
        ),
        (np.zeros((4, 8), np.uint8), "it has 4 x 8 pixels; the frames of this data have 8 x 8"),
        (b"no picture", "cannot be read: it is no picture of a known kind"),
    ],
)
def test_masks_of_another_kind(tmp_path: Path, tfrecord_writer: ModuleType, data: Any, text: str) -> None:
    masks = tfrecord_writer.features_of(tfrecord_writer.clip("c", 0))["segmentations"]
    masks[2] = data if isinstance(data, bytes) else tfrecord_writer.png(data)
    file = changed(tmp_path, tfrecord_writer, segmentations=masks)
    assert damage(lambda: build(file.parent)[2]) == f"{file}[0]/segmentations[2]: {text}"


def test_frames_without_masks_and_clips_of_other_lengths(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    first, other = (tfrecord_writer.features_of(tfrecord_writer.clip("c", seed)) for seed in range(2))
    short = {**other, "segmentations": other["segmentations"][1:]}
    both = {**short, "video": other["video"][1:]}
    [path] = tfrecord_writer.write_split(tmp_path, "c", "train", [first, short, both])
    dataset = build(tmp_path, "train")
    for row, text in (
        (1, "it has 4 frames in 'video' and 3 in 'segmentations'"),
        (2, "it has 3 frames; the other clips have 4"),
    ):
        assert damage(lambda row=row: dataset[row * FRAMES]) == f"{path}[{row}]: {text}"


def test_the_published_recipe_reads_the_files(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    """Images squashed to 224, masks at their own 128 pixels, unchanged."""
    clip = tfrecord_writer.clip("c", 0, frames=2, size=128)
    for split in ("train", "validation"):
        tfrecord_writer.write_split(leaf(tmp_path, size=128), "c", split, [clip])
    sets = [f"data.dataset.root={tmp_path}", "data.store=off", "model.encoder.weights=null"]
    spec = prepare(f"{SHIPPED}dinosaur_movi_c", sets=sets)
    for split in ("train", "val"):
        chosen = select(spec.loaded.spec.data, split)
        assert [chosen[index].id for index in range(len(chosen))] == [
            f"{split}_00000_00",
            f"{split}_00000_01",
        ]
        sample = chosen[1]
        assert sample.mask_HW is not None
        assert sample.image_CHW.shape == (3, 224, 224)
        np.testing.assert_array_equal(sample.mask_HW.numpy(), clip["segmentations"][1])


def test_flow_and_depth_are_what_was_written(root: Path, tfrecord_writer: ModuleType) -> None:
    dataset = build(root, frames_per_clip=2)
    for index in (3, 0, 1, 5):
        clip, frame = tfrecord_writer.clip("c", index // 2), 2 * (index % 2)
        flow, depth = dataset.flow(index), dataset.depth(index)
        assert (flow.dtype, depth.dtype) == (torch.float32, torch.float32)
        wanted = clip["backward_flow"][frame] / 65535 * (2.25 + 3.5) - 3.5
        np.testing.assert_allclose(flow.numpy(), wanted, atol=1e-6)
        wanted = clip["depth"][frame] / 65535 * (21.75 - 4.5) + 4.5
        np.testing.assert_allclose(depth.numpy(), wanted, atol=1e-5)
    flow[:] = 7.0
    assert not torch.equal(dataset.flow(5), flow), "what is given is a copy"


@pytest.mark.parametrize(
    ("features", "name", "text"),
    [
        ({"backward_flow": None}, "flow", ": there is no field 'backward_flow'"),
        (
            {"backward_flow": np.zeros(6, np.int64)},
            "flow",
            ": field 'backward_flow' has 6 values; 4 frames of",
        ),
        (
            {"metadata__backward_flow_range": np.zeros(1, np.float32)},
            "flow",
            "_flow_range' is [0.0]; expected two",
        ),
        ({"depth": None}, "depth", ": there is no field 'depth'"),
        ({"metadata__depth_range": None}, "depth", ": there is no field 'metadata/depth_range'"),
    ],
)
def test_damaged_flow_and_depth_are_named(
    root: Path, tfrecord_writer: ModuleType, features: Any, name: str, text: str
) -> None:
    file = changed(root, tfrecord_writer, **features)
    line = damage(lambda: getattr(build(file.parent), name)(1))
    assert line.startswith(f"{file}[0]")
    assert text in line


def test_depth_of_eight_bits_is_no_depth(root: Path, tfrecord_writer: ModuleType) -> None:
    pictures = [tfrecord_writer.png(np.zeros((8, 8), np.uint8))] * FRAMES
    file = changed(root, tfrecord_writer, depth=pictures)
    line = damage(lambda: build(file.parent).depth(1))
    assert line == f"{file}[0]/depth[1]: it is a PNG picture, L of 8 bits; depth is a PNG, gray of 16 bits"


def test_objects_can_be_grouped_and_probed(tmp_path: Path, tfrecord_writer: ModuleType) -> None:
    clips = [tfrecord_writer.clip("a", seed) for seed in range(12)]
    tfrecord_writer.write_split(tmp_path, "a", "train", clips)
    dataset = build(tmp_path, "train", variant="a", frames_per_clip=1)
    attributes = [dataset.attributes(index) for index in range(len(dataset))]
    assert set(traits(attributes[0], 1)) == {"material", "shape", "size"}
    found, left_out = choose_attributes(
        [one["objects"] for one in attributes], ProbeSettings(), lambda column, row: (column / 2, row / 2)
    )
    kinds = {one.name: one.kind for one in found}
    names = ("shape", "size", "material", "color_name")
    assert kinds == {
        **dict.fromkeys(names, "categorical"),
        **dict.fromkeys(("color", "mass", "3d_coords", "pixel_coords", "visibility", "bbox"), "numerical"),
    }
    assert set(left_out) == {"index"}


def test_settings_say_what_the_data_is(root: Path) -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("movi", 1, [])
    limits = {one: MOViConfig.model_validate({"root": "a", "variant": one}).object_limit for one in "acdef"}
    assert limits == {"a": 10, "c": 10, "d": 23, "e": 23, "f": 23}
    assert MOViConfig.model_validate({"root": "a", "resolution": 128}).picture_size == (128, 128)
    assert MOViConfig.model_validate({"root": "a"}).picture_size is None


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_reads_what_the_tests_write(root: Path) -> None:
    tensorflow: Any = pytest.importorskip("tensorflow")
    [data] = tensorflow.data.TFRecordDataset(str(shard(root))).as_numpy_iterator()
    features = tensorflow.train.Example.FromString(data).features.feature
    assert len(features["video"].bytes_list.value) == FRAMES
    assert list(features["metadata/num_instances"].int64_list.value) == [OBJECTS]
