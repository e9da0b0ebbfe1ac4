"""Published data over HTTP: interrupted and gone on with, changed, wrong, refused; and archives."""

import errno
import hashlib
import io
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slotlab.framework.contracts import Downloads, HasDownloads, Source
from slotlab.framework.data.downloads import transfer
from slotlab.framework.data.downloads.fetching import LEDGER, fetch_all, look, sources_of
from slotlab.framework.data.downloads.transfer import RETRIES, fetch_file
from slotlab.framework.data.downloads.unpacking import unpack
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.registry import SlotlabError

CONTENT = bytes(os.urandom(1 << 16)) + b"the end"


@dataclass
class Served:
    """One file, and how its server behaves."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    minds_if_range: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers breaks off."""
    statuses: list[int] = field(default_factory=list)
    """Errors that the next answers are."""
    asked: list[str | None] = field(default_factory=list)
    """The `Range` of each request."""
    url: str = ""


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append(wanted)
            if served.statuses:
                self.send_error(served.statuses.pop(0))
                return
            start, content = 0, served.content
            condition = self.headers.get("If-Range")
            same = condition is None or condition in (served.etag, served.date) or not served.minds_if_range
            if wanted and served.ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            for name, value in (("ETag", served.etag), ("Last-Modified", served.date)):
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = served.cuts.pop(0) if served.cuts else None
            self.wfile.write(content[start:] if cut is None else content[start : start + cut])

        def log_message(self, *words: Any) -> None:
            pass

    return Handler


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(one))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    one.url = f"http://127.0.0.1:{server.server_address[1]}/data.bin"
    yield one
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Fetching:
    """Fetches into a file, and notes waits and warnings."""

    path: Path
    waits: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __call__(self, served: Served, sha256: str | None = None) -> transfer.Fetched:
        return fetch_file(served.url, self.path, sha256=sha256, wait=self.waits.append, warn=self.told.append)

    @property
    def left(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir() if path != self.path)


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path / "into" / "data.bin")


def test_a_whole_file_comes_once(served: Served, fetching: Fetching) -> None:
    found = fetching(served, hashlib.sha256(CONTENT).hexdigest().upper())
    assert fetching.path.read_bytes() == CONTENT
    assert found == transfer.Fetched(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert served.asked == [None]
    assert fetching.left == []


@pytest.mark.parametrize(
    ("etag", "date"), [('"one"', None), (None, "Wed, 01 Jan 2025 00:00:00 GMT"), (None, None)]
)
def test_one_that_breaks_off_goes_on_where_it_was(
    served: Served, fetching: Fetching, etag: str | None, date: str | None
) -> None:
    served.etag, served.date, served.cuts = etag, date, [1000, 2000]
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT
    assert served.asked == [None, "bytes=1000-", "bytes=3000-"]
    assert fetching.left == []


def test_a_later_command_goes_on_where_the_first_gave_up(served: Served, fetching: Fetching) -> None:
    served.cuts = [1000, *([0] * RETRIES)]
    with pytest.raises(SlotlabError, match=r"ended after 1000 of \d+ bytes; what has come is kept"):
        fetching(served)
    assert fetching.left == [".data.bin.part", ".data.bin.part.json"]
    assert not fetching.path.exists()
    served.asked.clear()
    fetching(served)
    assert served.asked == ["bytes=1000-"]
    assert fetching.path.read_bytes() == CONTENT


def test_one_that_was_killed_before_its_name_is_not_fetched_again(served: Served, fetching: Fetching) -> None:
    served.cuts = [len(CONTENT) - 5, *([0] * RETRIES)]
    with pytest.raises(SlotlabError):
        fetching(served)
    with fetching.path.with_name(".data.bin.part").open("ab") as file:
        file.write(CONTENT[-5:])  # the rest had come, and the process was killed
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT


@pytest.mark.parametrize("minds", [True, False])
def test_a_file_that_has_changed_is_fetched_anew(served: Served, fetching: Fetching, minds: bool) -> None:
    served.cuts, served.minds_if_range = [1000, *([0] * RETRIES)], minds
    with pytest.raises(SlotlabError):
        fetching(served)
    served.content, served.etag = CONTENT[::-1], '"two"'
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT[::-1]
    assert not minds or fetching.told == ["data.bin: the server's file has changed; it is fetched anew"]


def test_one_that_has_become_shorter_is_fetched_anew(served: Served, fetching: Fetching) -> None:
    served.cuts, served.etag = [1000, *([0] * RETRIES)], None
    with pytest.raises(SlotlabError):
        fetching(served)
    served.content = CONTENT[:500]
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT[:500]


def test_a_server_without_parts_sends_all_of_it_again(served: Served, fetching: Fetching) -> None:
    served.cuts, served.ranges = [1000], False
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT
    assert fetching.told == ["data.bin: the server sends no parts of files; it is fetched anew"]


def test_a_wrong_checksum_leaves_nothing(served: Served, fetching: Fetching) -> None:
    found = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(SlotlabError) as error:
        fetching(served, "0" * 64)
    assert f"have SHA-256 {found}, and {'0' * 64} is expected" in str(error.value)
    assert list(fetching.path.parent.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404])
def test_what_another_attempt_would_not_change_is_told_at_once(
    served: Served, fetching: Fetching, status: int
) -> None:
    served.statuses = [status] * 9
    with pytest.raises(
        SlotlabError, match=f"{served.url}: the server answers {status} .*address may have changed"
    ):
        fetching(served)
    assert len(served.asked) == 1


def test_a_server_that_is_busy_is_asked_again(served: Served, fetching: Fetching) -> None:
    served.statuses = [503, 429]
    fetching(served)
    assert fetching.waits == [1.0, 2.0]
    assert fetching.path.read_bytes() == CONTENT


def test_without_a_network_it_says_so(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    nobody = Served(url="http://127.0.0.1:9/data.bin")
    with pytest.raises(SlotlabError, match=r"cannot be reached \(.*\); is there a network\?"):
        fetching(nobody)
    assert fetching.waits == [1.0, 2.0, 4.0, 8.0]


def test_what_does_not_fit_on_the_disk_is_not_begun(
    served: Served, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 26))
    with pytest.raises(SlotlabError, match=r"0.00 GB are to come, and 0.07 GB are free; free some"):
        fetching(served)
    assert not fetching.path.exists()


def test_a_disk_that_fills_keeps_what_came(
    served: Served, fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "fsync", full)
        patch.setattr(transfer, "write_json", lambda path, data: path.write_text("{}"))
        with pytest.raises(SlotlabError, match=r"the disk is full; what has come is kept"):
            fetching(served)
    assert ".data.bin.part" in fetching.left
    fetching(served)
    assert fetching.path.read_bytes() == CONTENT


# --- datasets ----------------------------------------------------------------------------


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def test_an_archive_is_unpacked_and_may_then_be_removed(served: Served, tmp_path: Path) -> None:
    served.content = zipped(a__one=b"1", a__inner=zipped(two=b"2"))
    source = Source(url=served.url, license="free", unpack="videos", inner=("a/inner",))
    [facts] = fetch_all([source], tmp_path)
    assert facts == {
        "file": "data.bin",
        "url": served.url,
        "bytes": len(served.content),
        "sha256": hashlib.sha256(served.content).hexdigest(),
        "unpacked": True,
    }
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {LEDGER, "data.bin", "videos/a/one", "videos/a/two"}
    served.asked.clear()
    (tmp_path / "data.bin").unlink()
    assert fetch_all([source], tmp_path) == [facts]
    assert [one.state for one in look([source], tmp_path)] == ["there"]
    assert served.asked == []


def test_one_whose_unpacking_failed_is_unpacked_again_and_not_fetched(served: Served, tmp_path: Path) -> None:
    served.content = b"no archive"
    source = Source(url=served.url, license="free", unpack=".")
    for _ in range(2):
        with pytest.raises(SlotlabError, match=r"data.bin cannot be unpacked: .*fetch it again"):
            fetch_all([source], tmp_path)
    assert len(served.asked) == 1
    assert [one.state for one in look([source], tmp_path)] == ["packed"]
    assert not list(tmp_path.glob("*.unpacking"))


def test_a_file_of_the_users_own_is_kept(served: Served, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"mine")
    told: list[str] = []
    wrong = Source(url=served.url, license="free", sha256="0" * 64)
    with pytest.raises(SlotlabError, match=r"is there already, with SHA-256 .* move it away to fetch it"):
        fetch_all([wrong], tmp_path)
    [facts] = fetch_all([Source(url=served.url, license="free")], tmp_path, warn=told.append)
    assert (tmp_path / "data.bin").read_bytes() == b"mine"
    assert facts["bytes"] == 4
    assert "is taken as it is" in told[0]
    assert served.asked == []


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_archive_writes_outside_of_its_folder(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "evil"
    if kind == "zip":
        archive.write_bytes(zipped(**{"..__out": b"x"}))
    else:
        with tarfile.open(archive, "w") as file:
            file.addfile(tarfile.TarInfo("../out"), io.BytesIO())
    with pytest.raises(SlotlabError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "into")
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "into").iterdir()) == []


def test_parts_are_chosen_by_name() -> None:
    one, two = (Source(url=f"http://host/{name}.zip", license="free") for name in ("one", "two"))
    found = Downloads(parts={"a": (one,), "b": (two, one)}, usual=("b",))
    assert sources_of("x", found, []) == [two, one]
    assert sources_of("x", found, ["a", "b"]) == [one, two]
    with pytest.raises(SlotlabError, match=r"x has no part 'c'; its parts are a, b"):
        sources_of("x", found, ["c"])
    with pytest.raises(SlotlabError, match=r"x cannot be fetched: fill in a form"):
        sources_of("x", Downloads(by_hand="fill in a form"), [])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "http://host/", "x"])
def test_only_files_over_http_are_sources(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected the http\(s\) address of a file"):
        Source(url=url, license="free")


def test_what_shipped_datasets_say_of_their_data_is_whole() -> None:
    registry = load_registry()
    names = registry.names("dataset")
    configs = {name: registry.find("dataset", name).component.config for name in names}  # type: ignore[union-attr]
    known = {name: config.downloads for name, config in configs.items() if isinstance(config, HasDownloads)}
    wanted = {"clevrtex", "coco_panoptic", "davis", "clevrer", "movi", "obj3d", "physion", "youtube_vis"}
    assert wanted <= set(known)
    for name, found in known.items():
        assert found.parts or found.by_hand, name
        assert set(found.usual) <= set(found.parts)
        for part in found.parts:
            files = [source.file for source in sources_of(name, found, [part])]
            assert len(set(files)) == len(files)
        urls = {source.file: source.url for part in found.parts.values() for source in part}
        assert len(urls) == len({source.url for part in found.parts.values() for source in part}), name
