"""Laws of `multi_object_hdf5`: two layouts of one thing read alike; complaints in full."""

import json
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slotlab.framework.contracts import VOID, DataError, Dataset, DatasetContext
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.selection import select
from slotlab.plugins.datasets.multi_object_hdf5 import (
    MultiObjectHDF5Config,
    MultiObjectHDF5Dataset,
    merge_masks,
    open_files,
    slotlab_datasets,
)
from slotlab.registry import ComponentError

h5py = pytest.importorskip("h5py")

N, K, H, W = 5, 4, 6, 8
Arrays = dict[str, Any]


def build(path: Path, **settings: Any) -> MultiObjectHDF5Dataset:
    config = MultiObjectHDF5Config.model_validate({"path": str(path), **settings})
    found = open_files(config, DatasetContext(split="all", image_size=(8, 8)))
    assert isinstance(found, MultiObjectHDF5Dataset)
    return found


def scenes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise, and labels 0 to K - 1 of which the last is never seen."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (N, H, W, 3), dtype=np.uint8)
    labels = rng.integers(0, K - 1, (N, H, W), dtype=np.uint8)
    labels[:, 0, : K - 1] = range(K - 1)
    return images, labels


def deepmind(images: np.ndarray, labels: np.ndarray) -> Arrays:
    """As the TFRecords have it, and the converters that keep it: a mask each, background first."""
    masks = (labels[:, None] == np.arange(K)[None, :, None, None]).astype(np.uint8)[..., None] * 255
    return {
        "image": images,
        "mask": masks,
        "visibility": np.tile(np.array([1.0] * (K - 1) + [0.0], np.float32), (N, 1)),
        "shape": np.arange(N * K, dtype=np.uint8).reshape(N, K),
        "pixel_coords": np.arange(N * K * 3, dtype=np.float32).reshape(N, K, 3),
        "x": np.full((N, K, 1), np.nan, np.float32),
    }


def write(path: Path, arrays: Arrays, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **options)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "clevr.hdf5", deepmind(*scenes()))


def complaint(path: Path, **settings: Any) -> tuple[str, str | None]:
    with pytest.raises(ComponentError) as caught:
        build(path, **settings)
    return str(caught.value), caught.value.field


def test_samples_are_what_was_written(file: Path) -> None:
    images, labels = scenes()
    dataset = build(file)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == N
    for index in range(N):
        sample = dataset[index]
        assert sample.mask_HW is not None
        assert (sample.image_CHW.dtype, sample.mask_HW.dtype) == (torch.uint8, torch.uint8)
        np.testing.assert_array_equal(sample.image_CHW.permute(1, 2, 0).numpy(), images[index])
        np.testing.assert_array_equal(sample.mask_HW.numpy(), labels[index])
        assert torch.equal(dataset.mask(index), sample.mask_HW)
        assert dataset.attributes(index) == sample.attributes
        assert (sample.id, sample.path) == (f"clevr_00000{index}", f"{file}[{index}]")
    with pytest.raises(IndexError):
        dataset[N]


def test_facts_of_the_visible_objects_belong_to_their_masks(file: Path) -> None:
    attributes = build(file)[1].attributes
    assert attributes == {
        "num_objects": 2,
        "objects": [
            {"index": 1, "pixel_coords": [15.0, 16.0, 17.0], "shape": 5, "x": None},
            {"index": 2, "pixel_coords": [18.0, 19.0, 20.0], "shape": 6, "x": None},
        ],
    }
    json.dumps(attributes, allow_nan=False)


def test_every_layout_of_the_masks_reads_alike(tmp_path: Path, file: Path) -> None:
    images, labels = scenes()
    arrays = deepmind(images, labels)
    layouts = [
        labels,
        labels[..., None],
        labels.astype(np.int64),
        arrays["mask"][..., 0],
        arrays["mask"].astype(bool),
        arrays["mask"] // 255,
    ]
    expected = [build(file)[index] for index in range(N)]
    for number, masks in enumerate(layouts):
        dataset = build(write(tmp_path / f"{number}.h5", arrays | {"mask": masks}))
        for index, sample in enumerate(expected):
            assert sample.mask_HW is not None
            assert torch.equal(dataset.mask(index), sample.mask_HW)
            assert dataset.attributes(index) == sample.attributes


def test_without_visibility_objects_are_those_in_the_mask(tmp_path: Path) -> None:
    arrays = deepmind(*scenes())
    del arrays["visibility"]
    attributes = build(write(tmp_path / "a.h5", arrays)).attributes(0)
    assert [entry["index"] for entry in attributes["objects"]] == [1, 2]
    assert [entry["shape"] for entry in attributes["objects"]] == [1, 2]


def test_many_labels_and_many_backgrounds(tmp_path: Path) -> None:
    images, labels = scenes()
    path = write(tmp_path / "a.h5", {"image": images, "mask": labels.astype(np.int32) * 200})
    assert build(path).mask(0).dtype == torch.int32
    assert np.unique(build(path).mask(0).numpy()).tolist() == [0, 200, 400]
    assert np.unique(build(path, backgrounds=201).mask(0).numpy()).tolist() == [0, 400]
    assert build(path, backgrounds=201).attributes(0)["num_objects"] == 1


@pytest.mark.parametrize(("largest", "dtype"), [(255, torch.uint8), (256, torch.int32)])
def test_masks_are_as_wide_as_their_largest_label(tmp_path: Path, largest: int, dtype: torch.dtype) -> None:
    images, labels = scenes()
    wide = np.where(labels == 2, largest, labels.astype(np.int32))
    mask_HW = build(write(tmp_path / "a.h5", {"image": images, "mask": wide})).mask(0)
    assert mask_HW.dtype == dtype
    np.testing.assert_array_equal(mask_HW.numpy(), wide[0])


def test_what_is_background_is_no_object_though_it_is_visible(file: Path) -> None:
    attributes = build(file, backgrounds=2).attributes(0)
    assert ([one["index"] for one in attributes["objects"]], attributes["num_objects"]) == ([2], 1)


def test_gray_pictures_become_rgb(tmp_path: Path) -> None:
    images, labels = scenes()
    sample = build(write(tmp_path / "a.h5", {"image": images[..., :1], "mask": labels}))[2]
    for channel in range(3):
        np.testing.assert_array_equal(sample.image_CHW[channel].numpy(), images[2, ..., 0])


def test_explicit_names_win_and_may_lie_in_groups(tmp_path: Path) -> None:
    images, labels = scenes()
    arrays = {"image": images, "mask": labels, "val/pictures": images[::-1], "val/truth": labels[::-1]}
    path = write(tmp_path / "a.h5", arrays)
    dataset = build(path, image="val/pictures", mask="val/truth")
    np.testing.assert_array_equal(dataset[0].image_CHW.permute(1, 2, 0).numpy(), images[-1])
    np.testing.assert_array_equal(dataset.mask(0).numpy(), labels[-1])


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_merging_masks_is_the_inverse_of_taking_them_apart(seed: int, number: int) -> None:
    labels = np.random.default_rng(seed).integers(0, number, (4, 5))
    apart = labels == np.arange(number)[:, None, None]
    np.testing.assert_array_equal(merge_masks(apart), labels)
    np.testing.assert_array_equal(merge_masks(apart[1:] * 255) + 1, np.maximum(labels, 1))


def test_files_of_a_folder_are_one_after_the_other(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        write(tmp_path / f"part{number}.h5", deepmind(*scenes(number)))
    dataset = build(tmp_path)
    assert len(dataset) == 3 * N
    assert [dataset[index].id for index in (0, N - 1, N, 2 * N, 3 * N - 1)] == [
        "part1_000000",
        "part1_000004",
        "part2_000000",
        "part10_000000",
        "part10_000004",
    ]
    np.testing.assert_array_equal(dataset.mask(N + 3).numpy(), scenes(2)[1][3])


def test_a_broken_file_of_a_folder_is_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", deepmind(*scenes()))
    (tmp_path / "b.h5").write_bytes(b"no")
    dataset = build(tmp_path)
    assert len(dataset) == N
    assert [str(problem) for problem in dataset.problems] == [f"{tmp_path}/b.h5: it is no HDF5 file"]


def _mask_sum(dataset: MultiObjectHDF5Dataset, index: int, found: Any) -> None:
    found.put(int(dataset.mask(index).sum()))


def test_travels_to_other_processes_after_it_was_read(file: Path) -> None:
    dataset = build(file)
    expected = int(dataset.mask(3).sum())
    assert int(pickle.loads(pickle.dumps(dataset)).mask(3).sum()) == expected
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    children = [context.Process(target=_mask_sum, args=(dataset, 3, found)) for _ in range(2)]
    for child in children:
        child.start()
    assert [found.get(timeout=60) for _ in children] == [expected] * 2
    for child in children:
        child.join()
    assert int(dataset.mask(3).sum()) == expected


def test_fingerprint_follows_the_files(tmp_path: Path, file: Path) -> None:
    before = build(file).fingerprint()
    assert build(file).fingerprint() == before
    write(file, deepmind(*scenes(1)))
    assert build(file).fingerprint() != before


def test_clevr6_crops_and_resizes_as_computed_by_hand(tmp_path: Path) -> None:
    """Row r of the result is at row 29 + 1.5 r + 0.25 of the picture, column c at 64 + 1.5 c + 0.25."""
    rows, columns = np.mgrid[:240, :320]
    image = np.stack([rows, np.clip(columns - 64, 0, 255), np.zeros_like(rows)], -1).astype(np.uint8)
    labels = np.zeros((4, 240, 320), np.uint8)
    for objects, mask in zip((6, 7, 3, 6), labels, strict=True):
        for number in range(1, objects + 1):
            mask[29, 64 + 3 * number] = number
    labels[3, 0, 0] = 7  # outside the crop, and counted
    write(tmp_path / "clevr.hdf5", {"image": np.stack([image] * 4), "mask": labels})
    sets = ["data.filter={max_objects: 6, count: mask_colors}", "data.store=off"]
    target = find_target(str(tmp_path), protocol="clevr6", sets=sets)
    chosen = select(target.data, "train")
    assert [chosen[index].id for index in range(len(chosen))] == ["clevr_000000", "clevr_000002"]
    sample = chosen[0]
    assert sample.mask_HW is not None
    assert sample.image_CHW.shape == (3, 128, 128)
    # 29.25, 30.75, 219.75 and 0.25, 1.75, 190.75, rounded
    assert sample.image_CHW[0, [0, 1, 127], 5].tolist() == [29, 31, 220]
    assert sample.image_CHW[1, 5, [0, 1, 127]].tolist() == [0, 2, 191]
    # nearest takes row 29 + floor(1.5 r) and column 64 + floor(1.5 c): object n at 3 n is column 2 n
    assert sample.mask_HW[0, :14].tolist() == [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]
    assert sample.mask_HW[1:].sum() == 0


def test_what_is_no_hdf5_or_is_not_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone.h5"
    assert complaint(gone) == (f"there is no file or folder {gone}; give an HDF5 file", "path")
    assert complaint(tmp_path) == (f"no files that end in .h5 or .hdf5 in {tmp_path}", "path")
    gone.write_bytes(b"not it")
    assert complaint(gone) == (f"{gone}: it is no HDF5 file", "path")


def test_a_file_that_is_cut_off(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    message, field = complaint(file)
    assert field == "path"
    assert message == (
        f"{file}: it is cut off (truncated file: eof = {len(whole) // 2}, sblock->base_addr = 0, "
        f"stored_eof = {len(whole)}); convert or download it again"
    )


def test_a_chunk_that_is_damaged_is_told_with_its_row(tmp_path: Path) -> None:
    images, labels = scenes()
    path = write(tmp_path / "a.h5", {"image": images, "mask": labels}, chunks=True, fletcher32=True)
    with h5py.File(path) as opened:
        place = opened["image"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError) as caught:
        build(path)[0]
    [problem] = caught.value.problems
    assert problem.path == f"{path}[0]"
    assert problem.reason.startswith("array 'image' cannot be read: Can't synchronously read data")
    build(path).mask(0)


def test_missing_arrays_list_those_that_are_there(tmp_path: Path) -> None:
    images, labels = scenes()
    path = write(tmp_path / "a.h5", {"picture": images, "mask": labels})
    there = f"mask uint8 [{N}, {H}, {W}], picture uint8 [{N}, {H}, {W}, 3]"
    assert complaint(path) == (
        f"{path}: none of its arrays is called image or images or imgs; name the right one (arrays: {there})",
        "image",
    )
    assert complaint(path, image="pictures") == (
        f"{path}: there is no array 'pictures'; did you mean 'picture'? (arrays: {there})",
        "image",
    )


def test_arrays_of_the_wrong_kind_or_shape(tmp_path: Path) -> None:
    images, labels = scenes()
    arrays = deepmind(images, labels)
    masks = f"masks are whole numbers of shape [{N}, {H}, {W}] of indices or [{N}, K, {H}, {W}], each with 1 at the end or not"
    cases: list[tuple[str, np.ndarray, str]] = [
        ("image", images.astype(np.float32), f"float32 [{N}, {H}, {W}, 3]; pictures are uint8 of shape [N, rows, columns, 3]"),
        ("image", images.transpose(0, 3, 1, 2), f"uint8 [{N}, 3, {H}, {W}]; pictures are uint8 of shape [N, rows, columns, 3]"),
        ("mask", labels[1:], f"uint8 [{N - 1}, {H}, {W}]; {masks}"),
        ("mask", labels.astype(np.float32), f"float32 [{N}, {H}, {W}]; {masks}"),
        ("mask", labels[:, 1:], f"uint8 [{N}, {H - 1}, {W}]; {masks}"),
        ("visibility", np.ones((N, K + 1)), f"float64 [{N}, {K + 1}]; it is numbers of shape [{N}, {K}]"),
        ("visibility", np.ones(N), f"float64 [{N}]; it is numbers of shape [{N}, {K}]"),
    ]  # fmt: skip
    for number, (name, values, text) in enumerate(cases):
        path = write(tmp_path / f"{number}.h5", arrays | {name: values})
        assert complaint(path) == (f"{path}: array '{name}' is {text}", name)


def test_masks_that_overlap(tmp_path: Path) -> None:
    arrays = deepmind(*scenes())
    arrays["mask"][1, 3, 2, 4:6] = 255
    owner = scenes()[1][1, 2, 4]
    path = write(tmp_path / "a.h5", arrays)
    build(path)[0]
    for read in (build(path).mask, build(path).__getitem__):
        with pytest.raises(DataError) as caught:
            read(1)
        assert str(caught.value) == (
            f"{path}[1]: its masks overlap: the pixel in row 2, column 4 belongs to {owner} and 3 (2 pixels are "
            "like that); masks must show the parts that are seen, or be one array of indices (N, H, W)"
        )


def test_negative_indices(tmp_path: Path) -> None:
    images, labels = scenes()
    path = write(tmp_path / "a.h5", {"image": images, "mask": labels.astype(np.int16) - 1})
    with pytest.raises(DataError) as caught:
        build(path).mask(0)
    assert str(caught.value) == f"{path}[0]: its mask has values from -1 to 1; indices begin at 0"


def test_component_is_offered() -> None:
    [component] = slotlab_datasets()
    assert (component.name, component.version, component.complaints()) == ("multi_object_hdf5", 1, [])


# --- without masks, with void, of thousands of arrays ---------------------------------------


def opened(path: Path, **settings: Any) -> Any:
    config = MultiObjectHDF5Config.model_validate({"path": str(path), **settings})
    return open_files(config, DatasetContext(split="all", image_size=(8, 8)))


def test_pictures_without_masks_are_read(tmp_path: Path) -> None:
    images, _ = scenes()
    path = write(tmp_path / "a.h5", {"image": images, "other": images[..., 0]})
    dataset = opened(path)
    assert len(dataset) == N
    assert not hasattr(dataset, "mask")
    assert dataset[1].mask_HW is None
    np.testing.assert_array_equal(dataset[1].image_CHW.permute(1, 2, 0).numpy(), images[1])
    [caution] = dataset.cautions
    assert caution == (
        f"{path}: none of its arrays is called mask or masks or segmentation or segmentations: it is read without "
        "masks, and nothing can be scored against a truth; if there are masks, name their array by mask "
        f"(arrays: image uint8 [{N}, {H}, {W}, 3], other uint8 [{N}, {H}, {W}])"
    )
    assert opened(path, mask="other")[0].mask_HW is not None


def test_a_file_without_masks_among_others_is_told(tmp_path: Path) -> None:
    images, labels = scenes()
    write(tmp_path / "a.h5", {"image": images})
    write(tmp_path / "b.h5", {"image": images, "mask": labels})
    dataset = opened(tmp_path)
    assert list(dataset.ids) == [f"b_00000{row}" for row in range(N)]
    [problem] = dataset.problems
    assert problem.path == f"{tmp_path}/a.h5"
    assert "and other files have masks (arrays: image uint8" in problem.reason


def test_files_of_one_stem_have_ids_of_their_own(tmp_path: Path) -> None:
    for name in ("a.h5", "a.hdf5"):
        write(tmp_path / name, {"image": scenes()[0]})
    assert len(set(opened(tmp_path).ids)) == 2 * N


def test_void_of_masks_of_indices(tmp_path: Path) -> None:
    images, labels = scenes()
    labels[:, -1] = 255
    path = write(tmp_path / "a.h5", {"image": images, "mask": labels})
    plain, void = opened(path), opened(path, void=255)
    assert plain[0].attributes["num_objects"] == K - 1
    assert void[0].attributes["num_objects"] == K - 2
    np.testing.assert_array_equal(
        void.mask(0).numpy(), np.where(labels[0] == 255, VOID, labels[0].astype(int))
    )
    negative = write(
        tmp_path / "b.h5", {"image": images, "mask": np.where(labels == 255, -1, labels.astype(np.int16))}
    )
    np.testing.assert_array_equal(opened(negative, void=-1).mask(0).numpy(), void.mask(0).numpy())
    with pytest.raises(ComponentError, match="void is a value of masks that hold indices"):
        opened(write(tmp_path / "c.h5", deepmind(*scenes())), void=255)


@pytest.mark.parametrize("groups", [3000])
def test_messages_about_many_arrays_are_short(tmp_path: Path, groups: int) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for number in range(groups):
            file.create_dataset(f"scene_{number:05d}/{'x' * 100}", data=np.zeros(2))
        file["pictures"] = scenes()[0]
    text, field = complaint(path)
    assert field == "image"
    assert len(text) < 1200
    assert f"pictures uint8 [{N}, {H}, {W}, 3]" in text
    assert f"and {groups + 1 - 8:,} more" in text


def test_clips_are_told_apart_from_pictures(tmp_path: Path) -> None:
    clips = np.zeros((2, 3, H, W, 3), np.uint8)
    path = write(tmp_path / "movi.h5", {"video": clips, "segmentations": clips[..., :1]})
    text, _ = complaint(path)
    assert text.endswith(
        "; video holds clips of 3 frames, and pictures are read one by one: write it and its masks with the first "
        "two axes as one, [6, ...]"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.float32(3),
        np.zeros(0, np.uint8),
        np.zeros((N, H, W), np.float64),
        np.array([b"text"] * N),
        np.zeros((N, 2)),
    ],
)
@pytest.mark.parametrize("name", ["image", "mask", "visibility"])
def test_arrays_of_any_shape_and_type_end_in_words(tmp_path: Path, name: str, values: Any) -> None:
    images, labels = scenes()
    path = write(tmp_path / "a.h5", {"image": images, "mask": labels} | {name: values})
    try:
        dataset = opened(path)
    except ComponentError as error:
        assert error.field == name  # noqa: PT017
    else:
        assert name == "visibility"
        assert dataset[0].attributes["num_objects"] <= 2
