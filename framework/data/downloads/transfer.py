"""One file over HTTP, which goes on where it was interrupted.

What has come so far lies beside the file as `.NAME.part`, with what the server said of it in
`.NAME.part.json`. It is gone on with (`Range`, RFC 9110, section 14) only if the server's file is still the
same one, by its `ETag`, date and size.
"""

import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.system.json_files import load_json, write_json
from slotlab.registry import SlotlabError

Report = Callable[[int, int | None], None]
"""Called with (bytes that are there, bytes in all or None)."""
CHUNK = 1 << 20
RETRIES = 4
"""How often an interrupted transfer is tried again without a byte having come."""
SILENCE = 30.0
"""Seconds after which a server that sends nothing is given up."""
SPARE = 64 << 20
"""Bytes that stay free on the disk."""
_GOES_ON = "what has come is kept: the same command goes on from there"


class Interrupted(Exception):  # noqa: N818 - it is no error as long as it is tried again
    """A transfer that may be tried again."""


@dataclass(frozen=True)
class Fetched:
    """A whole file."""

    bytes: int
    sha256: str


def fetch_file(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    report: Report = lambda done, total: None,
    warn: Callable[[str], None] = lambda text: None,
    wait: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch a file, or the rest of it; it gets its name once it is whole and its checksum right.

    Raises:
        SlotlabError: if the server cannot be reached, has no such file, or sends another one than `sha256`
            says; and if the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = size_of(part)
        try:
            advance(url, part, report, warn)
            break
        except Interrupted as error:
            failures = 1 if size_of(part) > before else failures + 1
            if failures > RETRIES:
                raise SlotlabError(f"{url}: {error}; {_GOES_ON}") from None
            wait(2.0 ** (failures - 1))
    found = digest_of(part)
    if sha256 is not None and found != sha256.lower():
        size = size_of(part)
        discard(part)
        text = f"the {size} bytes that came have SHA-256 {found}, and {sha256.lower()} is expected"
        raise SlotlabError(
            f"{url}: {text}; they were removed. Try again; if it stays so, the file has changed"
        )
    whole = Fetched(size_of(part), found)
    part.replace(path)
    discard(part)
    return whole


def advance(url: str, part: Path, report: Report, warn: Callable[[str], None]) -> None:
    """Fetch what is missing of a file, once.

    Raises:
        Interrupted: if the connection fails or ends too early.
        SlotlabError: for all that another attempt would not change.
    """
    known = notes_of(part)
    have = size_of(part) if known else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "slotlab"}
    if have:
        headers["Range"] = f"bytes={have}-"
        strong = known.get("etag") if not str(known.get("etag")).startswith("W/") else None
        if strong or known.get("date"):
            headers["If-Range"] = str(strong or known["date"])
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE) as answer:
            receive(answer, part, have, known, report, warn)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") == f"bytes */{have}" and have == known.get("bytes"):
                return  # all of it was there already
            discard(part)
            raise Interrupted("what has come does not fit the server's file, and is fetched anew") from None
        refuse(url, error)
    except urllib.error.URLError as error:
        raise Interrupted(f"cannot be reached ({error.reason}); is there a network?") from None
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise Interrupted(f"the connection was lost ({type(error).__name__})") from None


def refuse(url: str, error: urllib.error.HTTPError) -> None:
    """Raise for an answer that is no file."""
    if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code == http.client.TOO_MANY_REQUESTS:
        raise Interrupted(f"the server answers {error.code} {error.reason}")
    raise SlotlabError(f"{url}: the server answers {error.code} {error.reason}: the address may have changed")


def receive(
    answer: Any, part: Path, have: int, known: dict[str, Any], report: Report, warn: Callable[[str], None]
) -> None:
    """Write what a server sends: behind what is there if it is the rest of the same file, else anew."""
    notes = {"etag": answer.headers.get("ETag"), "date": answer.headers.get("Last-Modified")}
    partial = answer.status == http.client.PARTIAL_CONTENT
    total = total_of(answer)
    same = all(known.get(key) == value for key, value in notes.items()) and known.get("bytes") == total
    if partial and not (same and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
        discard(part)
        raise Interrupted("the server's file has changed, and is fetched anew")
    if have and not partial:
        reason = "the server sends no parts of files" if same else "the server's file has changed"
        warn(f"{part.name.removeprefix('.').removesuffix('.part')}: {reason}; it is fetched anew")
        have = 0
    check_space(part.parent, None if total is None else total - have)
    try:
        write_json(note_path(part), {**notes, "bytes": total})
        with part.open("ab" if have else "wb") as file:
            done = have
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SlotlabError(f"{part.parent}: the disk is full; {_GOES_ON} once there is space") from None
        raise
    if total is not None and done != total:
        raise Interrupted(f"the connection ended after {done} of {total} bytes")


def total_of(answer: Any) -> int | None:
    """Return the bytes of the whole file, as the server tells them; None if it does not."""
    if answer.status == http.client.PARTIAL_CONTENT:
        found = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    else:
        found = str(answer.headers.get("Content-Length", ""))
    return int(found) if found.isdecimal() else None


def check_space(folder: Path, needed: int | None) -> None:
    """Refuse what does not fit on the disk.

    Raises:
        SlotlabError: with what is free and what is needed.
    """
    free = shutil.disk_usage(folder).free
    if needed is not None and needed + SPARE > free:
        text = f"{needed / 1e9:.2f} GB are to come, and {free / 1e9:.2f} GB are free"
        raise SlotlabError(f"{folder}: {text}; free some, or choose another folder")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def note_path(part: Path) -> Path:
    """Return where lies what the server said of a file."""
    return part.with_name(f"{part.name}.json")


def notes_of(part: Path) -> dict[str, Any]:
    """Return what the server said of a file that came in part; empty if that is not known."""
    try:
        found = load_json(note_path(part), missing={})
    except SlotlabError:
        return {}
    return found if isinstance(found, dict) else {}


def discard(part: Path) -> None:
    """Remove what has come, and what is known of it."""
    part.unlink(missing_ok=True)
    note_path(part).unlink(missing_ok=True)
