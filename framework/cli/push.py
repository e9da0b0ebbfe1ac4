"""The command `push`: a run sent to an address, without what is private."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api import transfer
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.cli.units import counted


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """What of a run is sent; named as the arguments of `slotlab.push`."""

    checkpoint: Annotated[
        list[str],
        typer.Option(
            metavar="best|last|STEP",
            help="A checkpoint to send; by default the one that the spec evaluates. May be repeated.",
        ),
    ] = field(default_factory=list)
    evaluations: Annotated[
        bool, typer.Option("--evaluations/--no-evaluations", help="Send evaluations and probes.")
    ] = True
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Send figures, compositions and samples of images.")
    ] = True
    license: Annotated[
        str | None, typer.Option(metavar="NAME", help="The license of the weights, such as apache-2.0.")
    ] = None
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository on the Hub public; by default, private.")
    ] = False
    code_as_is: Annotated[
        bool, typer.Option("--code-as-is", help="Send plugins although names or paths are in their code.")
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what lies there.")] = False


@grouped
def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained run.")],
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS", help="A folder, hf://OWNER/NAME, s3://BUCKET/FOLDER or ssh://HOST/FOLDER."
        ),
    ],
    chosen: PushOptions,
    json: JsonOption = None,
) -> None:
    """Send a run to the Hugging Face Hub, S3, a machine with SSH or a folder.

    What is private stays here. Give the command again to continue after an interruption.
    """
    with stoppable("the same command goes on"):
        result = transfer.push(run, address, **vars(chosen))
    emit(result, json, print_push)


def print_push(result: dict[str, Any]) -> None:
    """Print what was sent, and where it lies."""
    sent = f"{result['sent'] / 1e6:.1f} of {result['bytes'] / 1e6:.1f} MB sent"
    if not result["sent"]:
        sent = "all of it was there"
    files = counted(result["files"], "file")
    console().print(f"{result['name']}: {files}, {sent}: {result['address']}", soft_wrap=True)
