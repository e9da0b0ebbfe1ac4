"""The folder of an unfinished store: its lock, its journal, and recovery of what was packed.

STORES/NAME.partial/lock           held by the process that packs
STORES/NAME.partial/journal.jsonl  a heading that says what is packed, then one line per packed item
STORES/NAME.partial/store/         the arrays; renamed to STORES/NAME when everything is there

A line is written after its item's rows are on the disk, and holds their checksum. Whatever a kill or the disk
left incomplete or garbled is thereby found, and packed again.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import FORMAT, ITEMS, MANIFEST, FactTable, Layout, Manifest
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.framework.data.store.rows import Rows, json_index
from slotlab.framework.system.atomic import sync_folder, write_atomically
from slotlab.framework.system.locks import exclusive_file

Notify = Callable[[str], None]
"""Receives a message for the user, a sentence."""


@contextmanager
def locked(partial: Path) -> Iterator[None]:
    """Hold the lock of an unfinished store, whose folder is created if necessary.

    Raises:
        SlotlabError: if another process holds it.
    """
    taken = f"{partial} is being packed by another process; wait for it, or end it"
    with ExitStack() as stack:
        held = False
        while not held:
            partial.mkdir(parents=True, exist_ok=True)
            # Another process may finish, and remove the folder, just now.
            with suppress(FileNotFoundError):
                stack.enter_context(exclusive_file(partial / "lock", taken))
                held = True
        yield


@dataclass(kw_only=True)
class Journaled:
    """An unfinished store of any kind, locked, its journal open."""

    path: Path
    layout: RowLayout
    where: NDArray[np.int64]
    """The position in the journal of each item's line, int64 of shape (N,); -1 for missing items."""
    journal: BinaryIO
    bad: dict[int, list[DataProblem]] = field(default_factory=dict)
    """The problems of items that cannot be read, by position."""

    @property
    def store(self) -> Path:
        """The folder of the arrays."""
        return self.path / "store"

    def missing(self, chunk: int) -> list[list[int]]:
        """Return the positions of the missing items, in groups of `chunk`."""
        missing = np.flatnonzero(self.where < 0).tolist()
        return [missing[start : start + chunk] for start in range(0, len(missing), chunk)]

    def add(self, lines: Sequence[bytes]) -> None:
        """Write the lines of items whose rows are on the disk."""
        start = self.journal.seek(0, os.SEEK_END)
        self.journal.write(b"".join(lines))
        self.journal.flush()
        os.fsync(self.journal.fileno())
        for line in lines:
            self._take(line, start)
            start += len(line)

    def _take(self, line: bytes, start: int) -> None:
        data = json.loads(line)
        self.where[data["index"]] = start
        if "problems" in data:
            self.bad[data["index"]] = [DataProblem(*found) for found in data["problems"]]

    def gather(self, took: Callable[[FactTable], None] = lambda table: None) -> FactTable:
        """Write the items' lines in their order; `took` is called after each."""
        table = FactTable.empty(self.layout)
        with (self.store / ITEMS).open("wb") as items:
            for start in self.where.tolist():
                self.journal.seek(start)
                line = self.journal.readline()
                table.add(line)
                took(table)
                items.write(line)
            items.flush()
            os.fsync(items.fileno())
        return table

    def place(self, path: Path, files: Mapping[str, bytes]) -> None:
        """Write the other files, the last of which makes the store whole, and rename it to `path`."""
        for name, content in files.items():
            write_atomically(self.store / name, content)
        sync_folder(self.store)
        self.store.rename(path)
        sync_folder(path.parent)


@dataclass(kw_only=True)
class Partial(Journaled):
    """An unfinished store of pictures."""

    source: Source
    fingerprint: str
    layout: Layout

    def problems(self) -> list[DataProblem]:
        """Return all problems of the data: of items left out while listing, then by position."""
        return [*self.source.problems, *(text for index in sorted(self.bad) for text in self.bad[index])]

    def finish(self, path: Path) -> None:
        """Write the remaining files, and rename the store to `path`."""
        ids = Ids(self.source.name)

        def take(table: FactTable) -> None:
            index = len(table.ids) - 1
            if index not in self.bad:
                ids.add([(index, table.ids[-1].decode(errors="surrogateescape"))])

        table = self.gather(take)
        self.place(path, {**table.files(), MANIFEST: self._manifest(table).to_bytes()})

    def _manifest(self, table: FactTable) -> Manifest:
        arrays = {name: self.layout.file_bytes(name) for name in self.layout.arrays}
        others = {name: len(content) for name, content in table.files().items()}
        return Manifest(
            name=self.source.name,
            split=self.source.split,
            identity=self.source.identity,
            key=self.source.key,
            fingerprint=self.fingerprint,
            items=self.layout.items,
            size=self.layout.size,
            mask=self.layout.mask,
            mask_size=self.layout.mask_size,
            checksum=table.total.hexdigest(),
            bad=table.bad,
            problems=[(problem.path, problem.reason) for problem in self.source.problems],
            files={**arrays, **others, ITEMS: table.offsets[-1]},
            slotlab=version("slotlab"),
            roots=dict(self.source.roots),
        )


@contextmanager
def opened(
    path: Path, source: Source, fingerprint: str, layout: Layout, say: Notify = lambda text: None
) -> Iterator[Partial]:
    """Open an unfinished store; complete items of an earlier attempt to pack the same data are kept.

    The caller holds the lock.
    """
    journal = path / "journal.jsonl"
    shapes = [layout] if layout.mask is None else [layout, replace(layout, mask="int32")]
    heads = {heading(source, fingerprint, shape): shape for shape in shapes}
    found = first_line(journal)
    if found not in heads:
        if found:
            say(f"{path} is of other data or another format: packing starts anew")
        begin(path, heading(source, fingerprint, layout))
    layout = heads.get(found, layout)
    where = np.full(layout.items, -1, np.int64)
    with journal.open("r+b") as file:
        partial = Partial(
            path=path, source=source, fingerprint=fingerprint, layout=layout, where=where, journal=file
        )
        recover(partial)
        tell_kept(partial, say)
        yield partial


def tell_kept(partial: Journaled, say: Notify, items: str = "pictures") -> None:
    """Tell the user how much an earlier attempt has left."""
    kept = int((partial.where >= 0).sum())
    if kept:
        say(f"going on where packing stopped: {kept} of {partial.layout.items} {items} are there")


def heading(source: Source, fingerprint: str, layout: Layout) -> bytes:
    """Return the first line of a journal, which says what is packed."""
    facts = {
        "format": FORMAT,
        "identity": source.identity,
        "fingerprint": fingerprint,
        "layout": [layout.items, *layout.size, layout.mask],
    }
    return json.dumps(facts).encode() + b"\n"


def first_line(journal: Path) -> bytes:
    """Return the first line of a journal; an empty text if there is no journal."""
    try:
        with journal.open("rb") as file:
            return file.readline()
    except FileNotFoundError:
        return b""


def begin(path: Path, head: bytes) -> None:
    """Remove what exists of an unfinished store, and begin a new one."""
    shutil.rmtree(path / "store", ignore_errors=True)
    (path / "store").mkdir()
    write_atomically(path / "journal.jsonl", head)


def recover(partial: Journaled) -> None:
    """Keep the items whose lines in the journal and rows in the arrays are complete.

    Items that could not be read are tried again: the cause may be gone.
    """
    journal = partial.journal
    start = len(journal.readline())
    line = b"\n"
    partial.store.mkdir(exist_ok=True)
    for file in partial.store.iterdir():  # what `finish` began to write
        if file.name not in partial.layout.arrays:
            file.unlink()
    with Rows(partial.store, partial.layout, writable=True) as rows:
        rows.create()
        for line in iter(journal.readline, b""):
            if rows.hold(line) and "problems" not in json.loads(line):
                partial.where[json_index(line)] = start
            start += len(line)
    if not line.endswith(b"\n"):
        journal.write(b"\n")  # ends the incomplete line: the next one begins on a new one
