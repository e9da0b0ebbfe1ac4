"""`slotlab compare`: runs, folders of runs or a study as tables, numbers and figures."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from slotlab.framework.api.comparison import compare_paths, details_of, write_comparison
    from slotlab.framework.cli.output import emit
    from slotlab.framework.compare.csv_json import as_json

    with stoppable("nothing was written"):
        comparison = compare_paths(
            paths,
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
            across=across,
            allow_unfinished=allow_unfinished,
            per_image=per_image,
        )
    shown = details_of(comparison, metric)
    emit(as_json(comparison), json, lambda _: show(comparison, format_, shown))
    if out is not None:
        with stoppable(f"what lies in {out} is whole, and some of the files and figures may be missing"):
            write_comparison(comparison, out)


def show(comparison: "Comparison", format_: Format, details: "Sequence[ComparedMetric]") -> None:
    """Print a comparison; the terminal's tables show `details` in full, other formats all metrics."""
    from slotlab.framework.api.comparison import as_text, show_tables
    from slotlab.framework.cli.output import console

    if format_ is Format.table:
        show_tables(console(), comparison, details)
    else:
        sys.stdout.write(as_text(comparison, format_))
