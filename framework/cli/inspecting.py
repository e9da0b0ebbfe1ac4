"""What `slotlab data inspect` does, with a progress bar, and how its result is printed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.progress import open_bar
from slotlab.framework.cli.units import counted
from slotlab.framework.data.inspection.findings import Inspection, inspect_store, inspect_target
from slotlab.framework.data.inspection.target import DataTarget, find_target
from slotlab.framework.data.progress import ReportProgress
from slotlab.framework.data.store.format import MANIFEST
from slotlab.framework.figures.contact_sheet import draw_sheet
from slotlab.framework.plugin_loading.trust import Ask, refuse
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cores import cores
from slotlab.registry import SlotlabError

_HEADINGS = {"metadata": "listed", "mask_colors": "in the mask", "visible": "visible"}
_CHANNELS = ("red", "green", "blue")


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
    report: ReportProgress,
) -> Inspection:
    if (Path(what) / MANIFEST).is_file():
        if given:
            raise SlotlabError(f"{what} is a packed store: --protocol, --split and --set do not apply to it")
        return inspect_store(Path(what), workers=workers, report=report)
    try:
        return inspect_target(find(), split, workers=workers, report=report)
    except PathProblem as problem:
        raise SlotlabError(f"{what}: {problem}") from None


def print_inspection(result: dict[str, Any]) -> None:
    """Print what is there as tables, then each problem on a line."""
    out = console()
    rows, columns = result["image_size"]
    out.print(f"{result['dataset']} under protocol {result['protocol']}", style="bold", soft_wrap=True)
    out.print(f"images of {columns}x{rows} pixels; {result['filter'] or 'any number of objects'}")
    listed = ", ".join(f"{name} {number}" for name, number in result["listed"].items())
    out.print(f"listed: {listed}", soft_wrap=True)
    out.print(_facts(result["splits"]))
    for name, part in result["splits"].items():
        out.print(f"\nobjects in {name}", style="bold")
        out.print(_histograms(part["objects"]))
    for text in result["cautions"]:
        out.print(f"caution: {text}", soft_wrap=True)
    if "sheet" in result:
        out.print(f"contact sheet: {result['sheet']}", soft_wrap=True)
    for problem in result["problems"]:
        out.print(f"problem: {problem['path']}: {problem['reason']}", soft_wrap=True)
    number = len(result["problems"])
    out.print(f"{counted(number, 'problem')} found" if number else "no problems found")


def _facts(splits: dict[str, dict[str, Any]]) -> Table:
    table = Table("", *splits, box=None, pad_edge=False, header_style="bold")
    rows = {
        "images": [str(part["images"]) for part in splits.values()],
        "broken": [str(part["broken"]) for part in splits.values()],
        "picture sizes": [_sizes(part["sizes"]) for part in splits.values()],
        "most labels": [_cell(part["most_labels"]) for part in splits.values()],
        **{
            f"mean, {c}": [_channel(part["mean"], i) for part in splits.values()]
            for i, c in enumerate(_CHANNELS)
        },
        **{
            f"deviation, {c}": [_channel(part["deviation"], i) for part in splits.values()]
            for i, c in enumerate(_CHANNELS)
        },
        "checksum": [part["checksum"] for part in splits.values()],
        "fingerprint": [_cell(part["fingerprint"]) for part in splits.values()],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _histograms(objects: dict[str, dict[str, int]]) -> Table:
    numbers = dict.fromkeys(number for found in objects.values() for number in found)
    order = sorted(numbers, key=lambda number: (not number.isdecimal(), number.zfill(9)))
    table = Table("number of objects", *order, box=None, pad_edge=False, header_style="bold")
    for counting, found in objects.items():
        table.add_row(_HEADINGS[counting], *(str(found.get(number, "-")) for number in order))
    return table


def _sizes(sizes: dict[str, int]) -> str:
    shown = [f"{number} x {size}" if len(sizes) > 1 else size for size, number in list(sizes.items())[:3]]
    more = [f"{len(sizes) - 3} more"] if len(sizes) > 3 else []
    return ", ".join([*shown, *more]) or "-"


def _channel(values: Sequence[float] | None, channel: int) -> str:
    return "-" if values is None else f"{values[channel]:.6f}"


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)
