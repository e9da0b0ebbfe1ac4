"""Laws of inspection: numbers as computed one by one, whatever the processes; every problem at once."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slotlab.framework.contracts import DataProblem, Sample
from slotlab.framework.data.inspection.findings import Inspection, inspect_store, inspect_target
from slotlab.framework.data.inspection.statistics import PreparedImage, measure, read_all
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.selection import select
from slotlab.framework.scenes.clevrtex_writer import write_scene
from slotlab.registry import SlotlabError

SHARED = Path(os.environ.get("SLOTLAB_SHARED", Path(__file__).resolve().parents[5] / "shared")) / "data"
SAMPLE = SHARED / "clevrtex_sample"
needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f"no sample of CLEVRTex at {SAMPLE}; set SLOTLAB_SHARED"
)
FULL = "clevrtex_full"


def write_tree(root: Path, count: int = 40, seed: int = 0) -> Path:
    """Scenes of noise with 3 to 6 objects, of which the first lies outside the crop of every third."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        mask = np.zeros((240, 320), np.uint8)
        for number in range(1, 4 + index % 4):
            column = 0 if number == 1 and index % 3 == 0 else 60 + 20 * number
            mask[40 : 140 + index, column : column + 15] = number
        objects = [{"shape": "cube"}] * (3 + index % 4)
        image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        write_scene(root, "full", index, image, mask, None, {"objects": objects, "ground_material": "soil"})
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    shutil.copytree(tree, tmp_path / "tree")
    return tmp_path / "tree"


def inspect(what: Path | str, split: str | None = None, workers: int = 0, **options: Any) -> Inspection:
    target = find_target(str(what), **options)
    return inspect_target(target, split, workers=workers, report=lambda done, total: None)


def scene(root: Path, index: int, ending: str = ".png") -> Path:
    return root / FULL / "0" / f"CLEVRTEX_full_{index:06d}{ending}"


def test_numbers_are_those_computed_one_by_one(tree: Path) -> None:
    part = inspect(tree).result["splits"]["all"]
    pictures, seen = [], []
    for index in range(40):
        with Image.open(scene(tree, index)) as picture, Image.open(scene(tree, index, "_flat.png")) as mask:
            box = (64, 24, 256, 216)
            small = picture.convert("RGB").crop(box).resize((128, 128), Image.Resampling.BILINEAR)
            pictures.append(np.asarray(small, np.float64) / 255)
            seen.append(
                [
                    3 + index % 4,
                    len(np.unique(np.asarray(mask))) - 1,
                    len(np.unique(np.asarray(mask.crop(box)))) - 1,
                ]
            )
    np.testing.assert_allclose(part["mean"], np.mean(pictures, (0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(part["deviation"], np.std(pictures, (0, 1, 2)), rtol=1e-12)
    for column, counting in enumerate(("metadata", "mask_colors", "visible")):
        numbers, times = np.unique([row[column] for row in seen], return_counts=True)
        assert part["objects"][counting] == dict(zip(map(str, numbers.tolist()), times.tolist(), strict=True))
    assert part["objects"]["visible"] != part["objects"]["mask_colors"] == part["objects"]["metadata"]
    assert (part["images"], part["broken"], part["sizes"], part["most_labels"]) == (40, 0, {"320x240": 40}, 7)


def test_the_number_of_processes_does_not_matter_and_the_result_is_json(copy: Path) -> None:
    scene(copy, 21).write_bytes(b"no")
    scene(copy, 30, ".json").write_text("{}")
    results = [inspect(copy, workers=workers).result for workers in (0, 1, 2)]
    assert results[0] == results[1] == results[2]
    assert json.loads(json.dumps(results[0], allow_nan=False)) == results[0]


def test_splits_are_counted_and_each_is_read_alone(tree: Path) -> None:
    whole = inspect(tree, sets=["data.filter={max_objects: 4, count: metadata}"]).result
    assert whole["listed"] == {"train": 32, "val": 4, "test": 4, "all": 40}
    assert whole["splits"]["all"]["images"] == 20
    part = inspect(tree, "val").result
    assert list(part["splits"]) == ["val"]
    assert part["splits"]["val"]["images"] == 4
    assert part["protocol"] == "clevrtex-official"


def test_a_filter_that_comes_first_moves_the_splits(tree: Path) -> None:
    sets = ["data.filter={max_objects: 4, count: metadata}", "data.protocol.splits={few: [0, 6]}"]
    assert list(inspect(tree, "few", sets=sets).parts[0].readable) == [0, 1, 4, 5]
    moved = inspect(tree, "few", sets=[*sets, "data.protocol.filter_first=true"])
    assert list(moved.parts[0].readable) == [0, 1, 4, 5, 8, 9]


def test_a_spec_is_inspected_in_both_its_splits(
    write: Callable[[str, str], Path], base: str, tree: Path
) -> None:
    spec = base.replace("{name: scenes, max_objects: 6}", f"{{name: clevrtex, root: {tree}}}")
    write("mine.yaml", spec)
    result = inspect("mine.yaml").result
    assert {name: part["images"] for name, part in result["splits"].items()} == {"train": 32, "val": 4}
    assert (result["name"], result["protocol"], result["image_size"]) == (
        "small",
        "whole (image_size 16)",
        [16, 16],
    )


def test_own_splits_and_own_pictures(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        (tmp_path / split).mkdir()
        for index in range(count):
            Image.new("RGB", (9 + index, 8), (51, 0, 255)).save(tmp_path / split / f"{index}.png")
    result = inspect(tmp_path).result
    assert result["listed"] == {"train": 3, "val": 2}
    train = result["splits"]["train"]
    assert train["sizes"] == {"9x8": 1, "10x8": 1, "11x8": 1}
    assert (train["mean"], train["deviation"]) == ([0.2, 0.0, 1.0], [0.0, 0.0, 0.0])
    assert train["objects"] == {key: {"unknown": 3} for key in ("metadata", "mask_colors", "visible")}
    assert train["most_labels"] is None
    sets = ["data.filter={max_objects: 3, count: visible}"]
    filtered = inspect(tmp_path, "val", sets=sets).result
    text = "the data does not tell the number of objects by 'visible', as the filter wants"
    assert filtered["problems"] == [{"path": "image_folder", "reason": text}]


def test_every_broken_file_is_found_in_one_pass(copy: Path) -> None:
    whole = scene(copy, 3).read_bytes()
    scene(copy, 0).write_bytes(whole[: len(whole) // 2])
    scene(copy, 1).write_bytes(b"")
    Image.new("RGB", (320, 240)).save(scene(copy, 2, "_flat.png"))
    Image.new("RGB", (300, 240)).save(scene(copy, 3))
    scene(copy, 4, ".json").write_text("{")
    scene(copy, 5, ".json").write_text('{"objects": 3}')
    labels = Image.fromarray(np.arange(240 * 320, dtype=np.int64).reshape(240, 320).astype(np.uint8))
    labels.save(scene(copy, 6, "_flat.png"))
    scene(copy, 7, "_flat.png").unlink()
    scene(copy, 8, ".json").unlink()
    found = inspect(copy, workers=2)
    problems = {Path(one["path"]).name: one["reason"] for one in found.result["problems"]}
    stem = "CLEVRTEX_full_00000"
    assert problems == {
        f"{stem}7.png": f"{stem}7_flat.png is missing",
        f"{stem}8.png": f"{stem}8.json is missing",
        f"{stem}0.png": "cannot be read: image file is truncated",
        f"{stem}1.png": "cannot be read: it is no picture of a known kind",
        f"{stem}2_flat.png": "its values are not object indices but RGB colors; use a palette PNG",
        f"{stem}3.png": "it has 300x240 pixels, not 320x240 as picture_size says",
        f"{stem}4.json": (
            "cannot be read as JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
        ),
        f"{stem}5.json": "it has no list 'objects' with a mapping for each object",
        f"{stem}6.png": "its mask has 256 values, the protocol allows 11",
    }
    names = [Path(one["path"]).name for one in found.result["problems"]]
    assert names[:2] == [f"{stem}7.png", f"{stem}8.png"]  # of the listing, first
    assert names[2:] == sorted(names[2:])
    part = found.result["splits"]["all"]
    assert (part["images"], part["broken"], len(found.parts[0].readable)) == (38, 7, 31)


def test_all_broken(copy: Path) -> None:
    for path in (copy / FULL / "0").glob("*_flat.png"):
        path.write_bytes(b"no")
    result = inspect(copy).result
    assert len(result["problems"]) == 40
    part = result["splits"]["all"]
    assert (part["broken"], part["mean"], part["deviation"], part["sizes"]) == (40, None, None, {})


class Careless:
    """A dataset whose own code fails."""

    def read(self, indices: Sequence[int]) -> list[PreparedImage]:
        if 1 in indices:
            raise IndexError("shape")
        image = np.zeros((3, 2, 2), np.uint8)
        return [prepared(image, None)] * len(indices)


def test_a_datasets_own_failure_is_a_problem_too() -> None:
    found = read_all(Careless(), range(3), 0, lambda done, total: None)
    assert list(found.measured) == [0, 2]
    assert found.bad == {1: (DataProblem("picture 1", "cannot be read: IndexError: shape"),)}


def test_generated_pictures_are_inspected_as_they_are_trained_on(base: str) -> None:
    sets = ["data.dataset.num_train=20", "data.dataset.num_val=3"]
    target = find_target("spec.yaml", sets=sets)
    found = inspect("spec.yaml", sets=sets)
    chosen = select(target.data, "train")
    for position in (0, 19):
        [shown] = found.parts[0].items.read([position])
        sample = chosen[position]
        assert sample.mask_HW is not None
        assert shown.sample.mask_HW is not None
        assert shown.sample.id == sample.id
        assert torch.equal(shown.sample.image_CHW, sample.image_CHW)
        assert torch.equal(shown.sample.mask_HW.long(), sample.mask_HW.long())
        assert shown.counts["metadata"] == sample.attributes["num_objects"]
    part = found.result["splits"]["train"]
    assert (part["images"], part["sizes"], part["fingerprint"]) == (20, {"16x16": 20}, "generated")


def prepared(image: np.ndarray, mask: np.ndarray | None) -> PreparedImage:
    truth = None if mask is None else torch.from_numpy(mask)
    return PreparedImage(Sample(id="a", image_CHW=torch.from_numpy(image), mask_HW=truth), {}, None)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3 * 4 * 5 - 1), st.integers(0, 4 * 5 - 1))
def test_a_digest_tells_pixels_and_labels_apart_and_not_their_type(seed: int, pixel: int, label: int) -> None:
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8), rng.integers(0, 9, (4, 5))
    digest = measure(prepared(image, mask)).digest
    assert measure(prepared(image.copy("F"), mask.astype(np.uint8))).digest == digest
    other, relabeled = image.copy(), mask.copy()
    other.flat[pixel] ^= 1
    relabeled.flat[label] += 1
    digests = {measure(prepared(*pair)).digest for pair in ((other, mask), (image, relabeled), (image, None))}
    assert len(digests | {digest}) == 4


def test_the_checksum_depends_on_the_order(copy: Path) -> None:
    before = inspect(copy).result["splits"]["all"]
    for ending in (".png", "_flat.png", ".json"):
        first, last, spare = scene(copy, 0, ending), scene(copy, 39, ending), copy / "spare"
        first.rename(spare)
        last.rename(first)
        spare.rename(last)
    after = inspect(copy).result["splits"]["all"]
    assert after["checksum"] != before["checksum"]
    assert after["fingerprint"] != before["fingerprint"]
    assert {key: after[key] for key in ("mean", "deviation", "objects")} == {
        key: before[key] for key in ("mean", "deviation", "objects")
    }


def test_a_packed_store_gives_the_same_numbers_as_its_files(copy: Path, tmp_path: Path) -> None:
    from slotlab.framework.api.packing import pack_target

    scene(copy, 5).write_bytes(b"no")
    packed = pack_target(str(copy), stores=tmp_path / "stores", on_error="skip", workers=0)
    [store] = (tmp_path / "stores").iterdir()
    assert packed["stores"]
    found = inspect_store(store, workers=2, report=lambda done, total: None).result
    files = inspect(copy).result
    expected = files["splits"]["all"] | {"sizes": {}}
    assert found["splits"] == {"all": expected}
    assert found["problems"] == files["problems"]
    assert (found["dataset"], found["image_size"]) == ("clevrtex", [128, 128])


def test_unknown_split(tree: Path) -> None:
    with pytest.raises(SlotlabError) as caught:
        inspect(tree, "tran")
    assert str(caught.value) == (
        "there is no split 'tran'; did you mean 'train'? (splits: train, val, test, all)"
    )


@needs_sample
def test_the_sample_has_no_problems() -> None:
    found = inspect(SAMPLE)
    part = found.result["splits"]["all"]
    assert (found.result["problems"], part["images"], part["sizes"]) == ([], 240, {"320x240": 240})
    assert part["objects"]["metadata"] == part["objects"]["mask_colors"]
    assert found.result["listed"] == {"train": 192, "val": 24, "test": 24, "all": 240}
    six = inspect(SAMPLE, sets=["data.filter={max_objects: 6, count: metadata}"]).result["splits"]["all"]
    assert six["images"] == sum(part["objects"]["metadata"].get(str(number), 0) for number in range(7))


def test_preparation_is_the_protocols(tree: Path) -> None:
    found = inspect(tree, "test", protocol="whole")
    [shown] = found.parts[0].items.read([0])
    with Image.open(scene(tree, 0)) as picture:
        small = picture.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(shown.sample.image_CHW.permute(1, 2, 0).numpy(), np.asarray(small))
