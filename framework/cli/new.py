"""The command `new`: a component to begin with."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import emit
from slotlab.framework.system.terminal import visible


def new(
    kind: Annotated[
        str, typer.Argument(help="A kind, such as encoder or metric; or kind, for one of your own.")
    ],
    name: Annotated[str, typer.Argument(help="The component's name, as specs will write it.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder that the files go to.")] = Path(),
    package: Annotated[
        bool, typer.Option("--package", help="Write a package that can be installed and shared.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Write a working component to begin with, with a spec and a test.

    Overwrites nothing, and prints the next commands.
    """
    from slotlab.framework.api.scaffolding import new as write_new

    emit(write_new(kind, name, out, package=package), json, print_new)


def print_new(result: dict[str, Any]) -> None:
    """Print the files that were written, and what to do next."""
    for path in result["files"]:
        print(visible(f"wrote {path}"))
    print("next:")
    for command in result["next"]:
        print(visible(f"  {command}"))
