"""Selection: splits, filters and broken files, the same from files and from a packed store."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import DataError
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.selection import BatchedSelection, open_store, place, select
from slotlab.framework.data.source import open_source
from slotlab.framework.data.store.pack import pack
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.registry import Registry

# Picture i is gray with value i; its mask has i % 4 + 1 objects, the last outside a centered
# crop of 8; the data lists one object more, which nobody sees. Picture 7 may be broken.
PLUGIN = """
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from slotlab.framework.contracts import DataError, DataProblem, Sample
from slotlab.registry import Component, ComponentConfig, hookimpl

SLOTLAB_API = 1


class Config(ComponentConfig):
    size: int = 20
    broken: tuple[int, ...] = ()
    unlisted: int = 0
    silent: bool = False


class Numbers:
    def __init__(self, config, context):
        assert context.split == "all"
        self.config = config
        self.problems = [DataProblem(f"x{i}.png", "it has no mask") for i in range(config.unlisted)]

    def __len__(self):
        return self.config.size

    def __getitem__(self, index):
        if index in self.config.broken:
            raise DataError(DataProblem(f"{index}.png", "cannot be read: truncated"))
        image = torch.full((3, 16, 16), index, dtype=torch.uint8)
        facts = {} if self.config.silent else {"num_objects": index % 4 + 2}
        return Sample(id=f"p{index}", image_CHW=image, mask_HW=self.mask(index), attributes=facts)

    def mask(self, index):
        mask_HW = torch.zeros(16, 16, dtype=torch.uint8)
        for number in range(index % 4):
            mask_HW[6, 5 + number] = number + 1
        mask_HW[0, 0] = index % 4 + 1
        return mask_HW

    def fingerprint(self):
        state = Path("state.txt")  # stands for the files
        return state.read_text() if state.is_file() else "new"


class Bare(Numbers):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return replace(sample, attributes={"num_objects": index % 4})

    def mask(self, index):
        mask_HW = torch.zeros(16, 16, dtype=torch.uint8)
        for number in range(index % 4):
            mask_HW[6, 5 + number] = number + 1
        return mask_HW


class OwnConfig(Config):
    splits: ClassVar = ("train", "val")


class Own(Numbers):
    def __init__(self, config, context):
        assert context.split in config.splits
        self.config, self.problems = config, []


class UnsplitConfig(Config):
    unsplit: ClassVar = True


@hookimpl
def slotlab_datasets():
    yield Component(name="numbers", config=Config, build=Numbers, summary="numbered pictures")
    yield Component(name="bare", config=Config, build=Bare, summary="those with few objects have none")
    yield Component(name="own", config=OwnConfig, build=Own, summary="with splits of its own")
    yield Component(name="unsplit", config=UnsplitConfig, build=Numbers, summary="one test set")
"""
Make = Callable[..., DataSpec]


@pytest.fixture
def make(write: Callable[[str, str], Path], tmp_path: Path) -> Make:
    """Return a function that makes a data section; stores lie in a folder of the test's."""
    registry: Registry = load_registry()
    registry.add_file(write("numbered_pictures.py", PLUGIN))

    def data(name: str = "numbers", protocol: Any = None, **settings: Any) -> DataSpec:
        own = {key: settings.pop(key) for key in list(settings) if key not in DataSpec.model_fields}
        block = {"name": "whole", "image_size": 16, "crop": 8, **(protocol or {})}
        facts = {"dataset": {"name": name, **own}, "protocol": block, "stores": str(tmp_path / "stores")}
        return DataSpec.model_validate({**facts, **settings}, context={"registry": registry})

    return data


def ids(data: DataSpec, split: str) -> list[int]:
    """The numbers of the selected pictures, read from their pixels."""
    selection = select(data, split)
    loader = Loader(selection, 3, torch.device("cpu"), (0.0, 1.0))
    pixels = [
        round(float(value) * 255) for batch in loader.epoch() for value in batch.images_BCHW[:, 0, 0, 0]
    ]
    names = [name for batch in loader.epoch() for name in batch.ids]
    assert names == [f"p{pixel}" for pixel in pixels]
    assert len(selection) == len(pixels)
    return pixels


def packed(data: DataSpec) -> DataSpec:
    assert data.stores is not None
    pack(open_source(data, "train"), data.stores, workers=0, on_error="skip")
    return data.model_copy(update={"store": "required"})


@pytest.fixture(params=["files", "store"])
def ready(request: pytest.FixtureRequest) -> Callable[[DataSpec], DataSpec]:
    """Leave the data as files, or pack it first: all laws hold for both."""
    return packed if request.param == "store" else lambda data: data


# --- splits and filters ------------------------------------------------------------------


def test_the_protocol_splits_by_position(make: Make, ready: Callable[[DataSpec], DataSpec]) -> None:
    data = ready(make())
    assert ids(data, "test") == [0, 1]
    assert ids(data, "val") == [2, 3]
    assert ids(data, "train") == list(range(4, 20))
    assert ids(data, "all") == list(range(20))


def test_bounds_in_positions(make: Make) -> None:
    data = make(protocol={"splits": {"train": [0, 15], "val": [15, 17], "rest": [0.85, 100]}})
    assert (ids(data, "val"), ids(data, "rest")) == ([15, 16], [17, 18, 19])


def test_own_splits_are_the_datasets(make: Make) -> None:
    assert ids(make("own"), "train") == ids(make("own"), "val") == list(range(20))


def test_an_unsplit_variant_is_one_set_whatever_the_split(make: Make) -> None:
    assert ids(make("unsplit"), "val") == ids(make("unsplit"), "test") == list(range(20))


@pytest.mark.parametrize(("count", "most"), [("metadata", 3), ("mask_colors", 2), ("visible", 1)])
def test_each_count_sees_another_number(
    make: Make, ready: Callable[[DataSpec], DataSpec], count: str, most: int
) -> None:
    data = ready(make(filter={"max_objects": most, "count": count}))
    assert ids(data, "train") == [i for i in range(4, 20) if i % 4 <= 1]
    least = make(filter={"min_objects": most + 1, "count": count}, store=data.store)
    assert ids(least, "train") == [i for i in range(4, 20) if i % 4 > 1]


def test_filter_first_splits_what_is_left(make: Make, ready: Callable[[DataSpec], DataSpec]) -> None:
    wanted = {"max_objects": 2, "count": "mask_colors"}
    first = ready(make(filter=wanted, protocol={"filter_first": True}))
    left = [i for i in range(20) if i % 4 <= 1]
    assert ids(first, "test") == left[:1]
    assert ids(first, "val") == left[1:2]
    assert ids(first, "train") == left[2:]


def problem(data: DataSpec, split: str) -> tuple[str, str]:
    with pytest.raises(PathProblem) as caught:
        select(data, split)
    return ".".join(map(str, caught.value.path)), caught.value.text


def test_nothing_left(make: Make, ready: Callable[[DataSpec], DataSpec]) -> None:
    assert problem(make(size=5), "test") == (
        "data.dataset",
        "numbers: split 'test' is empty: it goes from 0.0 up to 0.1 of 5 pictures",
    )
    none = ready(make(filter={"min_objects": 9, "count": "visible"}))
    assert problem(none, "train") == (
        "data.filter",
        "none of the 16 pictures of split 'train' has 9 or more objects by visible; they have 0 to 3",
    )
    silent = ready(make(silent=True, filter={"max_objects": 9, "count": "metadata"}))
    assert problem(silent, "train") == (
        "data.filter.count",
        "the data does not tell the number of objects by 'metadata'; count another way",
    )


def test_generated_pictures_are_not_filtered(make: Make) -> None:
    assert problem(make("scenes", filter={"max_objects": 3, "count": "visible"}), "train") == (
        "data.filter",
        "'scenes' makes pictures with as many objects as its own settings say; set those",
    )


# --- broken files ------------------------------------------------------------------------


def test_listing_problems_stop_a_run_all_at_once(make: Make) -> None:
    with pytest.raises(DataError) as caught:
        select(make(unlisted=23), "train")
    hint = "mend the files, or leave them out with data.on_error: skip"
    assert caught.value.lines() == [
        *(f"x{i}.png: it has no mask" for i in range(20)),
        f"3 more problems ('slotlab data inspect' reads all); {hint}",
    ]


def test_broken_pictures_stop_where_they_are_read(make: Make) -> None:
    with pytest.raises(DataError) as caught:
        ids(make(broken=[7]), "train")
    assert caught.value.lines() == ["7.png: cannot be read: truncated"]


def test_a_store_tells_of_broken_pictures_at_once(make: Make) -> None:
    data = packed(make(broken=[7, 2]))
    with pytest.raises(DataError) as caught:
        select(data, "train")
    hint = "mend the files, or leave them out with data.on_error: skip"
    assert caught.value.lines() == ["7.png: cannot be read: truncated", hint]


def test_skipped_pictures_move_no_other(make: Make, ready: Callable[[DataSpec], DataSpec]) -> None:
    data = ready(make(broken=[7, 2], unlisted=1, on_error="skip"))
    assert ids(data, "train") == [i for i in range(4, 20) if i != 7]
    assert ids(data, "val") == [3]
    selection = select(data, "train")
    assert selection.facts["skipped"] == ["x0.png: it has no mask", "7.png: cannot be read: truncated"]
    assert selection.notes == ("split 'train': 2 broken items are left out; see provenance.json",)
    counted = ready(make(broken=[7], on_error="skip", filter={"max_objects": 9, "count": "metadata"}))
    assert 7 not in ids(counted, "train")


def test_nothing_readable(make: Make) -> None:
    assert problem(make(broken=[2, 3], on_error="skip"), "val") == (
        "data.dataset",
        "numbers: no picture of split 'val' can be read",
    )


# --- stores ------------------------------------------------------------------------------


def test_a_store_is_used_when_it_is_there_and_fresh(make: Make) -> None:
    data = make()
    assert not isinstance(select(data, "train"), BatchedSelection)
    packed(data)
    selection = select(data, "train")
    assert isinstance(selection, BatchedSelection)
    assert selection.facts["store"]["checksum"]
    assert not isinstance(select(make(store="off"), "train"), BatchedSelection)


def test_filters_splits_and_ranges_share_a_store(make: Make) -> None:
    packed(make())
    wanted = {"max_objects": 2, "count": "visible"}
    protocol = {"value_range": "unit", "splits": {"train": [0.0, 0.5]}, "filter_first": True}
    select(make(store="required", filter=wanted), "val")
    select(make(store="required", protocol=protocol), "train")
    for other in ({"crop": 6}, {"image_size": 8}, {"resize": "torch"}, {"max_labels": 9}):
        assert problem(make(store="required", protocol=other), "train")[0] == "data.store"


def test_a_stale_store_is_never_used(make: Make, write: Callable[[str, str], Path]) -> None:
    path = select(packed(make()), "train").facts["store"]["path"]
    write("state.txt", "changed")
    selection = select(make(), "train")
    assert not isinstance(selection, BatchedSelection)
    said = f"{path} was packed from another state of the files"
    assert selection.notes == (f"{said}: reading the files; pack it with 'slotlab data pack' again",)
    assert problem(make(store="required"), "train") == (
        "data.store",
        f"{said}; pack it with 'slotlab data pack', or write 'store: auto' to read files",
    )


def test_a_required_store_that_is_not_there(make: Make, tmp_path: Path) -> None:
    assert problem(make(store="required"), "train") == (
        "data.store",
        (
            f"there is no packed store of numbers in {tmp_path / 'stores'}; "
            "pack it with 'slotlab data pack', or write 'store: auto' to read files"
        ),
    )


@pytest.mark.parametrize(
    ("setting", "device", "size", "moved"),
    [
        ("auto", "cuda", 500, True), ("auto", "cuda", 501, False), ("auto", "cpu", 1, False),
        ("yes", "cuda", 900, True), ("yes", "cpu", 900, True), ("no", "cuda", 1, False), ("yes", None, 1, False),
    ],
)  # fmt: skip
def test_a_store_lies_on_a_gpu_if_it_takes_at_most_half_of_what_is_free(
    make: Make, monkeypatch: pytest.MonkeyPatch, setting: str, device: str | None, size: int, moved: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    store: Any = SimpleNamespace(bytes=size, resident=lambda device: "there")
    place_of = None if device is None else torch.device(device)
    assert place(store, make(resident=setting), place_of) == ("there" if moved else store)


def test_a_picture_without_objects_has_a_number_of_them(
    make: Make, ready: Callable[[DataSpec], DataSpec]
) -> None:
    """None at all is a number, also in a store, and not one that nobody knows."""
    data = ready(make("bare", filter={"max_objects": 1, "count": "mask_colors"}))
    assert ids(data, "all") == [i for i in range(20) if i % 4 <= 1]
    some = make("bare", filter={"min_objects": 1, "count": "mask_colors"}, store=data.store)
    assert ids(some, "all") == [i for i in range(20) if i % 4]


def test_the_facts_of_a_selection_are_those_of_its_data(make: Make) -> None:
    found = select(make(seed=5, filter={"max_objects": 2, "count": "mask_colors"}), "train").facts
    named = {
        name: found[name]
        for name in ("dataset", "split", "filter", "images", "listed", "store", "seed", "skipped")
    }
    assert named == {
        "dataset": "numbers", "split": "train", "filter": "0 to 2 objects by mask_colors", "images": 8, "listed": 20,
        "store": None, "seed": 5, "skipped": [],
    }  # fmt: skip
    store = packed(make(seed=5))
    facts = select(store, "val").facts["store"]
    assert facts["checksum"] == open_store(open_source(store, "val"), store)[0].checksum  # type: ignore[union-attr]


def test_resident_data_is_the_same(make: Make) -> None:
    data = packed(make())
    held = data.model_copy(update={"resident": "yes"})
    device = torch.device("cpu")
    one, two = select(data, "train", device=device), select(held, "train", device=device)
    assert isinstance(one, BatchedSelection)
    assert isinstance(two, BatchedSelection)
    picks = [5, 0, 5, 15]
    a, b = one.batch(picks, device), two.batch(picks, device)
    assert a.ids == b.ids
    assert a.masks_BHW is not None
    assert b.masks_BHW is not None
    assert torch.equal(a.images_BCHW, b.images_BCHW)
    assert torch.equal(a.masks_BHW.long(), b.masks_BHW.long())
