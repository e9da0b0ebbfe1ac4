"""Packing: several processes read and prepare a source once and write it into a store.

A store is written under another name and renamed when it is complete. What was packed before a kill, a full
disk or Ctrl-C is kept, and checked by the next attempt. Stores are named by the settings and the state of the
files (`Source.key`, `Source.fingerprint`). That state covers all files: after any of them is mended all are
packed anew, because nothing tells which pictures are unchanged.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import Layout, StoreError
from slotlab.framework.data.store.journal import Journaled, Notify, Partial, begin, heading, locked, opened
from slotlab.framework.data.store.reader import PARTIAL, Stale, Store, relatives, roots_of, store_path
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.framework.data.store.rows import WideLabels, probe
from slotlab.framework.data.store.workers import PackJob, pack_chunks
from slotlab.framework.system.cores import cores
from slotlab.registry import SlotlabError

CHUNK = 64
"""The number of items that are written between two syncs of the disk."""
_WORTH_STARTING = 8
"""The number of chunks whose packing takes as long as starting a worker, which imports torch."""


class PackStopped(SlotlabError):  # noqa: N818 - the user's wish, not a mistake
    """The user interrupted packing. The command exits with 130, as shells expect after Ctrl-C."""

    exit_code = 130


@dataclass(frozen=True)
class PackProgress:
    """The progress of packing, in items."""

    done: int
    total: int
    bad: int
    """Items that cannot be read."""


def pack(
    source: Source,
    stores: Path,
    *,
    workers: int | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    chunk: int = CHUNK,
    report: Callable[[PackProgress], None] = lambda progress: None,
    say: Notify = lambda text: None,
) -> Store:
    """Pack a source into its store in the folder `stores`, or return the store that is there.

    Args:
        source: what to pack.
        stores: the folder of stores.
        workers: the number of processes; None for as many as cores, if there is enough work for them; 0
            packs in this process.
        on_error: `fail` tries all items and then raises the problems of the broken ones; `skip` packs the
            others.
        chunk: the number of items that a worker packs at a time. It does not change the store.
        report: receives the progress.
        say: receives messages for the user, each a sentence.

    Raises:
        DataError: with every broken item, if `on_error` is `fail` or none can be read.
        StoreError: if there is a store and it is damaged.
        PackStopped: after Ctrl-C.
        SlotlabError: if the source has no fingerprint, the disk is full, or the files change meanwhile.
    """
    fingerprint = need_fingerprint(source)
    path = store_path(source, stores, fingerprint)
    mention_stale(path, source, say)
    Packing(source, fingerprint, workers, on_error, chunk, report, say).ensure(path)
    store = Store.open(path)
    if (store.manifest.identity, store.manifest.fingerprint) != (source.identity, fingerprint):
        raise StoreError(f"{path} is a store of other data; delete it and pack again")
    if on_error == "fail":
        refuse([*source.problems, *store.bad.values()], len(store) - len(store.bad), len(store))
    return store


def mention_stale(path: Path, source: Source, say: Notify) -> None:
    """Tell the user of other stores of the same data and settings, which may be deleted."""
    for other in relatives(path):
        roots, size = roots_of(other), in_words(Stale(other).bytes)
        if roots is None:
            text = f"{other} ({size}) is of other files, or of another state of these"
            say(f"{text}; delete it if nothing needs it any more")
        elif roots == source.roots:
            text = f"{other} ({size}) is of another state of the files"
            say(f"{text}; delete it if that is not needed any more")


def need_fingerprint(source: Source) -> str:
    """Return the source's fingerprint.

    Raises:
        SlotlabError: if it has none.
    """
    fingerprint = source.fingerprint()
    if fingerprint is None:
        text = "its dataset has no fingerprint(), by which a store tells that it is out of date"
        raise SlotlabError(
            f"{source.name} cannot be packed: {text} (see slotlab.framework.contracts.dataset_capabilities)"
        )
    return fingerprint


@contextmanager
def explained(stores: Path) -> Iterator[None]:
    """Turn Ctrl-C and a full disk into errors that say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        raise PackStopped("packing stopped; packing again goes on from there") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = "make room and pack again, which goes on from there, or choose another folder with --stores"
        raise SlotlabError(f"there is no space left in {stores}; {hint}") from error


@dataclass(frozen=True)
class Packing:
    """One call of `pack`: its arguments."""

    source: Source
    fingerprint: str
    workers: int | None
    on_error: Literal["fail", "skip"]
    chunk: int
    report: Callable[[PackProgress], None]
    say: Notify

    def ensure(self, path: Path) -> None:
        """Pack the store at `path` unless it exists, and remove what an earlier attempt left.

        Raises:
            SlotlabError: if another process is packing it.
        """
        partial = path.with_name(path.name + PARTIAL)
        if path.exists() and not partial.exists():
            return
        with explained(path.parent), locked(partial):
            if not path.exists():
                self.into(partial, path)
            shutil.rmtree(partial, ignore_errors=True)  # another process may look for its lock just now

    def into(self, folder: Path, path: Path) -> None:
        """Complete the unfinished store in `folder`, and rename it to `path`."""
        source, layout = self.source, probe(self.source)
        while not self.try_with(layout, folder, path):
            text = "a mask has labels above 255, or void, which need more than 8 bits"
            self.say(f"{text}: packing starts anew with 32")
            layout = replace(layout, mask="int32")
            begin(folder, heading(source, self.fingerprint, layout))

    def try_with(self, layout: Layout, folder: Path, path: Path) -> bool:
        """Complete the store with this layout; return False if masks need more bits than it has."""
        source = self.source
        with opened(folder, source, self.fingerprint, layout, self.say) as partial:
            try:
                self.fill(partial)
            except WideLabels:
                return False
            if self.on_error == "fail":
                items = partial.layout.items
                refuse(partial.problems(), items - len(partial.bad), items)
            if source.fingerprint() != self.fingerprint:
                raise SlotlabError(f"{source.name}: its files changed while they were packed; pack again")
            partial.finish(path)
            return True

    def fill(self, partial: Partial) -> None:
        """Pack all items that are missing."""
        check_space(partial)
        chunks = partial.missing(self.chunk)
        total = partial.layout.items
        done = total - sum(map(len, chunks))
        self.report(PackProgress(done, total, 0))
        worth = min(cores(), len(chunks) // _WORTH_STARTING)
        workers = self.workers if self.workers is not None else worth if worth > 1 else 0
        job = PackJob(partial.source, partial.store, partial.layout)
        with closing(pack_chunks(job, chunks, workers)) as packed:
            for lines in packed:
                partial.add(lines)
                done += len(lines)
                self.report(PackProgress(done, total, len(partial.bad)))


def check_space(partial: Journaled) -> None:
    """Check that the disk has room for what is still to be written.

    Raises:
        SlotlabError: if it has not.
    """
    stores = partial.path.parent
    files = [partial.store / name for name in partial.layout.arrays]
    needed = needed_bytes(partial.layout) - sum(file.stat().st_blocks * 512 for file in files)
    free = shutil.disk_usage(stores).free
    if needed > free:
        text = f"packing needs {in_words(needed)} in {stores}, {in_words(free)} are free"
        raise SlotlabError(f"{text}; make room, or choose another folder with --stores")


def needed_bytes(layout: RowLayout) -> int:
    """Return about how many bytes a store takes while it is packed: pixels, and 4 KiB of facts per item."""
    return layout.bytes + 4096 * layout.items


def refuse(problems: list[DataProblem], good: int, total: int) -> None:
    """Raise all problems as one DataError, unless there are none."""
    if problems:
        hint = "pack with --on-error skip to leave them out, or mend the files"
        kept = f"{good} of {total} pictures are packed and kept for the first, the second packs all anew"
        raise DataError(*problems, hint=f"{hint}: {kept}")


def in_words(number: float) -> str:
    """Write a number of bytes: `1.5 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"
