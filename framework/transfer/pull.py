"""Runs fetched into a folder: by content, checked by hashes, whole or not at all."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from slotlab.framework.system.atomic import written_whole
from slotlab.framework.system.cache import user_cache
from slotlab.framework.system.locks import exclusive
from slotlab.framework.transfer.manifest import MANIFEST, MOST_BYTES, Entry, Manifest, digest
from slotlab.framework.transfer.store import Report, Store
from slotlab.registry import SlotlabError


def pull_run(store: Store, folder: Path | None, report: Report) -> Path:
    """Fetch a run, unless it is there already, and return its folder.

    Files are fetched into a hidden folder beside the final one, which gets its name when all are there and
    right. What an interrupted pull has fetched is not fetched again.

    Args:
        store: where the run lies.
        folder: where it is to lie; None for a place in the user's cache, by content.
        report: told how much is fetched.

    Raises:
        SlotlabError: if there is no run, a file is not as the manifest says, or the folder is taken.
    """
    data = store.read(MANIFEST, MOST_BYTES)
    where = store.address.text
    if data is None:
        raise SlotlabError(
            f"{where}: there is no pushed run (no {MANIFEST}); 'slotlab push RUN {where}' puts one there, "
            "and a push that was interrupted goes on"
        )
    manifest = Manifest.of_json(data, f"{where}: {MANIFEST}")
    target = folder or cached(manifest, data)
    if _is_there(target, data):
        return target
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SlotlabError(f"{target} holds something else already; name another folder")
    partial = target.absolute().with_name(f".{target.absolute().name}.{digest(data)[:8]}.tmp")
    partial.mkdir(parents=True, exist_ok=True)
    with exclusive(partial, f"{target} is being fetched by another process"):
        if _is_there(target, data):
            return target
        _fetch_all(store, manifest, partial, report)
        with written_whole(partial / MANIFEST) as file:
            file.write(data)
        partial.rename(target)
    return target


def cached(manifest: Manifest, data: bytes) -> Path:
    """Return where a run lies in the user's cache."""
    return user_cache() / "runs" / digest(data)[:16] / manifest.name


def _is_there(target: Path, data: bytes) -> bool:
    """Return whether a folder holds the run: its manifest was the last file to come."""
    try:
        return (target / MANIFEST).read_bytes() == data
    except OSError:
        return False


def _fetch_all(store: Store, manifest: Manifest, partial: Path, report: Report) -> None:
    names = sorted(manifest.files, key=lambda name: (name == "spec.yaml", name))
    _clear(partial, manifest)
    missing = [name for name in names if not manifest.files[name].is_at(partial / name)]
    total, done = sum(manifest.files[name].size for name in missing), 0
    for name in missing:
        _fetch(store, name, manifest.files[name], partial / name)
        done += manifest.files[name].size
        report(done, total)


def _clear(partial: Path, manifest: Manifest) -> None:
    """Remove what an interrupted pull left half-written."""
    for folder, _, files in os.walk(partial):
        for file in (Path(folder, name) for name in files):
            if file.relative_to(partial).as_posix() not in manifest.files:
                file.unlink()


def _fetch(store: Store, name: str, entry: Entry, path: Path) -> None:
    """Fetch a file, which gets its name if its content is right.

    Raises:
        SlotlabError: if it is not.
    """
    with written_whole(path) as file:
        hashing = _Hashing(file, entry.size)
        store.fetch(name, hashing)
        found = hashing.entry
        if found != entry:
            told = f"its SHA-256 begins with {found.sha256[:8]} and not with {entry.sha256[:8]}"
            if found.size != entry.size:
                more = "more than " if found.size > entry.size else ""
                told = f"it has {more}{min(found.size, entry.size):,} bytes and not {entry.size:,}"
            raise SlotlabError(
                f"{store.address.text}: {name} is not as {MANIFEST} says: {told}; nothing is used. "
                "Who pushed it can send it again with --overwrite"
            )


@dataclass
class _Hashing:
    """Passes on what is written, up to the size that is expected, and hashes it."""

    file: BinaryIO
    most: int
    size: int = 0
    total: Any = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        """Write a block."""
        self.size += len(data)
        if self.size <= self.most:
            self.total.update(data)
            self.file.write(data)
        return len(data)

    @property
    def entry(self) -> Entry:
        """What was written."""
        return Entry(self.total.hexdigest(), self.size)
