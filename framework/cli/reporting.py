"""`slotlab report`: a comparison as one HTML file."""

from pathlib import Path
from typing import Annotated, Any

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
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.stopping import stoppable


def report(
    paths: RunsArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where to; PATH/report.html without it.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Instead of the study's name.")] = None,
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
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a comparison as one HTML file that needs no network: tables, plots, pictures, provenance."""
    from slotlab.framework.api.comparison import check_place, compare_paths, default_place, write_report

    place = out or default_place(paths)
    check_place(place)
    with stoppable("no report was written"):
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
        written = write_report(comparison, place, title=title)
    emit(written, json, print_report)
    if open_:
        import webbrowser

        webbrowser.open(place.resolve().as_uri())


def print_report(result: dict[str, Any]) -> None:
    """Print the sentences of the summary, and where the report is."""
    from slotlab.framework.cli.output import console

    out = console()
    for text in result["findings"]:
        out.print(f"- {text}", soft_wrap=True)
    size = f"{result['bytes'] / 1e6:.1f} MB"
    out.print(f"{result['report']} ({size})", style="bold", soft_wrap=True)
