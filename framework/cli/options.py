"""Arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.cli.output import check_target

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec file, or slotlab:NAME for a shipped one.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Change one setting, such as training.batch_size=8."),
]
PluginOption = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE", help="Load a single-file plugin.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict-plugins", help="Fail if an installed plugin cannot be loaded.")
]
JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        callback=lambda target: target if target == "-" else check_target("--json", target),
        help="Write the result as JSON to a file, or to stdout.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DevicesOption = Annotated[
    int | None,
    typer.Option("--devices", min=1, metavar="N", help="On N GPUs, or in N processes on the CPU."),
]
