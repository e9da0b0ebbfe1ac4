"""The law of places: a file that is missing or damaged moves no other item from one split to another."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slotlab.framework.contracts import DataError, Dataset, Sample
from slotlab.framework.data.inspection.findings import inspect_target
from slotlab.framework.data.inspection.statistics import read_all
from slotlab.framework.data.inspection.target import find_target
from slotlab.framework.data.sample_ids import shortest_names
from slotlab.framework.data.selection import select
from slotlab.framework.data.source import open_source
from slotlab.framework.data.split_positions import positions_of
from slotlab.framework.evaluation.rows import Ledger
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.registry import SlotlabError

COUNT = 20
SIDE = 8
SPLITS = ("train", "val", "test")


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def labels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 3, (SIDE, SIDE), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def masked_folder(root: Path) -> list[Path]:
    for number in range(COUNT):
        save(root / "images" / f"{number}.png", pixels(number))
        save(root / "masks" / f"{number}.png", labels(number))
    return sorted(root.rglob("*.png"))


def masks_beside(root: Path) -> list[Path]:
    for number in range(COUNT):
        save(root / f"{number}.png", pixels(number))
        save(root / f"{number}_mask.png", labels(number))
    return sorted(root.rglob("*.png"))


def clevrtex(root: Path) -> list[Path]:
    for number in range(COUNT):
        stem = root / "clevrtex_full" / "0" / f"CLEVRTEX_full_{number:06d}"
        save(stem.with_name(f"{stem.name}.png"), pixels(number))
        save(stem.with_name(f"{stem.name}_flat.png"), labels(number))
        stem.with_name(f"{stem.name}.json").write_text('{"objects": []}')
    return sorted(path for path in root.rglob("*") if path.is_file())


def coco_panoptic(root: Path) -> list[Path]:
    data: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    for number in range(COUNT):
        name = f"{number:03d}.png"
        save(root / "val2017" / name, pixels(number))
        ids = labels(number)
        save(root / "annotations/panoptic_val2017" / name, np.stack([ids, ids * 0, ids * 0], -1))
        data["images"].append({"id": number, "file_name": name, "height": SIDE, "width": SIDE})
        segments = [{"id": one, "category_id": 1} for one in (1, 2)]
        data["annotations"].append({"image_id": number, "file_name": name, "segments_info": segments})
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(data))
    return sorted(root.rglob("*.png"))


KINDS: Mapping[str, tuple[Callable[[Path], list[Path]], list[str]]] = {
    "image_folder": (masked_folder, []),
    "masks beside": (masks_beside, ["data.dataset.mask_suffix=_mask"]),
    "clevrtex": (clevrtex, [f"data.dataset.picture_size=[{SIDE}, {SIDE}]"]),
    "coco_panoptic": (coco_panoptic, []),
}


def read_data(root: Path, *sets: str) -> DataSpec:
    common = ["data.store=off", "data.on_error=skip"]
    return find_target(str(root), protocol="{name: whole, image_size: 8}", sets=[*common, *sets]).data


def members(data: DataSpec) -> dict[str, str]:
    """Return the split of each item by its id."""
    found: dict[str, str] = {}
    for split in SPLITS:
        selection = select(data, split)
        for index in range(len(selection)):
            found[selection[index].id] = split
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["gone", "cut", "empty"])
def test_no_file_moves_another_item(tmp_path: Path, kind: str, harm: str) -> None:
    make, sets = KINDS[kind]
    files = make(tmp_path)
    whole = members(read_data(tmp_path, *sets))
    assert len(whole) == COUNT
    assert set(whole.values()) == set(SPLITS)
    for path in files[:: 1 if len(files) < 30 else 7]:
        content = path.read_bytes()
        if harm == "gone":
            path.unlink()
        else:
            path.write_bytes(content[:10] if harm == "cut" else b"")
        found = members(read_data(tmp_path, *sets))
        path.write_bytes(content)
        assert len(found) == COUNT - 1
        assert found == {name: split for name, split in whole.items() if name in found}


@pytest.mark.parametrize("kind", KINDS)
def test_many_missing_files_move_nothing_and_each_split_tells_its_own(tmp_path: Path, kind: str) -> None:
    make, sets = KINDS[kind]
    files = make(tmp_path)
    data = read_data(tmp_path, *sets)
    whole = members(data)
    for path in files[::6]:
        path.unlink()
    data = read_data(tmp_path, *sets)
    found = members(data)
    assert 0 < len(found) < COUNT
    assert found == {name: split for name, split in whole.items() if name in found}
    told = 0
    for split in SPLITS:
        selection = select(data, split)
        lost = sum(one == split for one in whole.values()) - len(selection)
        assert len(selection.facts["skipped"]) == lost
        told += lost
        notes = [note for note in selection.notes if "broken items" in note]
        said = f"split '{split}': {lost} broken items are left out; see provenance.json"
        assert notes == ([said] if lost else [])
    assert told == COUNT - len(found)
    target = find_target(
        str(tmp_path), sets=["data.store=off", *sets], protocol="{name: whole, image_size: 8}"
    )
    counted = inspect_target(target, "val", workers=0, report=lambda done, total: None).result
    assert counted["splits"]["val"]["images"] == len(select(data, "val"))


def test_whole_scenes_that_are_missing_move_nothing(tmp_path: Path) -> None:
    make, sets = KINDS["clevrtex"]
    files = make(tmp_path)
    whole = members(read_data(tmp_path, *sets))
    for path in files:
        if any(f"_{number:06d}" in path.name for number in (0, 3, 4, 11)):
            path.unlink()
    found = members(read_data(tmp_path, *sets))
    assert len(found) == COUNT - 4
    assert found == {name: split for name, split in whole.items() if name in found}


def test_numbered_pictures_that_are_missing_altogether_move_nothing(tmp_path: Path) -> None:
    for make, sets in (KINDS["image_folder"], KINDS["masks beside"]):
        root = tmp_path / str(len(sets))
        files = make(root)
        whole = members(read_data(root, *sets))
        for path in files:
            if path.stem.removesuffix("_mask") in ("1", "7", "12"):
                path.unlink()
        found = members(read_data(root, *sets))
        assert len(found) == COUNT - 3
        assert found == {name: split for name, split in whole.items() if name in found}


def test_names_without_running_numbers_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "3", "900"):
        save(tmp_path / "letters" / f"{name}.png", pixels(0))
    for number in (1, 2, 50, 51):
        save(tmp_path / "gaps" / f"{number}.png", pixels(0))
    for number in (5, 6, 8):
        save(tmp_path / "running" / f"img_{number:04d}.png", pixels(0))
    places = [
        open_source(read_data(tmp_path / name), "all").places for name in ("letters", "gaps", "running")
    ]
    assert places == [(0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 3)]


def test_a_filter_before_the_splits_needs_to_know_all_items(tmp_path: Path) -> None:
    files = masked_folder(tmp_path)
    sets = ["data.filter={max_objects: 6, count: mask_colors}", "data.protocol.filter_first=true"]
    assert len(members(read_data(tmp_path, *sets))) == COUNT
    mask = next(path for path in files if path == tmp_path / "masks" / "7.png")
    content = mask.read_bytes()
    for harm in (mask.unlink, lambda: mask.write_bytes(content[:20])):
        harm()
        with pytest.raises(DataError) as caught:
            members(read_data(tmp_path, *sets))
        assert "other pictures would change their split" in str(caught.value)
        assert "7.png" in str(caught.value)
        assert len(select(read_data(tmp_path, *sets), "all")) == COUNT - 1


def test_hdf5_of_which_a_file_cannot_be_read_is_not_split(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["image"] = np.stack([pixels(number) for number in range(COUNT)])
            file["mask"] = np.stack([labels(number) for number in range(COUNT)])
    assert len(members(read_data(tmp_path))) == 2 * COUNT
    (tmp_path / "a.h5").write_bytes(b"nothing")
    with pytest.raises(DataError) as caught:
        select(read_data(tmp_path), "val")
    assert "nobody can tell how many pictures these held" in str(caught.value)
    assert len(select(read_data(tmp_path), "all")) == COUNT


# --- ids ---------------------------------------------------------------------------------


class Twins:
    """A dataset of a stranger, two of whose samples have one id."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        if index >= 4:
            raise IndexError(index)
        image = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        return Sample(id=f"n{index % 3}", image_CHW=image, mask_HW=torch.zeros(SIDE, SIDE, dtype=torch.uint8))


TWINS = "the samples at 0 and 3 have one id, 'n0'; a dataset gives each sample an id of its own"


def test_no_two_images_of_an_evaluation_have_one_id(noise_loader: Callable[..., Any]) -> None:
    from slotlab.framework.contracts import Outcome

    dataset: Dataset = Twins()
    ledger = Ledger({}, {"model": []})
    batches = noise_loader(dataset=dataset).share(range(4))

    def measure_all() -> None:
        for positions, batch in batches:
            found = Outcome(images_BCHW=batch.images_BCHW, true_BHW=batch.masks_BHW, predicted_BHW=None)
            ledger.add("model", positions, batch.ids, found)

    with pytest.raises(SlotlabError) as caught:
        measure_all()
    assert str(caught.value) == f"the evaluated data: {TWINS}"


def test_processes_that_saw_one_id_each_are_told_too() -> None:
    ledger = Ledger({}, {"model": [(0, ({"id": "n0"}, {}))]})
    with pytest.raises(SlotlabError, match="the samples at 0 and 3 have one id, 'n0'"):
        ledger.close(lambda rows: [*rows, (3, ({"id": "n0"}, {}))] if rows else rows)


def test_inspection_tells_ids_that_are_there_twice() -> None:
    from slotlab.framework.data.inspection.statistics import PreparedImage

    class Items:
        def read(self, indices: Any) -> list[PreparedImage]:
            return [PreparedImage(Twins()[index], {}, None) for index in indices]

    found = read_all(Items(), range(4), 0, lambda done, total: None)
    assert [problem.reason for problem in found.twice] == [f"the data: {TWINS}"]


def test_a_dataset_that_knows_its_ids_is_checked_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slotlab.framework.data.formats.listing import Files
    from slotlab.plugins.datasets import image_folder

    save(tmp_path / "a.png", pixels(0))
    real = image_folder.list_pictures

    def twice(*arguments: Any) -> Any:
        found = real(*arguments)
        object.__setattr__(
            found, "files", [Files("a", 0, tmp_path / "a.png"), Files("a", 1, tmp_path / "a.png")]
        )
        return found

    monkeypatch.setattr(image_folder, "list_pictures", twice)
    with pytest.raises(PathProblem, match="the samples at 0 and 1 have one id, 'a'"):
        open_source(read_data(tmp_path), "all")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a/1.jpg", "b/2.jpg"], ["1", "2"]),
        (["a/1.jpg", "b/1.jpg"], ["a/1", "b/1"]),
        (["a/1.jpg", "a/1.png"], ["a/1.jpg", "a/1.png"]),
        (["/x/../a/1.jpg", "b/1.jpg"], ["x/a/1", "b/1"]),
        (["a/e\u0301.jpg", "a/2.jpg"], ["\u00e9", "2"]),  # as a folder of another system writes it
    ],
)
def test_names_are_as_short_as_they_can_be(names: list[str], wanted: list[str]) -> None:
    assert list(shortest_names(names).values()) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_are_known_are_those_of_the_samples(tmp_path: Path, kind: str) -> None:
    make, sets = KINDS[kind]
    make(tmp_path)
    dataset: Any = open_source(read_data(tmp_path, *sets), "all").dataset
    assert list(dataset.ids) == [dataset[index].id for index in range(len(dataset))]
    assert list(dataset.places) == list(range(COUNT))
    assert dataset.listed == COUNT


# --- videos --------------------------------------------------------------------------------


class Videos:
    """Frames of videos, mixed: frame i shows video i mod 20, in which there are i mod 3 objects."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Sample:
        image_CHW = torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)
        return Sample(id=str(index), image_CHW=image_CHW, attributes={"num_objects": index % 3})

    def attributes(self, index: int) -> Mapping[str, Any]:
        return self[index].attributes

    @property
    def videos(self) -> list[range]:
        return [range(video, 60, 20) for video in range(20)]


@pytest.mark.parametrize("filtered", [None, "before", "after"])
def test_no_video_is_in_two_splits(tmp_path: Path, filtered: str | None) -> None:
    masked_folder(tmp_path)
    sets = ["data.filter={max_objects: 1, count: metadata}"] if filtered else []
    sets += ["data.protocol.filter_first=true"] if filtered == "before" else []
    data = read_data(tmp_path, *sets)
    source = replace(open_source(data, "all"), dataset=Videos())
    found = {split: positions_of(data, split, source, None) for split in SPLITS}
    videos = {split: {position % 20 for position in positions} for split, positions in found.items()}
    assert sorted(video for some in videos.values() for video in some) == list(range(20))
    kept = [index for index in range(60) if filtered is None or index % 3 <= 1]
    assert sorted(position for positions in found.values() for position in positions) == kept
