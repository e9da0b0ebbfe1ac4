"""Verify a packed store: compare all of its files with their checksums."""

from pathlib import Path

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.data.store.format import ITEMS, MANIFEST, FactTable
from slotlab.framework.data.store.reader import Store
from slotlab.framework.data.store.row_layout import RowLayout
from slotlab.framework.data.store.rows import Rows, json_index

CHANGED = "is not what was packed"


def verify(store: Store, report: ReportItems = lambda done, total: None) -> list[DataProblem]:
    """Compare every byte of a store's files with its checksums, and return a problem for each difference.

    Args:
        store: the store; opening it has checked that all files exist and have their sizes.
        report: receives the progress, in items.
    """
    found = [
        DataProblem(str(store.path / name), f"its header {CHANGED}")
        for name in store.manifest.layout.arrays
        if not has_header(store.path, store.manifest.layout, name)
    ]
    table, damaged = read_items(store.path, store.manifest.layout, report)
    found += damaged
    if (store.path / MANIFEST).read_bytes() != store.manifest.to_bytes():
        found.append(DataProblem(str(store.path / MANIFEST), CHANGED))
    if damaged:
        return found  # the other files follow from the items
    for name, content in table.files().items():
        if (store.path / name).read_bytes() != content:
            found.append(DataProblem(str(store.path / name), CHANGED))
    if table.total.hexdigest() != store.checksum:
        text = f"its items make the checksum {table.total.hexdigest()}, its manifest says {store.checksum}"
        found.append(DataProblem(str(store.path), text))
    return found


def has_header(folder: Path, layout: RowLayout, name: str) -> bool:
    """Return whether an array's file begins with its header."""
    header = layout.header(name)
    with (folder / name).open("rb") as file:
        return file.read(len(header)) == header


def read_items(folder: Path, layout: RowLayout, report: ReportItems) -> tuple[FactTable, list[DataProblem]]:
    """Compare the rows and facts of every item with its checksum; return the table and what differs."""
    table, found = FactTable.empty(layout), []
    path: Path = folder / ITEMS
    number = -1
    with path.open("rb") as file, Rows(folder, layout) as rows:
        for number, line in enumerate(file):
            if not rows.hold(line) or json_index(line) != number:
                found.append(DataProblem(str(folder), f"item {number} {CHANGED}"))
            elif not found:
                table.add(line)
            report(number + 1, layout.items)
    if number + 1 != layout.items:
        found.append(DataProblem(str(path), f"has {number + 1} lines, {layout.items} were written"))
    return table, found
