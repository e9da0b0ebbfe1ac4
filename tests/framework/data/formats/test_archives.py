"""Laws of archives: what is read from them equals what was put in, and damage harms nothing else."""

import gzip
import io
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotlab.framework.data.formats.archives import ArchiveProgress, Opened, open_archive
from slotlab.registry import SlotlabError

FILES = {
    f"folder/{'long' * 20 if i == 2 else i // 3}/{'name' * (i % 3) * 5}{i}.keep": bytes([i]) * (700 * i)
    for i in range(9)
}
OTHERS = {f"folder/{i}.drop": bytes([i]) * 5000 for i in range(9)}


def wanted(name: str) -> bool:
    return name.endswith(".keep")


def pack(path: Path, files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w", format=form) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def shuffled(files: Mapping[str, bytes]) -> dict[str, bytes]:
    names = list(files)
    random.Random(0).shuffle(names)
    return {name: files[name] for name in names}


def read(opened: Opened, archive: Path) -> dict[str, bytes]:
    return {blob.name.removeprefix(f"{archive}/"): blob.read() for blob in opened.files}


def left_behind(stores: Path) -> list[str]:
    return sorted(path.name for path in stores.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_gives_what_was_put_in(tmp_path: Path, name: str, form: int) -> None:
    archive = pack(tmp_path / name, shuffled(FILES | OTHERS), form)
    opened = open_archive(archive, wanted, stores=tmp_path / "stores")
    assert (read(opened, archive), opened.problems) == (FILES, [])
    assert {blob.path == str(archive) for blob in opened.files} == {name == "a.tar"}
    assert len(left_behind(tmp_path / "stores")) == (1 if name == "a.tar" else 2)


@given(st.dictionaries(st.text("ab/.é", min_size=1, max_size=120), st.binary(max_size=2000), max_size=6))
@settings(max_examples=30)
def test_gives_any_files_with_safe_names(files: dict[str, bytes]) -> None:
    safe = {f"x/{i}/{name.strip('./') or 'x'}": content for i, (name, content) in enumerate(files.items())}
    safe = {name: content for name, content in safe.items() if ".." not in name.split("/")}
    with tempfile.TemporaryDirectory() as folder:
        archive = pack(Path(folder, "a.tar.gz"), safe)
        assert read(open_archive(archive, lambda name: True, stores=Path(folder, "stores")), archive) == safe


def test_the_copy_is_a_tar_of_what_is_wanted_alone(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", FILES | OTHERS)
    opened = open_archive(archive, wanted, stores=tmp_path / "stores")
    with tarfile.open(opened.files[0].path) as tar:
        contents = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    assert contents == FILES


def test_an_archive_is_read_whole_only_once(tmp_path: Path) -> None:
    archive, stores, seen = pack(tmp_path / "a.tar.gz", FILES), tmp_path / "stores", []
    first = open_archive(archive, wanted, stores=stores, report=lambda *facts: seen.append(facts))
    assert seen
    assert {facts[::2] for facts in seen} == {(archive, archive.stat().st_size)}
    seen.clear()
    assert open_archive(archive, wanted, stores=stores, report=lambda *facts: seen.append(facts)) == first
    assert seen == []
    os.utime(archive, (1, 1))
    open_archive(archive, wanted, stores=stores, report=lambda *facts: seen.append(facts))
    assert seen


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 0}', b'{"format": 1, "names": 3}'])
def test_a_damaged_index_is_made_again(tmp_path: Path, content: bytes) -> None:
    archive, stores = pack(tmp_path / "a.tar.gz", FILES), tmp_path / "stores"
    first = open_archive(archive, wanted, stores=stores)
    [index] = stores.rglob("*.json")
    index.write_bytes(content)
    assert open_archive(archive, wanted, stores=stores) == first
    assert json.loads(index.read_bytes())["format"] == 1


def test_a_copy_that_was_removed_is_made_again(tmp_path: Path) -> None:
    archive, stores = pack(tmp_path / "a.tar.gz", FILES), tmp_path / "stores"
    open_archive(archive, wanted, stores=stores)
    [copy] = stores.rglob("*.tar")
    copy.unlink()
    assert read(open_archive(archive, wanted, stores=stores), archive) == FILES


def test_compression_is_seen_in_the_file_not_in_its_name(tmp_path: Path) -> None:
    unzipped = pack(tmp_path / "x.tar", FILES).rename(tmp_path / "unzipped.tar.gz")
    zipped = pack(tmp_path / "x.tar.gz", FILES).rename(tmp_path / "zipped.tar")
    for archive in (unzipped, zipped):
        assert read(open_archive(archive, wanted, stores=tmp_path / "stores"), archive) == FILES


def test_archives_joined_by_cat_are_read_as_one(tmp_path: Path) -> None:
    names = sorted(FILES)
    parts = [
        pack(tmp_path / f"{i}.tar.gz", {name: FILES[name] for name in names[i::2]}).read_bytes()
        for i in (0, 1)
    ]
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(b"".join(parts))
    assert read(open_archive(archive, wanted, stores=tmp_path / "stores"), archive) == FILES


def damage(path: Path, how: str) -> Path:
    content = path.read_bytes()
    if how == "cut":
        content = content[: len(content) // 2]
    elif how == "no end":  # at a boundary of members, which tarfile takes for the end
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            plain = plain[: tar.getmembers()[-1].offset]
        content = gzip.compress(plain) if path.suffix == ".gz" else plain
    elif how == "garbage":
        content = b"<html>404</html>" * 100
    elif how == "garbage inside":
        plain = bytearray(gzip.decompress(content) if path.suffix == ".gz" else content)
        with tarfile.open(fileobj=io.BytesIO(bytes(plain))) as tar:
            place = tar.getmembers()[4].offset
        plain[place : place + 512] = b"x" * 512
        content = gzip.compress(bytes(plain)) if path.suffix == ".gz" else bytes(plain)
    elif how == "wrong checksum":
        content = content[:-8] + b"12345678"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "how", "reason"),
    [
        ("a.tar.gz", "cut", "Compressed file ended before the end-of-stream marker was reached"),
        ("a.tar.gz", "no end", "it has no end mark"),
        ("a.tar.gz", "garbage", "invalid header"),
        ("a.tar.gz", "garbage inside", "invalid header"),
        ("a.tar.gz", "wrong checksum", "CRC check failed"),
        ("a.tar.gz", "empty", "empty file"),
        ("a.tar", "cut", "it has no end mark"),
        ("a.tar", "no end", "it has no end mark"),
        ("a.tar", "garbage inside", "invalid header"),
    ],
)
def test_a_damaged_archive_is_named_and_leaves_nothing(
    tmp_path: Path, name: str, how: str, reason: str
) -> None:
    archive = pack(tmp_path / name, {f"f/{i}.keep": random.Random(i).randbytes(3000) for i in range(9)})
    if how == "empty":
        archive.write_bytes(b"")
    damage(archive, how)
    opened = open_archive(archive, wanted, stores=tmp_path / "stores")
    assert opened.files == ()
    [problem] = opened.problems
    assert problem.path == str(archive)
    assert problem.reason.startswith(f"is no whole tar archive ({reason}")
    assert problem.reason.endswith("); all of it is left out: download it again")
    assert left_behind(tmp_path / "stores") == []


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_hostile_members_are_neither_followed_nor_written(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "in" / name
    archive.parent.mkdir()
    (tmp_path / "secret.keep").write_bytes(b"secret")
    with tarfile.open(archive, "w:gz" if name.endswith("gz") else "w") as tar:
        for path in ("/tmp/evil.keep", "../evil.keep", "a/../../evil.keep", "good.keep"):
            info = tarfile.TarInfo(path)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"data"))
        for kind, path in ((tarfile.SYMTYPE, "soft.keep"), (tarfile.LNKTYPE, "hard.keep")):
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, "../secret.keep"
            tar.addfile(info)
        info = tarfile.TarInfo("pipe.keep")
        info.type = tarfile.FIFOTYPE
        tar.addfile(info)
        info = tarfile.TarInfo("holes.keep")  # a sparse file: 4 bytes in the archive stand for 5000
        info.size, info.pax_headers = 4, {"GNU.sparse.map": "0,4", "GNU.sparse.size": "5000"}
        tar.addfile(info, io.BytesIO(b"data"))
    before = {path for path in tmp_path.rglob("*") if "stores" not in path.parts}
    opened = open_archive(archive, wanted, stores=tmp_path / "stores")
    assert read(opened, archive) == {"good.keep": b"data"}
    leads = "is left out: the name leads out of the archive"
    links = "is left out: it is a link or special, not a plain file"
    assert [str(problem) for problem in opened.problems] == [
        f"{archive}: its member '/tmp/evil.keep' {leads}",
        f"{archive}: its member '../evil.keep' {leads}",
        f"{archive}: its member 'a/../../evil.keep' {leads}",
        f"{archive}: its member 'soft.keep' {links}",
        f"{archive}: its member 'hard.keep' {links}",
        f"{archive}: its member 'pipe.keep' {links}",
        f"{archive}: its member 'holes.keep' {links}",
    ]
    assert {path for path in tmp_path.rglob("*") if "stores" not in path.parts} == before
    assert open_archive(archive, wanted, stores=tmp_path / "stores") == opened


def test_a_size_below_zero_does_not_read_for_ever(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", {"a.keep": b"1", "b.keep": b"2"})
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        start = tar.getmembers()[1].offset
    content[start + 124 : start + 136] = (-1024).to_bytes(12, "big", signed=True)
    content[start + 148 : start + 156] = b"        "
    content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    archive.write_bytes(content)
    [problem] = open_archive(archive, wanted, stores=tmp_path / "stores").problems
    assert "is no whole tar archive" in problem.reason


def test_an_unreadable_archive_is_a_problem(tmp_path: Path) -> None:
    opened = open_archive(tmp_path / "a.tar", wanted, stores=tmp_path / "stores")
    assert [str(problem) for problem in opened.problems] == [
        f"{tmp_path}/a.tar: cannot be read: No such file or directory"
    ]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", FILES)
    (tmp_path / "stores").write_bytes(b"a file")
    with pytest.raises(SlotlabError) as caught:
        open_archive(archive, wanted, stores=tmp_path / "stores")
    text = str(caught.value)
    assert text.startswith(f"cannot write {tmp_path}/stores/archives/a-")
    assert text.endswith(
        ".tar: Not a directory; make room there, or set SLOTLAB_STORES to a folder elsewhere"
    )


KILLED = """
import sys, time
from pathlib import Path
from slotlab.framework.data.formats.archives import open_archive

def report(archive, done, total):
    print("here", flush=True)
    time.sleep(60)

open_archive(Path(sys.argv[1]), lambda name: True, stores=Path(sys.argv[2]), report=report)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    archive, stores = pack(tmp_path / "a.tar.gz", FILES), tmp_path / "stores"
    command = [sys.executable, "-c", KILLED, str(archive), str(stores)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    [left] = stores.rglob("*.*")
    assert left.name.endswith(".tmp")
    assert read(open_archive(archive, wanted, stores=stores), archive) == FILES
    assert not left.exists()
    assert len(left_behind(stores)) == 2


def test_interrupted_it_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    archive = pack(tmp_path / "a.tar.gz", FILES)
    with pytest.raises(KeyboardInterrupt):
        open_archive(archive, wanted, stores=tmp_path / "stores", report=interrupt)
    assert left_behind(tmp_path / "stores") == []


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(100_000)
    archive = pack(
        tmp_path / "a.tar.gz", {f"{i}.keep": content for i in range(300)} | {"big.keep": content * 90}
    )
    assert archive.stat().st_size > 30e6
    tracemalloc.start()
    open_archive(archive, wanted, stores=tmp_path / "stores")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6


def test_travels_to_another_process(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar.gz", FILES)
    opened = open_archive(archive, wanted, stores=tmp_path / "stores")
    assert read(pickle.loads(pickle.dumps(opened)), archive) == FILES


def test_stores_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOTLAB_STORES", str(tmp_path / "mine"))
    open_archive(pack(tmp_path / "a.tar.gz", FILES), wanted)
    assert len(left_behind(tmp_path / "mine" / "archives")) == 2


def test_progress_is_told_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ArchiveProgress(every_s=0)
    progress(Path("a.tar.gz"), 1_175_000_000, 4_700_000_000)
    assert capsys.readouterr() == ("", "reading a.tar.gz: 25% of 4.7 GB\n")
    progress.every_s = 60
    progress(Path("a.tar.gz"), 2, 3)
    assert capsys.readouterr() == ("", "")
