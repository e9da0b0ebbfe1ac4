"""The command `ablate`, and how its results are printed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import print_whole
from slotlab.framework.cli.estimate import NOT_TIMED
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import (
    DeviceOption,
    ImagesOption,
    JsonOption,
    PluginOption,
    SetOption,
    StrictOption,
    TrustOption,
)
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import counted, duration, maybe


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How to run a study; named as the arguments of `api.ablation.ablate_file`."""

    launcher: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The launcher, such as local, ray or slurm; by default the file's."
        ),
    ] = None
    studies: Annotated[Path, typer.Option(help="The folder of studies.")] = Path("studies")
    runs: Annotated[Path, typer.Option(help="The folder of runs, which studies share.")] = Path("runs")
    sets: SetOption = field(default_factory=list)
    plugins: PluginOption = field(default_factory=list)
    strict_plugins: StrictOption = False
    trust: TrustOption = False
    device: DeviceOption = "auto"


@dataclass(frozen=True, kw_only=True)
class AblateOptions(StudyOptions):
    """How to run an ablation."""

    look: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Only the seeds up to the K-th look that compare.sequential declares."
        ),
    ] = None


@grouped
def ablate(
    ablation: Annotated[
        str, typer.Argument(metavar="FILE", help="An ablation file, or slotlab:ablations/NAME.")
    ],
    chosen: AblateOptions,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the ablation and print its runs, without starting any."),
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option("--estimate/--no-estimate", help="With --dry-run: time a few steps of each arm."),
    ] = True,
    images: ImagesOption = None,
    json: JsonOption = None,
) -> None:
    """Train and evaluate the missing runs of an ablation.

    Give the command again to continue after an interruption.
    """
    with loading():
        from slotlab.framework.api.ablation import ablate_file, forecast_file

    options = {**vars(chosen), "trust": consent(given=chosen.trust)}
    if dry_run:
        result = forecast_file(ablation, **options, timed=estimate, images=images)
        emit(result, json, print_forecast)
        return
    result = ablate_file(ablation, **options)
    emit(result, json, print_outcome)
    if result["failed"]:
        raise typer.Exit(1)


def print_outcome(result: dict[str, Any]) -> None:
    """Print a line for each run, then why runs failed."""
    out = console()
    table = Table(
        "arm", "seed", "run", "state", *result["metrics"], box=None, pad_edge=False, header_style="bold"
    )
    for row in result["runs"]:
        values = (maybe(row["metrics"][name], lambda value: f"{value:.3f}") for name in result["metrics"])
        table.add_row(row["arm"], str(row["seed"]), row["run_id"], row["state"], *values)
    print_whole(out, table)
    for row in result["runs"]:
        if row["run_id"] in result["failed"]:
            text = f"failed: {row['arm']}, seed {row['seed']}: {row['reason']}"
            out.print(text, soft_wrap=True)
    out.print(f"study: {result['study']}", soft_wrap=True)


def print_forecast(result: dict[str, Any]) -> None:
    """Print the table of runs, and how long they will take."""
    out = console()
    out.print(f"{result['name']}: {result['question']}", style="bold", soft_wrap=True)
    table = Table("arm", "seed", "run", "state", "time", box=None, pad_edge=False, header_style="bold")
    for row in result["runs"]:
        time = "" if row["state"] in ("done", "trained") else maybe(row["seconds"], duration)
        table.add_row(row["arm"], str(row["seed"]), row["run_id"], standing(row), time)
    print_whole(out, table)
    for text in result["warnings"]:
        out.print(f"warning: {text}", soft_wrap=True)
    todo = [row for row in result["runs"] if row["state"] != "done"]
    text = (
        f"{counted(len(result['runs']), 'run')}: {len(result['runs']) - len(todo)} done, {len(todo)} to run"
    )
    seconds = [row["seconds"] for row in todo]
    if todo and all(value is not None for value in seconds):
        at_once = min(result["at_once"] or 1, len(todo))
        shared = (
            "one after another"
            if at_once == 1
            else f"{at_once} at a time, if they do not slow each other down"
        )
        text += f"; about {duration(sum(seconds) / at_once)} of training, {shared}"
    out.print(text, soft_wrap=True)
    if any(value is not None for value in seconds):
        out.print(f"not included: {NOT_TIMED}; evaluations", style="dim", soft_wrap=True)


def standing(row: dict[str, Any]) -> str:
    """Return the status of a run in words."""
    words = {"done": "done", "trained": "to be evaluated", "running": f"running, step {row['step']}"}
    text = words.get(row["state"]) or (f"to run from step {row['step']}" if row["step"] else "to run")
    return text + (f" (shared with {', '.join(row['shared_with'])})" if row["shared_with"] else "")
