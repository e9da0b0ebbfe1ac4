"""The command `pull`: a run fetched from an address."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api import transfer
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable


def pull(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where a run was pushed to.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Its new folder; by default one in the cache.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """Fetch a run that was pushed, compare it with its hashes, and print its folder and the next command.

    Give the command again to continue after an interruption.
    """
    with stoppable("the same command goes on"):
        path = transfer.pull(address, folder)
    emit({"run": str(path), "next": transfer.next_command(path)}, json, print_pull)


def print_pull(found: dict[str, Any]) -> None:
    """Print the run's folder, and what to do with it."""
    console().print(found["run"], soft_wrap=True)
    console().print(f"next: {found['next']}", soft_wrap=True)
