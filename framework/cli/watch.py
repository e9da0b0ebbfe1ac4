"""The command `watch`: the status of a study's runs, read from their folders without torch."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from slotlab.framework.api.console import PlainConsole, styled
from slotlab.framework.api.run_lists import status_of
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import duration, maybe
from slotlab.framework.study.folder import StudyFolder

STYLES = {"done": "green", "running": "cyan", "waiting": "dim"}
STYLES |= dict.fromkeys(("failed", "interrupted", "damaged"), "red")


def watch(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study.")],
    once: Annotated[bool, typer.Option("--once", help="Print the table once and exit.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="The time between two updates.")
    ] = 2.0,
    json: JsonOption = None,
) -> None:
    """Watch the runs of a study until all have ended.

    Shows the state, progress, loss, primary metric and remaining time of each run.
    """
    folder = StudyFolder.open(study)
    if once or json is not None:
        emit(status_of(folder), json, print_status)
        return
    out = PlainConsole()
    try:
        with Live(console=out, auto_refresh=False, screen=False) as live:
            while True:
                result = status_of(folder)
                live.update(status_table(result), refresh=True)
                if not any(row["state"] in ("waiting", "running", "trained") for row in result["runs"]):
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return


def print_status(result: dict[str, Any]) -> None:
    """Print the table once."""
    console().print(status_table(result))


def status_table(result: dict[str, Any]) -> Table:
    """Return the table of runs."""
    primary = result["primary"]
    title = ", ".join(f"{number} {state}" for state, number in result["states"].items())
    table = Table(
        Column("arm", overflow="fold", min_width=16),
        *("seed", "state", "", "step", "loss", primary, "images/s", "time left"),
        title=f"{result['name']}: {title}",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for row in result["runs"]:
        total = row["total_steps"]
        table.add_row(
            row["arm"],
            str(row["seed"]),
            styled(row["state"], STYLES.get(row["state"], "yellow")),
            ProgressBar(total=total or 1, completed=row["step"], width=16),
            f"{row['step']}/{total or '?'}",
            maybe(row["loss"], lambda value: f"{value:.4f}"),
            maybe(row["metrics"][primary], lambda value: f"{value:.3f}"),
            maybe(row["images_per_second"], lambda value: f"{value:.3g}"),
            maybe(row["seconds_left"], duration),
        )
    return table
