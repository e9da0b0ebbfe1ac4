"""Laws of the store: batches are its items, wherever they are held; nothing damaged goes unseen."""

import json
import os
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from slotlab.framework.contracts import BatchedDataset, DataError, DataProblem, RawBatch, Sample
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import (
    MANIFEST,
    FactTable,
    StoreError,
    item_digest,
    read_manifest,
    split_line,
    write_line,
)
from slotlab.framework.data.store.pack import pack
from slotlab.framework.data.store.reader import PARTIAL, Stale, Store, find_store, store_path
from slotlab.framework.data.store.verify import verify
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError

CPU = torch.device("cpu")
SIZE = 12


@dataclass(frozen=True)
class Tiny:
    """Pictures of noise."""

    state: str = "first"
    high: int = 4
    masked: bool = True
    broken: tuple[int, ...] = ()

    def __len__(self) -> int:
        return SIZE

    def fingerprint(self) -> str:
        return self.state

    def __getitem__(self, index: int) -> Sample:
        if index in self.broken:
            raise DataError(DataProblem(f"{index}.png", "is broken"))
        stream = torch.Generator().manual_seed(index)
        return Sample(
            id=f"p\u00e9{index}",
            path=f"{index}.png",
            image_CHW=torch.randint(0, 256, (3, 6, 5), generator=stream, dtype=torch.uint8),
            mask_HW=torch.randint(0, self.high, (6, 5), generator=stream) if self.masked else None,
            attributes={"objects": [{"shape": "cube", "size": 0.1}] * index},
        )


def make_source(**options: Any) -> Source:
    return Source("tiny", "all", Tiny(**options), None, {"dataset": "tiny"})


def packed(folder: Path, **options: Any) -> Store:
    return pack(make_source(**options), folder, workers=0, on_error="skip")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return packed(tmp_path_factory.mktemp("stores"))


# --- reading -----------------------------------------------------------------------------


def stacked(store: Store, indices: list[int]) -> tuple[list[str], Tensor, Tensor, list[dict[str, Any]]]:
    samples = [store[index] for index in indices]
    images = torch.stack([sample.image_CHW for sample in samples])
    masks = torch.stack([sample.mask_HW for sample in samples if sample.mask_HW is not None])
    return [sample.id for sample in samples], images, masks, [dict(sample.attributes) for sample in samples]


def assert_batch_is_items(batch: RawBatch, store: Store, indices: list[int]) -> None:
    ids, images_BCHW, masks_BHW, attributes = stacked(store, indices)
    assert (list(batch.ids), [dict(found) for found in batch.attributes]) == (ids, attributes)
    assert torch.equal(batch.images_BCHW, images_BCHW)
    assert batch.masks_BHW is not None
    assert torch.equal(batch.masks_BHW, masks_BHW)


@given(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=20))
def test_a_batch_is_its_items(store: Store, indices: list[int]) -> None:
    for held in (store, store.resident(CPU)):
        batch = held.batch(indices, CPU)
        assert_batch_is_items(batch, store, indices)
        assert batch.images_BCHW.is_contiguous(memory_format=torch.channels_last)
        assert held.batch(indices, CPU, masks=False).masks_BHW is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_batch_on_a_gpu_is_its_items(store: Store) -> None:
    cuda = torch.device("cuda", 0)
    indices = [5, 0, 5, 11, 3]
    for held in (store, store.resident(cuda)):
        batch = held.batch(indices, cuda)
        assert batch.images_BCHW.device == cuda
        assert batch.images_BCHW.is_contiguous(memory_format=torch.channels_last)
        assert batch.masks_BHW is not None
        on_host = replace(batch, images_BCHW=batch.images_BCHW.cpu(), masks_BHW=batch.masks_BHW.cpu())
        assert_batch_is_items(on_host, store, indices)


def test_is_a_dataset_of_batches(store: Store) -> None:
    assert isinstance(store, BatchedDataset)
    assert [store[index].id for index in range(SIZE)] == [f"p\u00e9{index}" for index in range(SIZE)]
    assert store.bytes == SIZE * 6 * 5 * 4
    assert store.resident(CPU).device == CPU
    assert store.attributes(3) == Tiny()[3].attributes
    assert torch.equal(store.mask(3).long(), Tiny()[3].mask_HW)  # type: ignore[arg-type]
    assert store.counts("metadata").tolist() == [-1] * SIZE
    assert store.counts("visible").tolist() == [3] * SIZE


def test_a_batch_is_its_own(store: Store) -> None:
    store.batch([0], CPU).images_BCHW.zero_()
    assert store[0].image_CHW.any()


@pytest.mark.parametrize("high", [256, 257, 2**31 - 1])
def test_labels_of_any_width(tmp_path: Path, high: int) -> None:
    store = packed(tmp_path, high=high)
    assert store.mask(2).dtype == (torch.uint8 if high == 256 else torch.int32)
    assert torch.equal(store.resident(CPU)[2].mask_HW.long(), Tiny(high=high)[2].mask_HW)  # type: ignore[union-attr, arg-type]


def test_without_masks(tmp_path: Path) -> None:
    store = packed(tmp_path, masked=False)
    assert store[1].mask_HW is None
    assert store.batch([1, 2], CPU).masks_BHW is None
    with pytest.raises(IndexError) as caught:
        store.mask(1)
    assert str(caught.value) == f"{store.path} has no masks"


def test_past_the_end(store: Store) -> None:
    calls: list[Callable[[int], object]] = [
        store.__getitem__,
        store.mask,
        store.attributes,
        lambda index: store.batch([0, index], CPU),
    ]
    for call in calls:
        for index in (SIZE, -1):
            with pytest.raises(IndexError) as caught:
                call(index)
            assert str(caught.value) == f"{store.path} has {SIZE} items, there is no item {index}"


def test_broken_items_are_named_and_not_given(tmp_path: Path) -> None:
    store = packed(tmp_path, broken=(2, 7))
    assert store.bad == {index: DataProblem(f"{index}.png", "is broken") for index in (2, 7)}
    assert store.counts("visible")[[2, 7]].tolist() == [-1, -1]
    for indices, lines in (
        ([2], ["2.png: is broken"]),
        ([7, 1, 2], ["7.png: is broken", "2.png: is broken"]),
    ):
        with pytest.raises(DataError) as caught:
            store.batch(indices, CPU)
        assert caught.value.lines() == lines
    assert_batch_is_items(store.batch([3, 1], CPU), store, [3, 1])


def test_travels_as_a_path(store: Store) -> None:
    for held in (store, store.resident(CPU)):
        data = pickle.dumps(held)
        assert len(data) < 500
        assert_batch_is_items(pickle.loads(data).batch([4, 1], CPU), store, [4, 1])
    batch = pickle.loads(pickle.dumps(store.batch([4, 1], CPU)))
    assert_batch_is_items(batch, store, [4, 1])


# --- finding -----------------------------------------------------------------------------


def test_only_the_store_of_this_state_is_found(tmp_path: Path) -> None:
    first, second = make_source(), make_source(state="second")
    assert find_store(first, tmp_path) is None
    path = packed(tmp_path).path
    found = find_store(first, tmp_path)
    assert isinstance(found, Store)
    assert found.path == path
    assert find_store(second, tmp_path) == Stale(path)
    assert find_store(replace(second, identity={"dataset": "other"}), tmp_path) is None
    assert find_store(replace(second, split="train"), tmp_path) is None
    assert find_store(Source("tiny", "all", [], None, {}), tmp_path) is None


@pytest.mark.parametrize("newest", ["first", "second", "third"])
def test_of_several_stale_stores_the_newest_is_told(tmp_path: Path, newest: str) -> None:
    paths = {state: packed(tmp_path, state=state).path for state in ("first", "second", "third")}
    for state, path in paths.items():
        os.utime(path, (1e9, 1e9 + (state == newest)))
    assert find_store(make_source(state="now"), tmp_path) == Stale(paths[newest])


def test_a_name_alone_is_not_believed(tmp_path: Path) -> None:
    path = store_path(make_source(), tmp_path, "second")
    packed(tmp_path).path.rename(path)
    assert find_store(make_source(state="second"), tmp_path) == Stale(path)


def test_what_is_not_finished_is_not_found(tmp_path: Path) -> None:
    path = packed(tmp_path).path
    path.rename(path.with_name(path.name + PARTIAL))
    assert find_store(make_source(), tmp_path) is None
    assert find_store(make_source(state="second"), tmp_path) is None


def test_where_stores_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SLOTLAB_STORES", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert stores_folder() == tmp_path / ".cache" / "slotlab" / "stores"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert stores_folder() == tmp_path / ".cache" / "slotlab" / "stores"
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert stores_folder() == Path("/cache/slotlab/stores")
    monkeypatch.setenv("SLOTLAB_STORES", "~/packed")
    assert stores_folder() == tmp_path / "packed"
    assert stores_folder(Path("mine")) == Path("mine")


# --- damage ------------------------------------------------------------------------------

DELETE = "the store is damaged; delete its folder and pack it again"


def opening(path: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store.open(path)
    return str(caught.value)


def test_what_is_no_store(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        assert opening(path) == f"{path} is no packed store: it has no manifest.json"
    (tmp_path / MANIFEST).write_text("[1, 2")
    assert opening(tmp_path) == f"{tmp_path}/manifest.json cannot be read: {DELETE}"
    (tmp_path / MANIFEST).write_text("[1, 2]")
    assert opening(tmp_path) == f"{tmp_path}/manifest.json cannot be read: {DELETE}"


def test_another_format(tmp_path: Path) -> None:
    path = packed(tmp_path).path
    data = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(data | {"format": 2}))
    assert opening(path) == f"{path} has format 2, this slotlab reads 1: delete it and pack it again"
    (path / MANIFEST).write_text(json.dumps(data | {"items": 11}))
    assert opening(path) == f"{path}/manifest.json was changed after it was written: {DELETE}"


def test_files_that_are_cut_or_gone_or_others(tmp_path: Path) -> None:
    path = packed(tmp_path).path
    file = path / "masks.npy"
    data = file.read_bytes()
    file.write_bytes(data[:-10])
    size = len(data)
    assert opening(path) == f"{file} has {size - 10} bytes, {size} were written: {DELETE}"
    file.write_bytes(b"x" * size)
    assert opening(path) == f"{file} is no NumPy array: {DELETE}"
    file.write_bytes(data.replace(b"(12, 6, 5)", b"(12, 5, 6)"))
    assert opening(path) == f"{file} holds uint8 (12, 5, 6), not uint8 (12, 6, 5): {DELETE}"
    file.unlink()
    assert opening(path) == f"{file} is not there: {DELETE}"


def test_a_whole_store_has_no_problems(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{}, {"masked": False}, {"high": 999}, {"broken": (3,)}]
    for number, options in enumerate(kinds):
        seen: list[tuple[int, int]] = []
        assert verify(packed(tmp_path / str(number), **options), lambda *facts: seen.append(facts)) == []  # noqa: B023
        assert seen == [(done, SIZE) for done in range(1, SIZE + 1)]


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    store = packed(tmp_path, broken=(3,))
    stream = random.Random(0)
    names = sorted(path.name for path in store.path.iterdir())
    assert names == [
        "counts.npy",
        "ids.npy",
        "images.npy",
        "items.jsonl",
        MANIFEST,
        "masks.npy",
        "offsets.npy",
    ]
    for name in names:
        path = store.path / name
        data = path.read_bytes()
        for place in [0, len(data) - 1, *(stream.randrange(len(data)) for _ in range(60))]:
            path.write_bytes(
                data[:place] + bytes([data[place] ^ 1 << stream.randrange(8)]) + data[place + 1 :]
            )
            try:
                found = verify(Store.open(store.path))
            except SlotlabError:
                continue
            assert found, (name, place)
            assert all(str(store.path) in problem.path for problem in found)
        path.write_bytes(data)
    assert verify(Store.open(store.path)) == []


def test_damage_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path).path

    def problems(name: str, offset: int) -> list[str]:
        file = path / name
        data = bytearray(file.read_bytes())
        data[offset] ^= 4
        before = file.read_bytes()
        file.write_bytes(data)
        try:
            return [str(problem) for problem in verify(Store.open(path))]
        finally:
            file.write_bytes(before)

    assert problems("images.npy", -1) == [f"{path}: item 11 is not what was packed"]
    assert problems("counts.npy", -1) == [f"{path}/counts.npy: is not what was packed"]
    lines = problems("items.jsonl", -1)
    assert lines == [f"{path}: item 11 is not what was packed"]
    newline = (path / "items.jsonl").read_bytes().index(b"\n")
    assert problems("items.jsonl", newline)[-1] == f"{path}/items.jsonl: has 11 lines, 12 were written"


def test_items_of_another_store(tmp_path: Path) -> None:
    store, other = packed(tmp_path / "1"), packed(tmp_path / "2", high=5)
    for name in ("images.npy", "masks.npy", "items.jsonl", "counts.npy"):
        (store.path / name).write_bytes((other.path / name).read_bytes())
    assert [str(problem) for problem in verify(Store.open(store.path))] == [
        f"{store.path}: its items make the checksum {other.checksum}, its manifest says {store.checksum}"
    ]


# --- lines -------------------------------------------------------------------------------


@given(st.binary(max_size=30), st.lists(st.binary(max_size=9), max_size=3))
def test_a_line_is_taken_apart_as_it_was_put_together(text: bytes, rows: list[bytes]) -> None:
    facts = b'{"id":"' + text.replace(b"\n", b"") + b'"}'
    digest = item_digest(rows, facts)
    line = write_line(facts, digest)
    assert split_line(line) == (facts, digest)
    for end in range(len(line)):
        with pytest.raises(ValueError, match=r"^a torn line$"):
            split_line(line[:end])


def test_lines_in_another_order_are_refused(store: Store) -> None:
    lines = (store.path / "items.jsonl").read_bytes().splitlines(keepends=True)
    with pytest.raises(ValueError, match=r"^line 0 is of item 1$"):
        FactTable.empty(read_manifest(store.path).layout).add(lines[1])


def test_the_arrays_are_numpys(store: Store) -> None:
    images_NHWC = np.load(store.path / "images.npy")
    masks_NHW = np.load(store.path / "masks.npy")
    assert np.array_equal(images_NHWC[4].transpose(2, 0, 1), Tiny()[4].image_CHW.numpy())
    assert np.array_equal(masks_NHW[4], Tiny()[4].mask_HW.numpy())  # type: ignore[union-attr]
