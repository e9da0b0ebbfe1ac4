"""The command `published`: numbers from the literature, each with its protocol and source."""

from typing import Annotated, Any

import typer

from slotlab.framework.api.console import styled
from slotlab.framework.api.run_lists import published as listed
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit


def published(
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="List the numbers of this protocol; by default all.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """List published numbers with protocol, data and source."""
    emit([dict(row) for row in listed(protocol)], json, print_published)


def print_published(rows: list[dict[str, Any]]) -> None:
    """Print a table for each protocol and source."""
    from rich.table import Table

    out = console()
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["protocol"], row["source"]), []).append(row)
    for (protocol, source), members in groups.items():
        out.print(styled(f"protocol {protocol}: {source}", "bold"), soft_wrap=True)
        columns = ("method", "data", "train", "test", "metric", "value", "seeds", "note")
        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in members:
            table.add_row(*cells(row))
        out.print(table)
        out.print("")


def cells(row: dict[str, Any]) -> list[str]:
    """Return a published number as the cells of its line."""
    deviation = "" if row["std"] is None else f" ± {row['std']:.4g}"
    test = (
        row["test"] if row["max_objects"] is None else f"{row['test']}, at most {row['max_objects']} objects"
    )
    seeds = "-" if row["seeds"] is None else str(row["seeds"])
    value = f"{row['value']:.4g}{deviation}"
    return [row["method"], row["data"], row["train"], test, row["metric"], value, seeds, row["note"]]
