"""The command `report`: a comparison as one HTML file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.option_groups import ComparisonOptions, grouped
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.stopping import stoppable


@grouped
def report(
    chosen: ComparisonOptions,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="The file to write; by default PATH/report.html.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The title; by default the study's name.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a comparison as one HTML file.

    It needs no network, and holds the tables, plots, pictures and provenance.
    """
    from slotlab.framework.api.comparison import check_place, compare_paths, default_place, write_report

    place = out or default_place(chosen.paths)
    check_place(place)
    with stoppable("no report was written"):
        written = write_report(compare_paths(**vars(chosen)), place, title=title)
    emit(written, json, print_report)
    if open_:
        import webbrowser

        webbrowser.open(place.resolve().as_uri())


def print_report(result: dict[str, Any]) -> None:
    """Print the sentences of the summary, and the path of the report."""
    from slotlab.framework.cli.output import console

    out = console()
    for text in result["findings"]:
        out.print(f"- {text}", soft_wrap=True)
    size = f"{result['bytes'] / 1e6:.1f} MB"
    out.print(f"{result['report']} ({size})", style="bold", soft_wrap=True)
