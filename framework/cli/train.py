"""The command `train`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import (
    DeviceOption,
    DevicesOption,
    JsonOption,
    PluginOption,
    SetOption,
    SpecArgument,
    StrictOption,
    TrustOption,
)
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.print_evaluation import print_result
from slotlab.framework.system import processes


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train; named as the arguments of `api.training.train_spec`."""

    sets: SetOption = field(default_factory=list)
    plugins: PluginOption = field(default_factory=list)
    strict_plugins: StrictOption = False
    trust: TrustOption = False
    device: DeviceOption = "auto"
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an existing run in the folder and train from scratch.")
    ] = False
    allow: Annotated[
        list[str],
        typer.Option(
            "--allow",
            metavar="PATH",
            help="Resume a run although this setting of the spec has changed. May be repeated.",
        ),
    ] = field(default_factory=list)
    then_evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Evaluate after training.")
    ] = True
    until: Annotated[
        int | None,
        typer.Option(
            "--until",
            min=1,
            metavar="STEP",
            help="Save after this step and end, unevaluated; without it the run goes on from there.",
        ),
    ] = None


@grouped
def train(
    spec: SpecArgument,
    chosen: TrainOptions,
    run: Annotated[Path | None, typer.Option(help="The run's folder; by default runs/NAME-ID.")] = None,
    devices: DevicesOption = None,
    json: JsonOption = None,
) -> None:
    """Train a spec, or resume its run; then evaluate it.

    The run's folder keeps the spec, checkpoints, logs, evaluations and figures.
    """
    if processes.wanted(devices):
        raise typer.Exit(processes.launch(devices or 1))
    with loading():
        from slotlab.framework.api.training import train_spec

    result = train_spec(spec, run, **{**vars(chosen), "trust": consent(given=chosen.trust)})
    if processes.is_first():
        emit(result, json, print_result)
