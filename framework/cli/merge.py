"""The command `merge`."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit


def merge(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Folders of parts of one study.")],
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="A new folder, for studies/NAME and the runs of all parts.")
    ],
    json: JsonOption = None,
) -> None:
    """Bring together the parts of a study that several machines trained.

    The parts are copied; nothing in them is changed.
    """
    from slotlab.framework.api.merging import merge_paths

    emit(merge_paths(studies, into), json, print_merge)


def print_merge(result: dict[str, Any]) -> None:
    """Print how many runs there are by state, and each copy that was not taken."""
    out = console()
    states = Counter(run["state"] for run in result["runs"])
    out.print(", ".join(f"{number} {state}" for state, number in states.items()), soft_wrap=True)
    for run in result["runs"]:
        for word, places in (("equal", run["equal"]), ("did not get as far", run["set_aside"])):
            for place in places:
                text = f"{run['arm']}, seed {run['seed']}: {place} is not taken ({word}); {run['source']} is"
                out.print(text, soft_wrap=True)
    out.print(f"study: {result['study']}", soft_wrap=True)
