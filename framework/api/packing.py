"""Packs data into stores, and reads stores whole, with a progress bar."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import warn
from slotlab.framework.api.progress import open_bar
from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.inspection.target import DataTarget, find_target
from slotlab.framework.data.source import WHOLE, Source, known_splits, open_source, own_splits
from slotlab.framework.data.store.format import MANIFEST
from slotlab.framework.data.store.pack import PackProgress, pack
from slotlab.framework.data.store.reader import Stale, Store, find_store
from slotlab.framework.data.store.verify import verify
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cache import stores_folder
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest


def pack_target(
    what: str,
    *,
    splits: Sequence[str] = (),
    workers: int | None = None,
    on_error: str | None = None,
    stores: Path | None = None,
    protocol: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
) -> dict[str, Any]:
    """Pack the data of a spec or a folder, and return what `print_packed` shows.

    Args:
        what: a spec, or a folder or file of data.
        splits: those to pack; none for the spec's, or all that the data has.
        workers: number of processes; None for as many as cores.
        on_error: `fail` or `skip`; None for what the spec says.
        stores: the folder of stores; None for what the spec says.
        protocol: the name of a protocol, in place of the spec's.
        sets: assignments over the spec.
        plugins: single-file plugins to load.
        trust: whether to run code that came with another user's run.
    """
    if on_error not in (None, "fail", "skip"):
        raise SlotlabError(f"--on-error {on_error}: write fail or skip")
    if workers is not None and workers < 0:
        raise SlotlabError(f"--workers {workers}: write a number of processes; 0 packs without any")
    target = find_target(what, protocol=protocol, sets=sets, plugins=plugins, trust=trust)
    folder = stores_folder(stores or target.data.stores)
    packed = []
    for source in sources_of(target, splits):
        started = time.monotonic()
        store = pack_source(source, folder, workers, on_error or target.data.on_error)
        packed.append(describe(store) | {"seconds": round(time.monotonic() - started, 1)})
    return {"target": target.name, "protocol": target.data.protocol_name, "stores": packed}


def sources_of(target: DataTarget, splits: Sequence[str] = ()) -> list[Source]:
    """Open the data of each split; data that the protocol splits is one source, whatever is asked for."""
    own = own_splits(target.data)
    known = known_splits(target.data)
    for split in splits:
        if split not in known and (own is not None or split != WHOLE):
            hint = f"{suggest(split, known)} (splits: {', '.join(known)})"
            raise SlotlabError(f"{target.data.dataset.name} has no split '{split}'{hint}")
    found: dict[str, Source] = {}
    try:
        for split in splits or target.splits:
            source = open_source(target.data, split)
            found.setdefault(source.split, source)
    except PathProblem as problem:
        raise SlotlabError(problem.text) from None
    return list(found.values())


def pack_source(source: Source, folder: Path, workers: int | None, on_error: Any) -> Store:
    """Pack one source with a progress bar."""
    bar = open_bar(f"pack {source.name} {source.split}")
    task = bar.add_task("pack", total=None, facts="")

    def report(progress: PackProgress) -> None:
        bar.start()
        facts = f"{progress.bad} broken" if progress.bad else ""
        bar.update(task, completed=progress.done, total=progress.total, facts=facts)

    try:
        return pack(
            source, folder, workers=workers, on_error=on_error, report=report, say=lambda text: warn([text])
        )
    finally:
        bar.stop()


def describe(store: Store) -> dict[str, Any]:
    """Return the facts of a store."""
    manifest = store.manifest
    left_out = [DataProblem(*found) for found in manifest.problems]
    return {
        "path": str(store.path),
        "dataset": manifest.name,
        "split": manifest.split,
        "images": len(store) - len(store.bad),
        "size": list(manifest.size),
        "masks": manifest.mask,
        "bytes": store.bytes,
        "checksum": store.checksum,
        "skipped": [str(problem) for problem in (*left_out, *store.bad.values())],
    }


def verify_store(
    what: str,
    *,
    stores: Path | None = None,
    protocol: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
) -> dict[str, Any]:
    """Read stores whole and compare checksums: that in a folder, or those of a spec or of data.

    Raises:
        SlotlabError: if there is no store, or it is out of date.
    """
    if (Path(what) / MANIFEST).is_file():
        found = [Store.open(Path(what))]
    else:
        target = find_target(what, protocol=protocol, sets=sets, plugins=plugins, trust=trust)
        folder = stores_folder(stores or target.data.stores)
        found = [need_store(source, folder) for source in sources_of(target)]
    return {"stores": [{**describe(store), "problems": problems_of(store)} for store in found]}


def need_store(source: Source, folder: Path) -> Store:
    """Return the store of a source.

    Raises:
        SlotlabError: if there is none, or it is out of date.
    """
    found = find_store(source, folder)
    if isinstance(found, Store):
        return found
    if isinstance(found, Stale):
        raise SlotlabError(f"the packed store {found.path} is of another state of the files; pack them again")
    raise SlotlabError(
        f"there is no packed store of {source.name} {source.split} in {folder}; "
        "pack it with 'slotlab data pack'"
    )


def problems_of(store: Store) -> list[str]:
    """Verify a store with a progress bar."""
    bar = open_bar(f"verify {store.path.name}")
    task = bar.add_task("verify", total=len(store), facts="")
    bar.start()
    try:
        return [str(text) for text in verify(store, lambda done, total: bar.update(task, completed=done))]
    finally:
        bar.stop()
