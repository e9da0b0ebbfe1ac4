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
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained run.")]
ImagesOption = Annotated[
    int | None,
    typer.Option("--images", min=1, metavar="N", help="Training images; counted in the data without it."),
]

# --- of commands that compare runs ---

RunsArgument = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Run folders, folders of runs, or a study.")
]
MetricOption = Annotated[
    list[str], typer.Option("--metric", metavar="M", help="A metric to compare; all without it.")
]
PrimaryOption = Annotated[
    str | None, typer.Option(metavar="M", help="The metric that decides; the first without it.")
]
BaselineOption = Annotated[
    str | None, typer.Option(metavar="ARM", help="The arm that the others are compared with.")
]
DatasetOption = Annotated[str | None, typer.Option(metavar="D", help="Evaluations on this dataset.")]
ProtocolOption = Annotated[str | None, typer.Option(metavar="P", help="Evaluations by this protocol.")]
SplitOption = Annotated[str | None, typer.Option(metavar="S", help="Evaluations on this split.")]
MasksOption = Annotated[
    str | None, typer.Option(metavar="M", help="Evaluations of masks from the decoder or attention.")
]
EvaluationOption = Annotated[
    list[str],
    typer.Option(
        "--evaluation",
        metavar="FACT=VALUE",
        help="Evaluations with this slots, filter, images, data or range, such as slots=11; give it again.",
    ),
]
ChosenCheckpointOption = Annotated[
    str | None,
    typer.Option("--checkpoint", metavar="best|last|STEP", help="Evaluations of these checkpoints."),
]
FailedBelowOption = Annotated[
    float | None,
    typer.Option("--failed-below", metavar="X", help="Runs with a worse primary metric count as unbound."),
]
AcrossOption = Annotated[
    list[str],
    typer.Option("--across", metavar="FACT", help="Let arms differ in protocol, dataset, versions ..."),
]
AllowUnfinishedOption = Annotated[
    bool, typer.Option("--allow-unfinished", help="Count runs that were evaluated before they were done.")
]
PerImageOption = Annotated[
    bool, typer.Option("--per-image", help="Compare checkpoints over images too, by bootstrap.")
]
