"""Locks can be checked without being taken, and temporary files of killed processes are cleared."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotlab.framework.system import atomic, locks
from slotlab.framework.system.atomic import (
    clear_leavings,
    leavings,
    replaced_together,
    write_atomically,
    write_output,
    written_whole,
)
from slotlab.framework.system.locks import exclusive, is_held
from slotlab.registry import SlotlabError

Start = Callable[[str, Path], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that gives a process some Python to do with a path, until it prints a line."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, path: Path) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-c",
            f"import sys\nfrom pathlib import Path\npath = Path(sys.argv[1])\n{code}",
        ]
        process = subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


LOOKER = """
from slotlab.framework.system.locks import is_held
print("here", flush=True)
while True:
    is_held(path)
"""
WRITER = """
import time
from slotlab.framework.system.atomic import written_whole
with written_whole(path) as file:
    file.write(b"half")
    file.flush()
    print("here", flush=True)
    time.sleep(600)
"""


def test_whoever_looks_stops_no_start(tmp_path: Path, start: Start) -> None:
    for _ in range(2):
        start(LOOKER, tmp_path)
    for _ in range(3000):
        with exclusive(tmp_path, "taken"):
            pass


def test_where_the_system_cannot_look_without_a_lock_a_start_tries_again(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_SEE", None)
    start(
        LOOKER.replace(
            "from slotlab", "from slotlab.framework.system import locks\nlocks._SEE = None\nfrom slotlab"
        ),
        tmp_path,
    )
    for _ in range(300):
        with exclusive(tmp_path, "taken"):
            pass
    assert not is_held(tmp_path)


@pytest.mark.parametrize("see", [locks._SEE, None])
def test_a_folder_is_held_by_one(tmp_path: Path, see: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_SEE", see)
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.01)
    assert not is_held(tmp_path)
    with exclusive(tmp_path, "taken"):
        assert is_held(tmp_path)
        assert is_held(tmp_path), "looking changes nothing"
        with pytest.raises(SlotlabError, match="taken"), exclusive(tmp_path, "taken"):
            pass
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    assert not is_held(tmp_path / "gone")


def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path: Path, start: Start) -> None:
    path = tmp_path / "file"
    writer = start(WRITER, path)
    assert len(leavings(tmp_path)) == 1
    clear_leavings(leavings(tmp_path))
    assert len(leavings(tmp_path)) == 1, "it is being written"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    clear_leavings(leavings(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_number_of_a_process_says_nothing(tmp_path: Path) -> None:
    left = [tmp_path / f".step-1.pt.{number}.tmp" for number in (os.getpid(), os.getppid(), 999_999_999)]
    for path in left:
        path.write_bytes(b"of an earlier version")
    others = [tmp_path / name for name in (".hidden", "a.tmp", ".a.tmp", ".a.xyz.tmp", "step-1.pt")]
    for path in others:
        path.write_bytes(b"")
    clear_leavings(leavings(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_names_are_no_patterns(tmp_path: Path) -> None:
    for name in (".a[b].12345678.tmp", ".ab.12345678.tmp"):
        (tmp_path / name).touch()
    assert [path.name for path in leavings(tmp_path, of="a[b]")] == [".a[b].12345678.tmp"]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".album.12345678.old").mkdir()
    (tmp_path / ".album.12345678.old" / "picture").touch()
    (tmp_path / ".album.12345678.tmp").mkdir()
    clear_leavings(leavings(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == [
        "album",
        "album/picture",
    ]
    (tmp_path / ".album.87654321.old").mkdir()
    clear_leavings(leavings(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["album"], "there is a newer one"


def test_a_file_that_a_user_wants_takes_its_own_leavings_with_it(tmp_path: Path) -> None:
    for name in (".page.html.0123abcd.tmp", ".other.html.0123abcd.tmp"):
        (tmp_path / name).touch()
    write_output(tmp_path / "page.html", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", ".other.html.0123abcd.tmp"}


def test_a_writer_whose_file_was_cleared_before_it_was_locked_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomic.is_at

    def cleared_once(number: int, path: Path) -> bool:
        monkeypatch.setattr(atomic, "is_at", real)
        path.unlink()
        return real(number, path)

    monkeypatch.setattr(atomic, "is_at", cleared_once)
    write_atomically(tmp_path / "file", b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_files_that_are_read_together_are_of_one_call(tmp_path: Path) -> None:
    with replaced_together(tmp_path, {"a": b"1", "b": b"1", "last": b"1"}, last="last"):
        assert not (tmp_path / "last").exists()
    with replaced_together(tmp_path, {"a": b"2", "b": None, "last": b"2"}, last="last"):
        assert not (tmp_path / "last").exists()
        assert (tmp_path / "a").read_bytes() == b"1"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2", "last": b"2"}


@pytest.mark.parametrize("names", [("last", "a", "b"), ("a", "last", "b"), ("a", "b", "last")])
@pytest.mark.parametrize("reached", [0, 1, 2])
def test_a_kill_at_any_replacement_leaves_the_last_one_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], reached: int
) -> None:
    with replaced_together(tmp_path, dict.fromkeys(names, b"1"), last="last"):
        pass
    replace, done = Path.replace, iter(range(9))

    def killed(path: Path, target: Path) -> Path:
        if next(done) == reached:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with (
        pytest.raises(KeyboardInterrupt),
        replaced_together(tmp_path, dict.fromkeys(names, b"2"), last="last"),
    ):
        pass
    assert not (tmp_path / "last").exists()


def test_a_full_disk_keeps_files_that_are_read_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replaced_together(tmp_path, {"a": b"1", "last": b"1"}, last="last"):
        pass
    calls = iter(range(9))

    def full(number: int) -> None:
        if next(calls):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OSError, match="No space"),
        replaced_together(tmp_path, {"a": b"2", "last": b"2"}, last="last"),
    ):
        pass
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "last": b"1"}


def test_a_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with written_whole(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
