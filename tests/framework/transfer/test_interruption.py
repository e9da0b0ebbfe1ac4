"""Killed at any change of the other side's or of this disk: no run, or a whole one; and the same command goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import slotlab
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.transfer.address import Address
from slotlab.framework.transfer.contents import Choice, Contents, Item, contents_of
from slotlab.framework.transfer.folder_store import FolderStore
from slotlab.framework.transfer.pull import pull_run
from slotlab.framework.transfer.store import silent
from slotlab.registry import SlotlabError

CHANGES = ("pipe_file", "put_file", "mv", "rm_file")
PLACES = ("memory", "folder")


class Killed(BaseException):
    """The end of a process."""


class Frail:
    """A file system that does so many changes and then no more, as that of a process that is killed."""

    def __init__(self, fs: Any, left: int, error: type[BaseException], *, once: bool):
        self.fs, self.left, self.error, self.once = fs, left, error, once
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.fs, name)
        return self.counted(name, found) if name in CHANGES else found

    def counted(self, name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left == 0 or (self.left < 0 and not self.once):
                raise self.error("the line is cut")
            self.done.append(str(given[0]))
            return change(*given, **options)

        return call


@pytest.fixture
def contents(run: Path) -> Contents:
    found = contents_of(RunFolder(run), Choice(figures=False))
    found.items["README.md"] = Item.of(b"# a card\n")
    return found


@pytest.fixture
def other(run: Path) -> Contents:
    """The same run, pushed with another checkpoint and without what was measured of it."""
    return contents_of(RunFolder(run), Choice(checkpoints=("best",), evaluations=False, figures=False))


@pytest.fixture(params=PLACES)
def address(request: pytest.FixtureRequest, memory: str) -> Address:
    return Address.parse(memory if request.param == "memory" else "shared/run")


def deaths(address: Address, contents: Contents, *, overwrite: bool = False) -> Iterator[int]:
    """Push until it succeeds, killed at each change in turn; yield after each death."""
    for left in range(1, 200):
        store = FolderStore.open(address)
        store.fs = Frail(store.fs, left, Killed, once=False)
        try:
            store.publish(contents, overwrite=overwrite, report=silent)
        except Killed:
            yield left
        else:
            return
    raise AssertionError("it never ends")


def seen(address: Address, number: int) -> dict[str, str] | None:
    """What another user finds there: the hashes of a whole run; None if there is none."""
    from slotlab.framework.transfer.manifest import hash_file

    store = FolderStore.open(address)
    if store.read("manifest.json", 2**20) is None:
        with pytest.raises(SlotlabError, match="there is no pushed run"):
            pull_run(store, Path(f"seen-{number}"), silent)
        assert not Path(f"seen-{number}").exists()
        return None
    found = pull_run(store, Path(f"seen-{number}"), silent)
    every = [path for path in found.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(found).as_posix(): hash_file(path).sha256 for path in every}


def hashes(contents: Contents) -> dict[str, str]:
    return {name: item.entry.sha256 for name, item in contents.items.items()}


def test_a_push_that_is_killed_leaves_no_run_or_a_whole_one(address: Address, contents: Contents) -> None:
    died = 0
    for died in deaths(address, contents):
        assert seen(address, died) in (None, hashes(contents))
    assert died > len(contents.items), "every file was a death"
    assert seen(address, 0) == hashes(contents)
    left = FolderStore.open(address).names() - set(contents.items)
    assert left == {"manifest.json"}, "nothing temporary stays"


def test_a_push_that_replaces_another_never_mixes_them(
    address: Address, contents: Contents, other: Contents
) -> None:
    FolderStore.open(address).publish(other, overwrite=False, report=silent)
    for died in deaths(address, contents, overwrite=True):
        assert seen(address, died) in (None, hashes(other), hashes(contents))
    assert seen(address, 0) == hashes(contents)
    assert FolderStore.open(address).names() - set(contents.items) == {"manifest.json"}


def test_after_an_error_only_the_rest_is_sent(address: Address, contents: Contents) -> None:
    for broken in range(1, len(contents.items) + 1):
        place = Address.parse(f"{address.text}-{broken}")
        store = FolderStore.open(place)
        store.fs = Frail(store.fs, 2 * broken + 1, OSError, once=True)  # each is written, then renamed
        with pytest.raises(SlotlabError, match="the line is cut; the same command goes on"):
            store.publish(contents, overwrite=False, report=silent)
        again = FolderStore.open(place)
        names: list[str] = []
        send = again.send
        again.send = lambda name, item, send=send, names=names: (names.append(name), send(name, item))  # type: ignore[method-assign]
        again.publish(contents, overwrite=False, report=silent)
        assert [name for name in names if name in contents.items] == contents.order[broken - 1 :]


def test_a_pull_that_is_killed_goes_on(
    address: Address, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    FolderStore.open(address).publish(contents, overwrite=False, report=silent)
    fetched: list[str] = []
    fetch = FolderStore.fetch

    def dying(self: FolderStore, name: str, file: Any) -> None:
        if name not in fetched:
            fetched.append(name)
            file.write(b"half of it")
            raise Killed
        fetch(self, name, file)

    monkeypatch.setattr(FolderStore, "fetch", dying)
    for _ in contents.items:
        with pytest.raises(Killed):
            pull_run(FolderStore.open(address), Path("there"), silent)
        assert not Path("there").exists()
        assert not list(Path().glob(".there.*/spec.yaml")), "what is not whole is no run"
    calls: list[str] = []
    monkeypatch.setattr(
        FolderStore, "fetch", lambda self, name, file: (calls.append(name), fetch(self, name, file))
    )
    [partial] = Path().glob(".there.*")
    (partial / ".spec.yaml.01234567.tmp").write_bytes(b"left by a kill")
    assert pull_run(FolderStore.open(address), Path("there"), silent) == Path("there")
    assert calls == ["spec.yaml"], "what was fetched is not fetched again"
    assert not list(Path().glob(".there.*"))
    found = {path.relative_to("there").as_posix() for path in Path("there").rglob("*") if path.is_file()}
    assert found == {"manifest.json", *contents.items}


def test_two_pulls_of_one_run_do_not_disturb_each_other(run: Path, memory: str) -> None:
    from slotlab.framework.system.locks import exclusive

    slotlab.push(run, memory)
    target = slotlab.pull(memory, "there")
    target.rename("elsewhere")
    digest = Path("elsewhere", "manifest.json")
    import hashlib

    partial = Path(f".there.{hashlib.sha256(digest.read_bytes()).hexdigest()[:8]}.tmp")
    partial.mkdir()
    with exclusive(partial, "taken"), pytest.raises(SlotlabError, match="being fetched by another process"):
        slotlab.pull(memory, "there")
    assert slotlab.pull(memory, "there").is_dir()
