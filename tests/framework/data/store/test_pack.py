"""Laws of packing: the store is the source, however the work was cut, stopped and resumed."""

import contextlib
import errno
import importlib
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from slotlab.framework.contracts import DataProblem, Sample
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import IMAGES, MASKS, Layout, StoreError
from slotlab.framework.data.store.journal import locked
from slotlab.framework.data.store.pack import PackProgress, PackStopped, pack
from slotlab.framework.data.store.reader import PARTIAL, Store, store_path
from slotlab.framework.data.store.rows import Rows
from slotlab.framework.data.store.workers import PackJob, pack_chunks
from slotlab.framework.system import locks
from slotlab.registry import SlotlabError

MODULE = '''
import os, signal, time
from dataclasses import dataclass, field
from pathlib import Path
import torch
from slotlab.framework.contracts import DataError, DataProblem, Sample

@dataclass
class Tiny:
    """Pictures of noise; `broken`, `wide`, `odd` and `fatal` name items that are not as the others."""
    size: int = 20
    state: str = "first"
    broken: tuple = ()
    wide: tuple = ()
    odd: dict = field(default_factory=dict)
    masked: bool = True
    problems: tuple = ()
    fatal: int = -1
    bug: int = -1

    def __len__(self):
        return self.size

    def fingerprint(self):
        return self.state

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        if index == self.fatal and os.getpid() != PARENT:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.bug:
            raise KeyError("shape")
        path = f"/data/{index:02}.png"
        if index in self.broken:
            raise DataError(DataProblem(path, "cannot be read: image file is truncated"))
        stream = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 6, 5), generator=stream, dtype=torch.uint8)
        mask = torch.randint(0, 4, (6, 5), generator=stream)
        if index in self.wide:
            mask = mask * 300
        facts = dict(id=f"p{index:02}", path=path, image_CHW=image, mask_HW=mask if self.masked else None,
                     attributes={"num_objects": index % 3, "objects": [{"shape": "caf\\u00e9"}] * (index % 3)})
        return Sample(**(facts | self.odd.get(index, {})))

PARENT = @PID@
'''
CPU = torch.device("cpu")
BROKEN = "cannot be read: image file is truncated"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Source]:
    """Return a function that makes a source; its dataset can be imported by other processes."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "packable.py").write_text(MODULE.replace("@PID@", str(os.getpid())))
    monkeypatch.syspath_prepend(str(code))
    importlib.invalidate_caches()
    sys.modules.pop("packable", None)
    module: Any = importlib.import_module("packable")

    def make(settings: dict[str, Any] | None = None, **arguments: Any) -> Source:
        return Source("tiny", "all", module.Tiny(**arguments), None, settings or {"dataset": "tiny"})

    return make


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "stores"


Make = Callable[..., Source]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def in_order(source: Source, stores: Path, **options: Any) -> Store:
    return pack(source, stores, workers=0, **options)


def refusal(*arguments: Any, **options: Any) -> list[str]:
    with pytest.raises(SlotlabError) as caught:
        pack(*arguments, **{"workers": 0, **options})
    return caught.value.lines()


def unfinished(stores: Path) -> Path:
    [path] = stores.glob(f"*{PARTIAL}")
    return path


# --- what is packed ----------------------------------------------------------------------


def assert_same(found: Sample, wanted: Sample) -> None:
    assert (found.id, found.path, dict(found.attributes)) == (wanted.id, wanted.path, dict(wanted.attributes))
    assert found.image_CHW.dtype == torch.uint8
    assert torch.equal(found.image_CHW, wanted.image_CHW)
    assert (found.mask_HW is None) == (wanted.mask_HW is None)
    if found.mask_HW is not None and wanted.mask_HW is not None:
        assert torch.equal(found.mask_HW.long(), wanted.mask_HW.long())


@pytest.mark.parametrize("options", [{}, {"masked": False}, {"wide": (7, 11)}, {"size": 1}])
def test_the_store_is_the_source(tiny: Make, stores: Path, options: dict[str, Any]) -> None:
    source = tiny(**options)
    store = in_order(source, stores)
    assert len(store) == len(source)
    for index in range(len(source)):
        prepared = source.item(index)
        assert_same(store[index], prepared.sample)
        for definition, count in prepared.counts.items():
            assert store.counts(definition)[index] == (-1 if count is None else count)  # type: ignore[arg-type]
    assert store.manifest.mask == (
        "int32" if "wide" in options else "uint8" if source.dataset[0].mask_HW is not None else None
    )
    assert not unfinished_any(stores)


def unfinished_any(stores: Path) -> list[Path]:
    return list(stores.glob(f"*{PARTIAL}"))


@pytest.mark.parametrize("wide", [(), (13,)])
def test_chunks_leave_no_trace(tiny: Make, tmp_path: Path, wide: tuple[int, ...]) -> None:
    packed = [in_order(tiny(wide=wide), tmp_path / str(chunk), chunk=chunk) for chunk in (1, 3, 7, 64)]
    assert len({store.checksum for store in packed}) == 1
    assert all(files(store.path) == files(packed[0].path) for store in packed)


@pytest.mark.slow
def test_workers_leave_no_trace(tiny: Make, tmp_path: Path) -> None:
    source = tiny(size=50, broken=(4, 30), wide=(17,))
    packed = [
        pack(source, tmp_path / str(workers), workers=workers, chunk=5, on_error="skip")
        for workers in (0, 1, 2)
    ]
    assert all(files(store.path) == files(packed[0].path) for store in packed)


def test_packing_twice_packs_once(tiny: Make, stores: Path) -> None:
    first = in_order(tiny(), stores)
    before = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    assert in_order(tiny(), stores).checksum == first.checksum
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == before


def test_progress_counts_to_the_end(tiny: Make, stores: Path) -> None:
    seen: list[PackProgress] = []
    in_order(tiny(broken=(2,)), stores, chunk=8, on_error="skip", report=seen.append)
    assert seen == [PackProgress(0, 20, 0), *(PackProgress(done, 20, 1) for done in (8, 16, 20))]


# --- settings and states -----------------------------------------------------------------


def test_other_settings_and_other_states_have_other_stores(tiny: Make, stores: Path) -> None:
    sources = [tiny(), tiny(state="second"), tiny({"dataset": "tiny", "crop": 3})]
    paths = [in_order(source, stores).path for source in sources]
    assert len(set(paths)) == 3
    assert all(
        path.name.startswith(f"tiny-all-{source.key}-") for path, source in zip(paths, sources, strict=True)
    )


def test_stores_of_other_states_are_named_and_left(tiny: Make, stores: Path) -> None:
    old = in_order(tiny(), stores)
    said: list[str] = []
    in_order(tiny(state="second"), stores, say=said.append)
    size = sum(path.stat().st_blocks * 512 for path in old.path.iterdir()) / 1000
    text = "is of another state of the files; delete it if that is not needed any more"
    assert said == [f"{old.path} ({size:.3g} KB) {text}"]
    assert old.path.is_dir()


def test_a_store_of_other_data_under_the_same_name(tiny: Make, stores: Path) -> None:
    store = in_order(tiny(), stores)
    store.path.rename(store_path(tiny(), stores, "second"))
    path = store_path(tiny(), stores, "second")
    assert refusal(tiny(state="second"), stores) == [
        f"{path} is a store of other data; delete it and pack again"
    ]


def test_without_a_fingerprint(stores: Path) -> None:
    source = Source("noise", "all", [], None, {})
    assert refusal(source, stores) == [
        (
            "noise cannot be packed: its dataset has no fingerprint(), by which a store tells that it is out of "
            "date (see slotlab.framework.contracts.dataset_capabilities)"
        )
    ]


def test_files_that_change_meanwhile(tiny: Make, stores: Path) -> None:
    source = tiny()

    def change(progress: PackProgress) -> None:
        source.dataset.state = "second"  # type: ignore[attr-defined]

    assert refusal(source, stores, report=change) == [
        "tiny: its files changed while they were packed; pack again"
    ]
    assert not [path for path in stores.iterdir() if not path.name.endswith(PARTIAL)]


# --- broken items ------------------------------------------------------------------------


def hint(good: int, total: int = 20) -> str:
    return (
        "pack with --on-error skip to leave them out, or mend the files: "
        f"{good} of {total} pictures are packed and kept for the first, the second packs all anew"
    )


def test_all_broken_items_are_listed_then_skipped(tiny: Make, stores: Path) -> None:
    source = tiny(broken=(0, 5, 19), problems=(DataProblem("/data/x.png", "has no mask"),))
    assert refusal(source, stores, chunk=3) == [
        "/data/x.png: has no mask",
        *(f"/data/{index:02}.png: {BROKEN}" for index in (0, 5, 19)),
        hint(17),
    ]
    said: list[str] = []
    store = in_order(source, stores, on_error="skip", say=said.append)
    assert said == ["going on where packing stopped: 17 of 20 pictures are there"]
    assert {index: str(text) for index, text in store.bad.items()} == {
        index: f"/data/{index:02}.png: {BROKEN}" for index in (0, 5, 19)
    }
    assert [tuple(problem) for problem in store.manifest.problems] == [("/data/x.png", "has no mask")]
    assert not store._arrays[IMAGES][[0, 5, 19]].any()
    assert [store.counts("visible")[index] for index in (0, 5, 19)] == [-1] * 3
    assert refusal(source, stores)[-1] == hint(17)  # the store is there; to fail was asked for


def test_an_item_that_can_be_read_again_is(tiny: Make, stores: Path) -> None:
    refusal(tiny(broken=(3,)), stores)
    store = in_order(tiny(), stores)
    assert not store.bad
    assert_same(store[3], tiny().item(3).sample)


def test_nothing_can_be_read(tiny: Make, stores: Path) -> None:
    lines = [f"/data/{index:02}.png: {BROKEN}" for index in range(3)]
    for on_error in ("fail", "skip"):
        found = refusal(tiny(size=3, broken=(0, 1, 2)), stores, on_error=on_error)
        assert found == [*lines, "tiny: none of the 3 pictures can be read"]
    assert refusal(tiny(size=0), stores) == ["tiny: there are no pictures to pack"]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (
            {"image_CHW": torch.zeros(3, 4, 4, dtype=torch.uint8)},
            "its picture is torch.uint8 of shape (3, 4, 4); this store holds uint8 of (3, 6, 5)",
        ),
        (
            {"image_CHW": torch.zeros(3, 6, 5)},
            "its picture is torch.float32 of shape (3, 6, 5); this store holds uint8 of (3, 6, 5)",
        ),
        ({"mask_HW": None}, "it has no mask and pictures before it have one; give all of them or none"),
        ({"mask_HW": torch.zeros(6, 5)}, "its mask is torch.float32; a dataset gives whole numbers"),
        (
            {"mask_HW": torch.zeros(5, 6, dtype=torch.int64)},
            "its mask has shape (5, 6); this store holds (6, 5)",
        ),
        (
            {"mask_HW": torch.full((6, 5), 2**40)},
            f"its mask has labels from {2**40} to {2**40}, more than 32 bits can hold",
        ),
        ({"attributes": {"num_objects": "two"}}, "its number of objects is 'two', not a whole number"),
        (
            {"attributes": {"color": b"red"}},
            "its attributes are no JSON data: Object of type bytes is not JSON serializable",
        ),
    ],
)
def test_items_unlike_the_others(tiny: Make, stores: Path, odd: dict[str, Any], reason: str) -> None:
    assert refusal(tiny(odd={4: odd}), stores) == [f"/data/04.png: {reason}", hint(19)]


def test_a_mask_where_there_is_none(tiny: Make, stores: Path) -> None:
    odd = {4: {"mask_HW": torch.zeros(6, 5, dtype=torch.uint8)}}
    reason = "it has a mask and pictures before it have none; give all of them or none"
    assert refusal(tiny(masked=False, odd=odd), stores) == [f"/data/04.png: {reason}", hint(19)]


def test_a_dataset_that_fails_as_it_should_not(tiny: Make, stores: Path) -> None:
    text = "a dataset raises DataError for files that cannot be read"
    assert refusal(tiny(bug=8), stores) == [f"tiny: item 8 fails: KeyError: 'shape'; {text}"]


# --- stopped and resumed -----------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> SimpleNamespace:
    """End the process at the `moment`th change of the disk, which is half done if it is a write."""
    calls = SimpleNamespace(left=moment)

    def counted(real: Callable[..., Any], half: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.left -= 1
            if calls.left < 0:
                if half and calls.left == -1:
                    file, data, offset = arguments
                    real(file, data[: len(data) // 2], offset)
                raise Killed
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "pwrite", counted(os.pwrite, half=True))
    for name in ("fsync", "ftruncate"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for name in ("rename", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))
    return calls


def test_killed_at_every_change_of_the_disk(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny(size=7, wide=(5,))
    whole = files(in_order(source, tmp_path / "whole").path)
    for moment in range(1000):
        stores = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            calls = kill_at(patch, moment)
            with contextlib.suppress(Killed):
                in_order(source, stores, chunk=3)
        path = store_path(source, stores, "first")
        if path.exists():
            assert files(path) == whole
        assert files(in_order(source, stores, chunk=2).path) == whole
        assert not unfinished_any(stores)
        if calls.left >= 0:
            break
    assert 30 < moment < 999


def stop_after(source: Source, stores: Path, items: int, **options: Any) -> None:
    def stop(progress: PackProgress) -> None:
        if progress.done >= items:
            raise KeyboardInterrupt

    with pytest.raises(PackStopped) as caught:
        in_order(source, stores, report=stop, **options)
    assert str(caught.value) == "packing stopped; packing again goes on from there"
    assert caught.value.exit_code == 130


def test_what_is_packed_is_not_packed_again(tiny: Make, stores: Path) -> None:
    stop_after(tiny(), stores, 12, chunk=4)
    said: list[str] = []
    seen: list[PackProgress] = []
    in_order(tiny(), stores, chunk=5, say=said.append, report=seen.append)
    assert said == ["going on where packing stopped: 12 of 20 pictures are there"]
    assert [progress.done for progress in seen] == [12, 17, 20]


def damage(path: Path, stream: random.Random) -> None:
    """Cut a file off, flip a byte of it, or add some."""
    data = bytearray(path.read_bytes())
    place = stream.randrange(len(data)) if data else 0
    how = stream.randrange(3)
    if how == 0:
        del data[place:]
    elif how == 1 and data:
        data[place] ^= 1 << stream.randrange(8)
    else:
        data += stream.randbytes(stream.randrange(1, 200))
    path.write_bytes(data)


def test_damage_to_what_was_kept_is_mended(tiny: Make, tmp_path: Path) -> None:
    source = tiny(wide=(2,))
    whole = files(in_order(source, tmp_path / "whole").path)
    stop_after(source, tmp_path / "kept", 16, chunk=4)
    for seed in range(60):
        stream = random.Random(seed)
        stores = tmp_path / str(seed)
        shutil.copytree(tmp_path / "kept", stores)
        parts = sorted(path for path in unfinished(stores).rglob("*") if path.is_file())
        for _ in range(stream.randrange(1, 4)):
            damage(stream.choice(parts), stream)
        assert files(in_order(source, stores, chunk=3).path) == whole


def test_what_is_of_other_data_is_begun_anew(tiny: Make, stores: Path) -> None:
    stop_after(tiny(), stores, 8, chunk=4)
    journal = unfinished(stores) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"format": 1', b'"format": 0', 1))
    said: list[str] = []
    path = unfinished(stores)
    in_order(tiny(), stores, say=said.append)
    assert said == [f"{path} is of other data or another format: packing starts anew"]


def test_wide_labels_are_said(tiny: Make, stores: Path) -> None:
    said: list[str] = []
    in_order(tiny(wide=(9,)), stores, say=said.append)
    assert said == [
        "a mask has labels above 255, or void, which need more than 8 bits: packing starts anew with 32"
    ]


# --- locks and full disks ----------------------------------------------------------------


def test_two_cannot_pack_the_same(tiny: Make, stores: Path) -> None:
    path = store_path(tiny(), stores, "first")
    partial = path.with_name(path.name + PARTIAL)
    with locked(partial):
        text = "is being packed by another process; wait for it, or end it"
        assert refusal(tiny(), stores) == [f"{partial} {text}"]
    in_order(tiny(), stores)


def test_a_lock_of_a_folder_that_was_removed_is_none(
    tiny: Make, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = locks.is_at

    def removed_once(file: int, path: Path) -> bool:
        monkeypatch.setattr(locks, "is_at", real)
        shutil.rmtree(path.parent)
        return real(file, path)

    monkeypatch.setattr(locks, "is_at", removed_once)
    in_order(tiny(), stores)


def test_too_little_space_is_said_before(tiny: Make, stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1500))
    [line] = refusal(tiny(), stores)
    assert line.startswith("packing needs ")
    assert line.endswith(
        f" KB in {stores}, 1.5 KB are free; make room, or choose another folder with --stores"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(tiny: Make, stores: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    calls: Iterator[int] = iter(range(1000))
    real = os.pwrite

    def full(file: int, data: bytes, offset: int) -> int:
        if next(calls) > 20:
            raise OSError(number, os.strerror(number))
        return real(file, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert refusal(tiny(), stores, chunk=4) == [
            (
                f"there is no space left in {stores}; make room and pack again, which goes on from there, "
                "or choose another folder with --stores"
            )
        ]
    said: list[str] = []
    in_order(tiny(), stores, say=said.append)
    assert said == ["going on where packing stopped: 8 of 20 pictures are there"]


def test_other_errors_of_the_disk_are_not_hidden(
    tiny: Make, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match="Input/output error"):
        in_order(tiny(), stores)


def test_a_write_that_takes_a_part_goes_on(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files(in_order(tiny(), tmp_path / "whole").path)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real(file, data[:7], offset))
    assert files(in_order(tiny(), tmp_path / "parts").path) == whole


# --- worker processes --------------------------------------------------------------------


def test_a_worker_that_is_killed(tiny: Make, stores: Path) -> None:
    assert refusal(tiny(fatal=9), stores, workers=1, chunk=4) == [
        (
            "a worker process was killed by signal 9; if memory ran out, give fewer --workers; "
            "packing again goes on where it stopped"
        )
    ]
    said: list[str] = []
    in_order(tiny(), stores, say=said.append)
    assert said == ["going on where packing stopped: 8 of 20 pictures are there"]


def test_a_dataset_that_cannot_travel(stores: Path, tiny: Make) -> None:
    source = tiny()
    source.dataset.callback = lambda: None  # type: ignore[attr-defined]
    [line] = refusal(source, stores, workers=1)
    assert line.startswith("tiny: the dataset cannot be sent to another process: ")
    assert line.endswith("; pack it with --workers 0")


@pytest.mark.slow
def test_a_dataset_that_cannot_arrive(tiny: Make, stores: Path, tmp_path: Path) -> None:
    source = tiny()
    (tmp_path / "code" / "packable.py").unlink()
    assert refusal(source, stores, workers=1) == [
        (
            "the dataset cannot be read in another process: ModuleNotFoundError: No module named 'packable'; "
            "pack it with --workers 0"
        )
    ]


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_arrives(tiny: Make, stores: Path) -> None:
    text = "a dataset raises DataError for files that cannot be read"
    assert refusal(tiny(bug=8), stores, workers=1) == [f"tiny: item 8 fails: KeyError: 'shape'; {text}"]


def test_processes_started_meanwhile_ignore_ctrl_c() -> None:
    from slotlab.framework.data.store.workers import no_interrupt

    before = signal.getsignal(signal.SIGINT)
    with no_interrupt():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == before
    found: list[object] = []

    def elsewhere() -> None:
        with no_interrupt():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


def test_chunks_are_given_as_they_are_done(tiny: Make, tmp_path: Path) -> None:
    layout = Layout(20, (6, 5), "uint8")
    with Rows(tmp_path, layout, writable=True) as rows:
        rows.create()
    lines = list(pack_chunks(PackJob(tiny(), tmp_path, layout), [[3, 4], [0]], 0))
    assert [len(chunk) for chunk in lines] == [2, 1]
    assert (tmp_path / MASKS).stat().st_size == layout.file_bytes(MASKS)
    with pytest.raises(StoreError, match=r"is no packed store: it has no manifest\.json"):
        Store.open(tmp_path)
