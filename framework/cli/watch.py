"""The command `watch`: the status of a study's runs, or of one, read from their folders without torch."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from slotlab.framework.api.console import PlainConsole, styled
from slotlab.framework.api.run_lists import status_of
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.sparkline import sparkline
from slotlab.framework.cli.units import duration, maybe

STYLES = {"done": "green", "running": "cyan", "waiting": "dim"}
STYLES |= dict.fromkeys(("failed", "interrupted", "damaged"), "red")


def watch(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study, or of a run.")],
    once: Annotated[bool, typer.Option("--once", help="Print the table once and exit.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="The time between two updates.")
    ] = 2.0,
    json: JsonOption = None,
) -> None:
    """Watch the runs of a study, or one run, until all have ended.

    Shows the state, progress, loss, primary metric and remaining time of each run; the primary metric during
    the training as a curve, and where the latest picture of masks lies.
    """
    if once or json is not None:
        emit(status_of(study), json, print_status)
        return
    out = PlainConsole()
    try:
        with Live(console=out, auto_refresh=False, screen=False) as live:
            while True:
                result = status_of(study)
                live.update(status_view(result), refresh=True)
                if not any(row["state"] in ("waiting", "running", "trained") for row in result["runs"]):
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return


def print_status(result: dict[str, Any]) -> None:
    """Print the table once."""
    console().print(status_view(result))


def status_view(result: dict[str, Any]) -> Group:
    """Return the table of runs, and where the latest picture lies, of those that run if any do."""
    pictured = [row for row in result["runs"] if row.get("picture")]
    running = [row for row in pictured if row["state"] == "running"] or pictured
    if not running:
        return Group(status_table(result))
    row = max(running, key=lambda row: row["step"])
    text = f"latest picture of {row['arm']}, seed {row['seed']}: {row['picture']}"
    return Group(status_table(result), styled(text, ""))


def status_table(result: dict[str, Any]) -> Table:
    """Return the table of runs."""
    primary = result["primary"]
    curves = any(row.get("watched") for row in result["runs"])
    title = ", ".join(f"{number} {state}" for state, number in result["states"].items())
    table = Table(
        Column("arm", overflow="fold", min_width=16),
        *("seed", "state", "", "step", "loss", primary, "images/s", "time left"),
        *((f"{primary} in training",) if curves else ()),
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
            *((curve(row.get("watched") or (), primary),) if curves else ()),
        )
    return table


def curve(looks: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Return a metric over the looks of a training as bars, and its latest value."""
    values = [look.get(metric) for look in looks]
    latest = next((value for value in reversed(values) if value is not None), None)
    return f"{sparkline(values)} {latest:.3f}" if latest is not None else ""
