"""`slotlab report`: a comparison as one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit

REPORT = "report.html"


def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="A study, run folders, or folders of runs.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Where to; PATH/report.html without it.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Instead of the study's name.")] = None,
    metric: Annotated[
        list[str], typer.Option("--metric", metavar="NAME", help="Show these metrics; the first is the primary.")
    ] = [],  # noqa: B006
    baseline: Annotated[
        str | None, typer.Option(metavar="ARM", help="The arm that the others are compared with.")
    ] = None,
    per_image: Annotated[
        bool, typer.Option("--per-image", help="Compare single checkpoints over images, too.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    json: JsonOption = None,
) -> None:
    """Write a comparison as one HTML file that needs no network: tables, plots, pictures, provenance."""
    result = write_report(
        paths, out=out, title=title, metrics=metric, baseline=baseline, per_image=per_image
    )
    emit(result, json, print_report)
    if open_:
        import webbrowser

        webbrowser.open(Path(result["report"]).resolve().as_uri())


def write_report(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    title: str | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    per_image: bool = False,
) -> dict[str, Any]:
    """Compare, write the page, and say what was written.

    Raises:
        SlotlabError: for paths that cannot be compared, as `slotlab compare` refuses them.
    """
    from slotlab.framework.atomic import write_atomically
    from slotlab.framework.compare.comparison import Choice, compare_paths
    from slotlab.framework.report.build import build_page
    from slotlab.framework.report.render import render

    choice = Choice(metrics=tuple(metrics), primary=next(iter(metrics), None), baseline=baseline)
    comparison = compare_paths(paths, choice, per_image=per_image)
    place = out or default_place(paths)
    page = build_page(comparison, title=title, seen_from=place.resolve().parent)
    html = render(page).encode()
    write_atomically(place, html)
    return {
        "report": str(place),
        "bytes": len(html),
        "title": page.title,
        "arms": [arm.name for arm in comparison.arms],
        "metrics": [item.name for item in comparison.metrics],
        "primary": comparison.primary.name,
        "baseline": comparison.baseline,
        "runs": sum(len(arm.members) for arm in comparison.arms),
        "failed": sum(len(arm.failed) for arm in comparison.arms),
        "left_out": len(comparison.left_out),
        "findings": [finding.text for finding in page.findings],
    }


def default_place(paths: Sequence[Path]) -> Path:
    """Return where a report goes: into the one folder that was given, else into the current one."""
    return paths[0] / REPORT if len(paths) == 1 else Path(REPORT)


def print_report(result: dict[str, Any]) -> None:
    """Print where the report is, and its first sentences."""
    out = console()
    for finding in result["findings"]:
        out.print(f"- {finding}", markup=False, soft_wrap=True)
    size = result["bytes"] / 1e6
    out.print(f"{result['report']} ({size:.1f} MB)", style="bold", markup=False, soft_wrap=True)
