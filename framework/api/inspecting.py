"""Counts, measures and checks data, with a progress bar."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.api.progress import open_bar
from slotlab.framework.data.inspection.findings import Inspection, inspect_store, inspect_target
from slotlab.framework.data.inspection.target import DataTarget, find_target
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.data.store.format import MANIFEST
from slotlab.framework.figures.contact_sheet import draw_sheet
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cores import cores
from slotlab.registry import SlotlabError


def inspect_data(
    what: str,
    *,
    protocol: str | None = None,
    split: str | None = None,
    sets: Sequence[str] = (),
    plugins: Sequence[Path] = (),
    trust: Ask = refuse,
    sheet: Path | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Inspect a spec's data, a folder or file of data, or a packed store; return JSON data.

    Args:
        what: a spec file, `slotlab:NAME`, a folder or file of data, or the folder of a store.
        protocol: the name of a protocol, in place of the spec's or the usual one.
        split: the one split to read.
        sets: assignments `a.b=c`.
        plugins: single-file plugins to load.
        trust: whether to run code that came with another user's run.
        sheet: where to write a contact sheet, as PNG; None writes none.
        workers: processes that read; None for one a core.

    Raises:
        SlotlabError: if the data is not there or not as the settings say. What is wrong with
            single files is part of the result.
    """
    if workers is not None and workers < 0:
        raise SlotlabError(f"--workers {workers}: write a number of processes; 0 reads without any")
    bar = open_bar("read")
    task = bar.add_task("read", total=None, facts="")

    def report(done: int, total: int) -> None:
        bar.start()  # after the processes that read were forked: it has a thread
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()  # before others are forked for the next split

    try:
        target = partial(find_target, what, protocol=protocol, sets=sets, plugins=plugins, trust=trust)
        given = protocol is not None or split is not None or bool(sets)
        found = _inspect(what, given, target, split, cores() if workers is None else workers, report)
    finally:
        bar.stop()
    if sheet is not None:
        draw_sheet(found.parts, sheet)
        found.result["sheet"] = str(sheet)
    return found.result


def _inspect(
    what: str,
    given: bool,
    find: Callable[[], DataTarget],
    split: str | None,
    workers: int,
    report: ReportItems,
) -> Inspection:
    if (Path(what) / MANIFEST).is_file():
        if given:
            raise SlotlabError(f"{what} is a packed store: --protocol, --split and --set do not apply to it")
        return inspect_store(Path(what), workers=workers, report=report)
    try:
        return inspect_target(find(), split, workers=workers, report=report)
    except PathProblem as problem:
        raise SlotlabError(f"{what}: {problem}") from None
