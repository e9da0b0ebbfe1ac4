"""The files of a dataset: which are wanted, which are there, and fetching those that are not.

FOLDER/.slotlab-downloads.json has for each file that came its address, size, SHA-256 and whether it was
unpacked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slotlab.framework.contracts.sources import Downloads, Source
from slotlab.framework.data.downloads.transfer import check_space, digest_of, fetch_file, size_of
from slotlab.framework.data.downloads.unpacking import unpack
from slotlab.framework.system.json_files import load_json, write_json
from slotlab.framework.system.locks import exclusive
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

LEDGER = ".slotlab-downloads.json"
State = Literal["missing", "begun", "packed", "there", "not checked"]
"""`packed`: fetched, and not unpacked yet; `not checked`: a file of that name that slotlab did not fetch."""
Report = Callable[[Source, int, int | None], None]


@dataclass(frozen=True)
class Wanted:
    """One file, and what is there of it."""

    source: Source
    state: State
    have: int
    """Bytes that are there."""

    @property
    def missing(self) -> int | None:
        """How many bytes are to come; None if that is not known."""
        if self.state in ("packed", "there", "not checked"):
            return 0
        return None if self.source.bytes is None else max(0, self.source.bytes - self.have)


def sources_of(name: str, downloads: Downloads, parts: Sequence[str]) -> list[Source]:
    """Return the files of some parts of a dataset, or of the usual ones.

    Raises:
        SlotlabError: for a part that does not exist, and where everything is to be done by hand.
    """
    if not downloads.parts:
        raise SlotlabError(f"{name} cannot be fetched: {downloads.by_hand}")
    for part in parts:
        if part not in downloads.parts:
            known = ", ".join(downloads.parts)
            hint = suggest(part, downloads.parts)
            raise SlotlabError(f"{name} has no part '{part}'; its parts are {known}{hint}")
    wanted = parts or downloads.usual or tuple(downloads.parts)
    return list(dict.fromkeys(source for part in wanted for source in downloads.parts[part]))


def look(sources: Iterable[Source], folder: Path) -> list[Wanted]:
    """Return what is there of each file, without reading any."""
    ledger = read_ledger(folder)
    return [look_for(source, folder, ledger) for source in sources]


def look_for(source: Source, folder: Path, ledger: dict[str, Any]) -> Wanted:
    """Return what is there of one file. An archive that was unpacked may have been removed."""
    path, noted = folder / source.file, ledger.get(source.file, {})
    have = size_of(path)
    known = noted.get("url") == source.url and (not path.is_file() or have == noted.get("bytes"))
    if known and noted.get("unpacked"):
        return Wanted(source, "there", have)
    if path.is_file():
        if not known:
            return Wanted(source, "not checked", have)
        return Wanted(source, "packed" if source.unpack is not None else "there", have)
    begun = size_of(path.with_name(f".{path.name}.part"))
    return Wanted(source, "begun" if begun else "missing", begun)


def fetch_all(
    sources: Sequence[Source],
    folder: Path,
    *,
    report: Report = lambda source, done, total: None,
    warn: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Fetch and unpack what is missing; return what is known of each file, as JSON-ready data.

    Raises:
        SlotlabError: if a file cannot be fetched, is not the expected one, or does not fit on the disk; what
            came before it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, f"{folder}: another process fetches data into this folder"):
        check_space(folder, sum(one.missing or 0 for one in look(sources, folder)))
        return [fetch_one(source, folder, report, warn) for source in sources]


def fetch_one(source: Source, folder: Path, report: Report, warn: Callable[[str], None]) -> dict[str, Any]:
    """Fetch and unpack one file, as far as it is not there."""
    path, found = folder / source.file, look_for(source, folder, read_ledger(folder))
    if found.state == "not checked":
        adopt(source, path, warn)
    elif found.state in ("missing", "begun"):
        came = fetch_file(
            source.url,
            path,
            sha256=source.sha256,
            report=lambda done, total: report(source, done, total),
            warn=warn,
        )
        note(folder, source, bytes=came.bytes, sha256=came.sha256, unpacked=False)
    if source.unpack is not None and found.state != "there":
        unpack(path, folder / source.unpack, source.inner)
        note(folder, source, unpacked=True)
    return {"file": source.file, **read_ledger(folder)[source.file]}


def adopt(source: Source, path: Path, warn: Callable[[str], None]) -> None:
    """Take a file that lies there already for the source's, if nothing speaks against it.

    Raises:
        SlotlabError: if its checksum is another one. It is not touched.
    """
    digest = digest_of(path)
    if source.sha256 is not None and digest != source.sha256.lower():
        text = f"is there already, with SHA-256 {digest} in place of {source.sha256.lower()}"
        raise SlotlabError(f"{path} {text}; move it away to fetch it")
    if source.sha256 is None:
        warn(f"{path} is there already and is taken as it is: no checksum of it was published")
    note(path.parent, source, bytes=size_of(path), sha256=digest, unpacked=False)


def read_ledger(folder: Path) -> dict[str, Any]:
    """Return what is known of the files that came into a folder.

    Raises:
        SlotlabError: if the file that says so is damaged.
    """
    found = load_json(folder / LEDGER, missing={})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise SlotlabError(f"{folder / LEDGER}: expected facts of files; remove it to fetch anew")
    return found


def note(folder: Path, source: Source, **facts: Any) -> None:
    """Add facts about a file."""
    ledger = read_ledger(folder)
    ledger[source.file] = {**ledger.get(source.file, {}), "url": source.url, **facts}
    write_json(folder / LEDGER, ledger)
