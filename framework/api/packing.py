"""Packs data into stores, and reads stores whole, with a progress bar."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slotlab.framework.api.console import warn
from slotlab.framework.api.progress import open_bar
from slotlab.framework.contracts import FIELD_CHANNELS, DataProblem, Field
from slotlab.framework.data.field_stores import need_field, pack_field
from slotlab.framework.data.fields import CAPABILITIES
from slotlab.framework.data.inspection.target import DataTarget, find_target
from slotlab.framework.data.read_capabilities import offers
from slotlab.framework.data.source import WHOLE, Source, known_splits, open_source, own_splits
from slotlab.framework.data.store.features import FeatureStore, verify_features
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
    fields: Sequence[Field] = (),
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
        fields: what is packed beside the pictures, such as flow; for each its own store.

    Raises:
        SlotlabError: for data that cannot be packed, with the reason.
    """
    check_fields(fields)
    if on_error not in (None, "fail", "skip"):
        raise SlotlabError(f"--on-error {on_error}: write fail or skip")
    if workers is not None and workers < 0:
        raise SlotlabError(f"--workers {workers}: write a number of processes; 0 packs without any")
    target = find_target(what, protocol=protocol, sets=sets, plugins=plugins, trust=trust)
    folder = stores_folder(stores or target.data.stores)
    packed, broken = [], on_error or target.data.on_error
    sources = sources_of(target, splits)
    refuse_fields(sources, fields)
    for source in sources:
        started = time.monotonic()
        store = pack_source(source, folder, workers, broken)
        packed.append(describe(store) | {"seconds": round(time.monotonic() - started, 1)})
        for name in fields:
            started = time.monotonic()
            found = pack_source_field(source, name, folder, broken)
            packed.append(describe_field(found) | {"seconds": round(time.monotonic() - started, 1)})
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


def check_fields(fields: Sequence[str]) -> None:
    """Refuse names that are no fields, or named twice.

    Raises:
        SlotlabError: for the first one.
    """
    for name in fields:
        if name not in FIELD_CHANNELS:
            known = ", ".join(FIELD_CHANNELS)
            raise SlotlabError(f"--field {name}: no such field{suggest(name, FIELD_CHANNELS)} ({known})")
        if list(fields).count(name) > 1:
            raise SlotlabError(f"--field {name}: it is named twice")


def refuse_fields(sources: Sequence[Source], fields: Sequence[Field]) -> None:
    """Refuse fields that the data does not have, before its pictures are packed.

    Raises:
        SlotlabError: for the first one.
    """
    for source in sources:
        for name in fields:
            if not offers(source.dataset, CAPABILITIES[name]):
                text = f"the dataset '{source.name}' has none (no method '{name}')"
                raise SlotlabError(f"--field {name}: {text}")


def pack_source(source: Source, folder: Path, workers: int | None, on_error: Any) -> Store:
    """Pack one source with a progress bar."""
    with packing_bar(f"pack {source.name} {source.split}") as report:
        return pack(
            source, folder, workers=workers, on_error=on_error, report=report, say=lambda text: warn([text])
        )


def pack_source_field(source: Source, name: Field, folder: Path, on_error: Any) -> FeatureStore:
    """Pack a field of one source with a progress bar."""
    with packing_bar(f"pack {name} of {source.name} {source.split}") as report:
        return pack_field(
            source, name, folder, on_error=on_error, report=report, say=lambda text: warn([text])
        )


@contextmanager
def packing_bar(title: str) -> Iterator[Callable[[PackProgress], None]]:
    """Open a progress bar, which appears at the first report."""
    bar = open_bar(title)
    task = bar.add_task("pack", total=None, facts="")

    def report(progress: PackProgress) -> None:
        bar.start()
        facts = f"{progress.bad} broken" if progress.bad else ""
        bar.update(task, completed=progress.done, total=progress.total, facts=facts)

    try:
        yield report
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


def describe_field(store: FeatureStore) -> dict[str, Any]:
    """Return the facts of a store of a field."""
    return {**describe_numbers(store), "size": list(store.manifest.grid)}


def describe_numbers(store: FeatureStore) -> dict[str, Any]:
    """Return what the facts of all stores of numbers have in common."""
    manifest = store.manifest
    return {
        "path": str(store.path),
        "kind": manifest.kind,
        "dataset": manifest.name,
        "split": manifest.split,
        "images": len(store) - len(store.bad),
        "bytes": store.bytes,
        "checksum": store.checksum,
        "skipped": [str(problem) for problem in store.bad.values()],
    }


def verify_store(
    what: str,
    *,
    stores: Path | None = None,
    protocol: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
    fields: Sequence[Field] = (),
) -> dict[str, Any]:
    """Read stores whole and compare checksums: that in a folder, or those of a spec or of data.

    Args:
        what: the folder of a store of pictures, a spec, or data.
        stores: the folder of stores; None for what the spec says.
        protocol: the name of a protocol, in place of the spec's.
        sets: assignments over the spec.
        plugins: single-file plugins to load.
        trust: whether to run code that came with another user's run.
        fields: whose stores are read too, for a spec or data.

    Raises:
        SlotlabError: if there is no store, or it is out of date.
    """
    check_fields(fields)
    stored: list[FeatureStore] = []
    if (Path(what) / MANIFEST).is_file():
        found = [Store.open(Path(what))]
    else:
        target = find_target(what, protocol=protocol, sets=sets, plugins=plugins, trust=trust)
        folder = stores_folder(stores or target.data.stores)
        sources = sources_of(target)
        found = [need_store(source, folder) for source in sources]
        stored = [need_field(source, name, folder) for source in sources for name in fields]
    pictures = [{**describe(store), "problems": problems_of(store)} for store in found]
    return {"stores": [*pictures, *({**describe_field(one), "problems": problems_of(one)} for one in stored)]}


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


def problems_of(store: Store | FeatureStore) -> list[str]:
    """Verify a store with a progress bar."""
    bar = open_bar(f"verify {store.path.name}")
    task = bar.add_task("verify", total=len(store), facts="")
    bar.start()

    def report(done: int, total: int) -> None:
        bar.update(task, completed=done)

    try:
        found = verify(store, report) if isinstance(store, Store) else verify_features(store, report)
        return [str(text) for text in found]
    finally:
        bar.stop()
