"""How `slotlab data fetch` shows what is to come, asks, and shows what came."""

import sys
from typing import Any

from rich.table import Table

from slotlab.framework.api.console import error_console, print_whole
from slotlab.framework.api.fetching import FetchPlan
from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import counted
from slotlab.framework.data.downloads.fetching import Wanted
from slotlab.registry import SlotlabError

WORDS = {
    "missing": "to fetch",
    "begun": "begun",
    "packed": "to unpack",
    "there": "there",
    "not checked": "there, not fetched by slotlab",
}


def print_plan(plan: FetchPlan) -> None:
    """Print each file with its size, state, address and license, and what all of it needs, on stderr."""
    out = error_console()
    table = Table("file", "GB", "state", "address", box=None, pad_edge=False, header_style="bold")
    for one in plan.files:
        table.add_row(one.source.file, gigabytes(one.source.bytes), state_of(one), one.source.url)
    print_whole(out, table)
    for text in dict.fromkeys(one.source.license for one in plan.files):
        out.print(f"license: {text}", soft_wrap=True)
    if plan.by_hand:
        out.print(f"note: {plan.by_hand}", soft_wrap=True)
    unknown = f" and {counted(plan.unknown, 'file')} of unknown size" if plan.unknown else ""
    free = f"{gigabytes(plan.free)} GB are free in {plan.folder}"
    out.print(f"to come: {gigabytes(plan.missing)} GB{unknown}; {free}", soft_wrap=True)


def state_of(one: Wanted) -> str:
    """Return in words what is there of a file."""
    return f"begun, {gigabytes(one.have)} GB there" if one.state == "begun" else WORDS[one.state]


def gigabytes(number: int | None) -> str:
    """Return bytes in GB."""
    return "?" if number is None else f"{number / 1e9:.2f}"


def agreed() -> bool:
    """Ask at the terminal.

    Raises:
        SlotlabError: where nobody can be asked.
    """
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        raise SlotlabError("nothing was fetched: there is no terminal to ask at; give --yes to fetch it")
    print("fetch it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_fetched(result: dict[str, Any]) -> None:
    """Print what came, with its checksum, and the command that inspects it."""
    out = console()
    for one in result["files"]:
        unpacked = ", unpacked (the archive may be removed)" if one.get("unpacked") else ""
        out.print(f"{one['file']}: {one['bytes']} bytes, SHA-256 {one['sha256']}{unpacked}", soft_wrap=True)
    out.print(f"inspect it: slotlab data inspect {result['folder']}", soft_wrap=True)
