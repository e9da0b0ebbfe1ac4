"""`slotlab report`: a comparison as one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.registry.errors import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.compare.results import Comparison

REPORT = "report.html"
ENDINGS = (".html", ".htm")


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
    from slotlab.framework.compare.comparison import compare_paths

    place = out or default_place(paths)
    if place.is_dir():
        raise SlotlabError(f"{place} is a folder; name a file in it with --out")
    if place.suffix.lower() not in ENDINGS:
        text = f"--out {place}: a report is HTML, so its name ends in {' or '.join(ENDINGS)}"
        raise SlotlabError(f"{text}, as {place.with_suffix('.html')} does; browsers print it as PDF")
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
    with stoppable("no report was written"):
        comparison = compare_paths(
            paths, choice, across=across, allow_unfinished=allow_unfinished, per_image=per_image
        )
        written = write_report(comparison, place, title=title)
    emit(written, json, print_report)
    if open_:
        import webbrowser

        webbrowser.open(place.resolve().as_uri())


def default_place(paths: Sequence[Path]) -> Path:
    """Return where a report goes: into the one folder that was given, else into the current one."""
    return paths[0] / REPORT if len(paths) == 1 else Path(REPORT)


def write_report(comparison: "Comparison", place: Path, *, title: str | None = None) -> dict[str, Any]:
    """Write the page whole or not at all, and return what was written, as JSON-ready data."""
    from slotlab.framework.report.build import build_page
    from slotlab.framework.report.render import render
    from slotlab.framework.system.atomic import write_output

    page = build_page(comparison, title=title, seen_from=place.resolve().parent)
    html = render(page).encode(errors="backslashreplace")
    write_output(place, html)
    return {
        "report": str(place),
        "bytes": len(html),
        "title": page.title,
        "arms": [arm.name for arm in comparison.arms],
        "baseline": comparison.baseline,
        "metrics": [item.name for item in comparison.metrics],
        "primary": comparison.primary.name,
        "runs": sum(len(arm.members) for arm in comparison.arms),
        "failed": sum(len(arm.failed) for arm in comparison.arms),
        "left_out": len(comparison.left_out),
        "findings": [finding.text for finding in page.findings],
    }


def print_report(result: dict[str, Any]) -> None:
    """Print the sentences of the summary, and where the report is."""
    from slotlab.framework.cli.output import console

    out = console()
    for text in result["findings"]:
        out.print(f"- {text}", soft_wrap=True)
    size = f"{result['bytes'] / 1e6:.1f} MB"
    out.print(f"{result['report']} ({size})", style="bold", soft_wrap=True)
