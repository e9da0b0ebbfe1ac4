"""`slotlab compare`: runs, folders of runs or a study as tables, numbers and figures."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotlab.framework.cli.choosing import chosen
from slotlab.framework.cli.options import (
    AcrossOption,
    AllowUnfinishedOption,
    BaselineOption,
    ChosenCheckpointOption,
    DatasetOption,
    EvaluationOption,
    FailedBelowOption,
    JsonOption,
    MasksOption,
    MetricOption,
    PerImageOption,
    PrimaryOption,
    ProtocolOption,
    RunsArgument,
    SplitOption,
)
from slotlab.framework.cli.stopping import stoppable
from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.compare.comparison import Comparison
    from slotlab.framework.compare.results import ComparedMetric


class Format(StrEnum):
    """How a comparison is printed."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    latex = "latex"
    json = "json"


def compare(
    paths: RunsArgument,
    metric: MetricOption = [],  # noqa: B006 - typer reads the default and never changes it
    primary: PrimaryOption = None,
    baseline: BaselineOption = None,
    dataset: DatasetOption = None,
    protocol: ProtocolOption = None,
    split: SplitOption = None,
    masks: MasksOption = None,
    checkpoint: ChosenCheckpointOption = None,
    evaluation: EvaluationOption = [],  # noqa: B006
    failed_below: FailedBelowOption = None,
    across: AcrossOption = [],  # noqa: B006
    allow_unfinished: AllowUnfinishedOption = False,
    per_image: PerImageOption = False,
    format_: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.table,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write all formats and the figures here.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Compare runs: grouped by all but the seed, with intervals, paired tests and what they can show."""
    if out is not None and out.exists() and not out.is_dir():
        raise SlotlabError(f"{out} is a file; choose another folder with --out DIR")
    from slotlab.framework.cli.output import emit
    from slotlab.framework.compare.comparison import compare_paths
    from slotlab.framework.compare.csv_json import as_json

    choice = chosen(
        metrics=metric,
        primary=primary,
        baseline=baseline,
        dataset=dataset,
        protocol=protocol,
        split=split,
        masks=masks,
        checkpoint=checkpoint,
        evaluation=evaluation,
        failed_below=failed_below,
    )
    with stoppable("nothing was written"):
        comparison = compare_paths(
            paths, choice, across=across, allow_unfinished=allow_unfinished, per_image=per_image
        )
    shown = [one for one in comparison.metrics if one.name in metric] or [comparison.primary]
    emit(as_json(comparison), json, lambda _: show(comparison, format_, shown))
    if out is not None:
        with stoppable(f"what lies in {out} is whole, and some of the files and figures may be missing"):
            write(comparison, out)


def show(comparison: "Comparison", format_: Format, details: "Sequence[ComparedMetric]") -> None:
    """Print a comparison; the terminal's tables show `details` in full, other formats all metrics."""
    if format_ is Format.table:
        print_tables(comparison, details)
    else:
        sys.stdout.write(written(comparison, format_))


def written(comparison: "Comparison", format_: Format) -> str:
    """Return a comparison as the text of a file."""
    from json import dumps

    from slotlab.framework.compare.csv_json import as_csv, as_json
    from slotlab.framework.compare.markdown_latex import latex, markdown
    from slotlab.framework.compare.tables import facts, tables

    if format_ is Format.csv:
        return as_csv(comparison)
    if format_ is Format.json:
        return dumps(as_json(comparison), indent=2, allow_nan=False) + "\n"
    render = latex if format_ is Format.latex else markdown
    return render(tables(comparison), facts(comparison))


def print_tables(comparison: "Comparison", details: "Sequence[ComparedMetric]") -> None:
    """Print the tables, and under them how to read them."""
    from rich.table import Table

    from slotlab.framework.cli.output import console, styled
    from slotlab.framework.compare.tables import facts, tables

    out = console()
    for table in tables(comparison, details=details):
        out.print(styled(table.title, "bold"), soft_wrap=True)
        grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for i, head in enumerate(table.columns):
            grid.add_column(head, justify="left" if i < table.texts else "right")
        for row in table.rows:
            grid.add_row(*row)
        out.print(grid)
        out.print()
    for line in facts(comparison):
        out.print(styled(line, "dim"), soft_wrap=True)


ENDINGS = {Format.markdown: "md", Format.csv: "csv", Format.latex: "tex", Format.json: "json"}


def write(comparison: "Comparison", folder: Path) -> None:
    """Write DIR/comparison.md, .csv, .tex and .json, and the figures as PNG and PDF; say so on stderr."""
    from slotlab.framework.cli.output import say
    from slotlab.framework.compare.draw_all import draw
    from slotlab.framework.system.atomic import write_output

    for format_, ending in ENDINGS.items():
        write_output(
            folder / f"comparison.{ending}", written(comparison, format_).encode(errors="backslashreplace")
        )
    drawn = draw(comparison, folder)
    note = f"; {drawn.note}" if drawn.note else ""
    text = (
        f"written: {folder}/comparison.{{{','.join(ENDINGS.values())}}} and {len(drawn.stems)} figures{note}"
    )
    say(text)
