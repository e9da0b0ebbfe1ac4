"""The `bench` commands: train on the benchmark's recipes, and write leaderboards."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.ablate import StudyOptions, print_forecast, print_outcome
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train models on the benchmark of generated pictures, and write leaderboards.",
)
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.md", help="Write the leaderboard as a page, and its numbers as JSON beside it."
    ),
]


@dataclass(frozen=True, kw_only=True)
class BenchOptions(StudyOptions):
    """What is trained on which recipes; named as the arguments of `api.benchmark.bench_files`."""

    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            metavar="NAME|FILE",
            help="A shipped spec or a file; by default those that train from nothing. May be repeated.",
        ),
    ] = field(default_factory=list)
    variants: Annotated[
        list[str],
        typer.Option("--variant", metavar="NAME", help="A recipe of the benchmark. May be repeated."),
    ] = field(default_factory=lambda: ["plain-1"])
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="The number of seeds, from 0.")] = 5


@app.command()
@grouped
def run(
    chosen: BenchOptions,
    out: OutOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the runs, without starting any.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option("--estimate/--no-estimate", help="With --dry-run: time a few steps of each model."),
    ] = True,
    json: JsonOption = None,
) -> None:
    """Train and measure models on recipes of the benchmark, a study each.

    Give the command again to continue after an interruption.
    """
    from slotlab.framework.api.benchmark import bench_files
    from slotlab.framework.api.leaderboard import leaderboard, page_place

    if out is not None:
        page_place(out)
    options = {**vars(chosen), "trust": consent(given=chosen.trust)}
    result = bench_files(timed=estimate if dry_run else None, **options)
    emit(result, json, lambda every: show(every, dry_run))
    if dry_run:
        return
    if out is not None:
        write(leaderboard([one["study"] for one in result]), out)
    if any(one["failed"] for one in result):
        raise typer.Exit(1)


def show(results: list[dict[str, Any]], dry_run: bool) -> None:
    """Print what became of each study, or where it stands."""
    for one in results:
        (print_forecast if dry_run else print_outcome)(one)


@app.command()
def table(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Folders of studies.")],
    out: OutOption = None,
    json: JsonOption = None,
) -> None:
    """Write the leaderboards of studies: means with intervals, binding rates, baselines, cost, failures.

    Places are those that tests of all pairs bear out.
    """
    from slotlab.framework.api.leaderboard import leaderboard, page_place, show_boards
    from slotlab.framework.compare.leaderboard_page import boards_json

    if out is not None:
        page_place(out)
    found = leaderboard(studies)
    emit(boards_json(found.boards), json, lambda _: show_boards(console(), found.boards))
    if out is not None:
        write(found, out)


def write(found: Any, out: Path) -> None:
    """Write the page, and say where it lies."""
    from slotlab.framework.api.console import say

    say(f"written: {found.write(out)} and {out.with_suffix('.json').name}")
