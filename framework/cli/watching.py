"""What `watch` and `runs` do: how runs are, from their folders, without torch."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table

from slotlab.framework.api.console import PlainConsole, styled, warn
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit, print_whole
from slotlab.framework.cli.units import counted, duration, maybe
from slotlab.framework.study.folder import Plan, StudyFolder
from slotlab.framework.study.glance import Wanted, glance
from slotlab.registry.errors import SlotlabError

STYLES = {"done": "green", "running": "cyan", "waiting": "dim"}
STYLES |= dict.fromkeys(("failed", "interrupted", "damaged"), "red")


def watch(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study.")],
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")] = 2.0,
    json: JsonOption = None,
) -> None:
    """Show how the runs of a study are, until all have ended: state, progress, loss, metric, time left."""
    folder = StudyFolder.open(study)
    if once or json is not None:
        emit(look(folder), json, print_look)
        return
    out = PlainConsole()
    try:
        with Live(console=out, auto_refresh=False, screen=False) as live:
            while True:
                result = look(folder)
                live.update(picture(result), refresh=True)
                if not any(row["state"] in ("waiting", "running", "trained") for row in result["runs"]):
                    return
                time.sleep(every)
    except KeyboardInterrupt:
        return


def look(folder: StudyFolder) -> dict[str, Any]:
    """Return how each run of a study is, as JSON data."""
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


def wanted_of(plan: Plan, evaluation: Mapping[str, Any]) -> Wanted | None:
    """Return the evaluation that an arm's runs need; None for a plan that does not say."""
    if not evaluation:
        return None
    facts: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in evaluation.items()
    }
    return Wanted(**facts)


def print_look(result: dict[str, Any]) -> None:
    """Print the table once."""
    console().print(picture(result))


def picture(result: dict[str, Any]) -> Table:
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


def runs(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Of runs.")] = Path("runs"),
    where: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="state=failed, model.slots>5, ari<0.2, ...; all must hold."),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    show: Annotated[
        list[str], typer.Option(metavar="NAME", help="A column more: a setting or a metric.")
    ] = [],  # noqa: B006
    json: JsonOption = None,
) -> None:
    """List the runs in a folder that have certain settings, states or results, by an index of them."""
    from slotlab.framework.study.index import Condition, Index
    from slotlab.framework.study.record import facts

    conditions = [Condition.read(text) for text in where]
    refuse_study(folder)
    found = Index(folder).find(conditions, show)
    columns = list(dict.fromkeys((*(one.name for one in conditions), *show)))
    shown = [{name: dict(facts(record)).get(name) for name in columns} for record in found]
    emit(found, json, lambda records: print_runs(records, shown))
    warn(f"{folder / one['run']} is damaged: {one['reason']}" for one in found if one["state"] == "damaged")
    if not (found or conditions):
        say_where(folder)


def refuse_study(folder: Path) -> None:
    """Refuse a study's folder and a run's, which hold no runs.

    Raises:
        SlotlabError: that says where the runs lie.
    """
    study = StudyFolder(folder)
    if all((folder / name).is_file() for name in ("spec.yaml", "status.json")):
        above = folder.parent if folder.name not in ("", "..") else folder.resolve().parent
        raise SlotlabError(f"{folder} is a run itself; 'slotlab runs {above}' lists it with the others")
    if study.plan.is_file() and not next(folder.glob("*/spec.yaml"), None):
        pools = dict.fromkeys(study.run(run).parent for arm in study.read_plan().arms for run in arm.runs)
        lists = " or ".join(f"'slotlab runs {pool}'" for pool in pools)
        raise SlotlabError(
            f"{folder} is a study, and its runs lie elsewhere; {lists} lists them, "
            f"'slotlab watch {folder}' shows how they are"
        )


def say_where(folder: Path) -> None:
    """Say on stderr where runs would lie, as there are none in a folder."""
    deeper = sorted({path.parent.parent for path in folder.glob("*/*/spec.yaml")})
    known = f"; there are some in {', '.join(map(str, deeper))}" if deeper else ""
    text = f"there is no run in {folder}: each is a folder with a spec.yaml, directly in it"
    warn([f"{text}{known or '; trainings put theirs into runs unless told otherwise'}"])


def written(value: Any) -> str:
    """Write a fact for a table."""
    return f"{value:.4g}" if isinstance(value, float) else maybe(value, str)


def print_runs(records: list[dict[str, Any]], shown: list[dict[str, Any]]) -> None:
    """Print a line for each run: what it is, its means, and what was asked for."""
    out = console()
    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    base = ("run", "name", "seed", "state", "step")
    more = [name for name in (shown[0] if shown else ()) if name not in (*base, *metrics)]
    table = Table(*base, *metrics, *more, box=None, pad_edge=False, header_style="bold")
    for record, facts in zip(records, shown, strict=True):
        values = (maybe(record["metrics"].get(name), lambda value: f"{value:.3f}") for name in metrics)
        row = [record["run"], *("" if record[key] is None else str(record[key]) for key in base[1:])]
        table.add_row(*row, *values, *(written(facts.get(name)) for name in more))
    print_whole(out, table)
    out.print(counted(len(records), "run"))
