"""The command `compare`: runs, folders of runs or a study as tables, numbers and figures."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotlab.framework.cli.option_groups import ComparisonOptions, grouped
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.stopping import stoppable
from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.compare.comparison import ComparedMetric, Comparison


class Format(StrEnum):
    """The format in which a comparison is printed."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    json = "json"


@grouped
def compare(
    chosen: ComparisonOptions,
    format_: Annotated[Format, typer.Option("--format", help="The format to print.")] = Format.table,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write all formats and the figures into this folder.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare runs, grouped by all settings but the seed.

    Prints means with intervals, paired tests against a baseline arm, and costs.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise SlotlabError(f"{out} is a file; choose another folder with --out DIR")
    from slotlab.framework.api.comparison import compare_paths, details_of, write_comparison
    from slotlab.framework.cli.output import emit
    from slotlab.framework.compare.csv_json import as_json

    with stoppable("nothing was written"):
        comparison = compare_paths(**vars(chosen))
    shown = details_of(comparison, chosen.metrics)
    emit(as_json(comparison), json, lambda _: show(comparison, format_, shown))
    if out is not None:
        with stoppable(f"the files in {out} are complete, but some files and figures may be missing"):
            write_comparison(comparison, out)


def show(comparison: "Comparison", format_: Format, details: "Sequence[ComparedMetric]") -> None:
    """Print a comparison; the terminal's tables show `details` in full, other formats all metrics."""
    from slotlab.framework.api.comparison import as_text, show_tables
    from slotlab.framework.cli.output import console

    if format_ is Format.table:
        show_tables(console(), comparison, details)
    else:
        sys.stdout.write(as_text(comparison, format_))
