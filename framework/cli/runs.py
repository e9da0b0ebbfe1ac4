"""The command `runs`: the runs in a folder, by settings, states and results."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from slotlab.framework.api.console import print_whole, warn
from slotlab.framework.api.run_lists import list_runs
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import counted, maybe


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="The folder that holds the runs.")
    ] = Path("runs"),
    where: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE",
            help="A condition, such as state=failed, model.slots>5 or ari<0.2. If repeated, all must hold.",
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    show: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Add a column with this setting or metric. May be repeated."),
    ] = [],  # noqa: B006
    json: JsonOption = None,
) -> None:
    """List runs by settings, states and results.

    Keeps an index of the runs in their folder, so that large folders are listed fast.
    """
    found = list_runs(folder, where, show)
    records = [{name: value for name, value in row.items() if name != "shown"} for row in found]
    emit(records, json, lambda listed: print_runs(listed, [row["shown"] for row in found]))
    warn(f"{folder / one['run']} is damaged: {one['reason']}" for one in found if one["state"] == "damaged")
    if not (found or where):
        say_where(folder)


def say_where(folder: Path) -> None:
    """Say on stderr where runs are, as there are none in this folder."""
    deeper = sorted({path.parent.parent for path in folder.glob("*/*/spec.yaml")})
    known = f"; there are some in {', '.join(map(str, deeper))}" if deeper else ""
    text = f"there is no run in {folder}: each is a folder with a spec.yaml, directly in it"
    warn([f"{text}{known or '; trainings write theirs into the folder runs by default'}"])


def written(value: Any) -> str:
    """Return a fact as the text of a table's cell."""
    return f"{value:.4g}" if isinstance(value, float) else maybe(value, str)


def print_runs(records: list[dict[str, Any]], shown: list[dict[str, Any]]) -> None:
    """Print a line for each run: name, seed, state, means, and the columns of --where and --show."""
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
