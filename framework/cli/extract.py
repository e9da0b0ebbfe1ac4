"""The command `extract`: the slots of a run, packed for a training that reads them."""

from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.options import (
    DeviceOption,
    JsonOption,
    PluginOption,
    RunArgument,
    SetOption,
    TrustOption,
)
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.print_stores import print_extracted


def extract(
    run: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="The spec whose clips are meant: of a slot_dynamics. By default the run's.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split, in place of the spec's data.train_split.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="best|last|STEP", help="The run's checkpoint; by default the last one."),
    ] = None,
    stores: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of stores, in place of the spec's.")
    ] = None,
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Find the slots of a run in every clip of a split, and pack them into a store.

    A training of slot_dynamics on the run then reads them, and does not run its model. An interrupted command
    continues where it stopped.
    """
    from slotlab.framework.api.extracting import extract_slots
    from slotlab.framework.api.transfer import local_run

    result = extract_slots(
        local_run(run),
        data=data,
        split=split,
        checkpoint=checkpoint,
        stores=stores,
        sets=set_,
        plugins=plugin,
        trust=consent(given=trust),
        device=device,
    )
    emit(result, json, print_extracted)
