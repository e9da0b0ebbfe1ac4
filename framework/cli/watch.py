"""The command `watch`: the status of a study's runs, read from their folders without torch."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from slotlab.framework.api.console import PlainConsole, styled
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import duration, maybe
from slotlab.framework.study.folder import StudyFolder, StudyPlan
from slotlab.framework.study.run_status import WantedEvaluation, glance

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


def status_of(folder: StudyFolder) -> dict[str, Any]:
    """Return the status of each run of a study, as JSON-ready data."""
    plan = folder.read_plan()
    rows = []
    for arm in plan.arms:
        wanted = wanted_of(plan, arm.evaluation)
        for run in arm.runs:
            now = glance(folder.run(run), wanted).to_json(plan.compare.metrics)
            rows.append({"arm": arm.name, "seed": run.seed, "run_id": run.run_id, **now})
    states = [row["state"] for row in rows]
    return {
        "study": str(folder.path),
        "name": plan.name,
        "primary": plan.compare.primary,
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "runs": rows,
    }


def wanted_of(plan: StudyPlan, evaluation: Mapping[str, Any]) -> WantedEvaluation | None:
    """Return the evaluation that an arm's runs need; None if the plan does not declare it."""
    if not evaluation:
        return None
    facts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in evaluation.items()
    }
    return WantedEvaluation(**facts)


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
