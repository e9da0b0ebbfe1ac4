"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.cli.output import check_target

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec file, or slotlab:NAME for a shipped one.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The folder or address of a trained run.")]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one setting, such as training.batch_size=8. May be repeated.",
    ),
]
PluginOption = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE", help="Load a single-file plugin. May be repeated.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict-plugins", help="Fail if an installed plugin cannot be loaded.")
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run the code that came with another user's run, without asking; the decision is remembered.",
    ),
]
JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE|-",
        callback=lambda target: target if target == "-" else check_target("--json", target),
        help="Write the result as JSON to a file, or to stdout (-).",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DevicesOption = Annotated[
    int | None,
    typer.Option("--devices", min=1, metavar="N", help="Use N GPUs, or N processes on the CPU."),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        metavar="best|last|STEP",
        help="The checkpoint to use, in place of the spec's evaluation.checkpoint.",
    ),
]
ImagesOption = Annotated[
    int | None,
    typer.Option(
        "--images", min=1, metavar="N", help="The number of training images; by default, count the data's."
    ),
]
