"""Reading a whole packed store again, to see whether it still is what was packed."""

from collections.abc import Callable
from pathlib import Path

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.store.format import ITEMS, MANIFEST, Table
from slotlab.framework.data.store.reader import Store
from slotlab.framework.data.store.rows import Rows, json_index

_CHANGED = "is not what was packed"


def verify(store: Store, report: Callable[[int, int], None] = lambda done, total: None) -> list[DataProblem]:
    """Compare every byte of a store's files with its checksums, and return what differs.

    Args:
        store: the store; opening it has checked that files are there and have their sizes.
        report: is told of items done and all items.
    """
    found = [
        DataProblem(str(store.path / name), f"its header {_CHANGED}")
        for name in store.manifest.layout.arrays
        if not has_header(store, name)
    ]
    table, damaged = read_items(store, report)
    found += damaged
    if (store.path / MANIFEST).read_bytes() != store.manifest.to_bytes():
        found.append(DataProblem(str(store.path / MANIFEST), _CHANGED))
    if damaged:
        return found  # the rest follows from the items, and would say nothing new
    for name, content in table.files().items():
        if (store.path / name).read_bytes() != content:
            found.append(DataProblem(str(store.path / name), _CHANGED))
    if table.total.hexdigest() != store.checksum:
        text = f"its items make the checksum {table.total.hexdigest()}, its manifest says {store.checksum}"
        found.append(DataProblem(str(store.path), text))
    return found


def has_header(store: Store, name: str) -> bool:
    """Return whether an array's file begins as it should."""
    header = store.manifest.layout.header(name)
    with (store.path / name).open("rb") as file:
        return file.read(len(header)) == header


def read_items(store: Store, report: Callable[[int, int], None]) -> tuple[Table, list[DataProblem]]:
    """Compare the rows and facts of every item with its checksum."""
    table, found = Table.empty(store.manifest.layout), []
    path: Path = store.path / ITEMS
    number = -1
    with path.open("rb") as file, Rows(store.path, store.manifest.layout) as rows:
        for number, line in enumerate(file):
            if not rows.hold(line) or json_index(line) != number:
                found.append(DataProblem(str(store.path), f"item {number} {_CHANGED}"))
            elif not found:
                table.add(line)
            report(number + 1, len(store))
    if number + 1 != len(store):
        found.append(DataProblem(str(path), f"has {number + 1} lines, {len(store)} were written"))
    return table, found
