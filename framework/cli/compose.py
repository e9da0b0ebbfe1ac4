"""The command `compose`, and how its result is printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.api.transfer import local_run
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import (
    CheckpointOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    SetOption,
    TrustOption,
)
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.print_evaluation import print_set_metrics
from slotlab.framework.cli.stopping import stoppable


@dataclass(frozen=True, kw_only=True)
class ComposeOptions:
    """The pictures to compose; named as the fields of `api.composing.Request`."""

    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="sample (new pictures from the slots of many images), shift (of neighboring images), slots "
            "(each slot alone), mix, interpolate, remove, duplicate, draws (the same slots several times) or "
            "denoise (how noise becomes a picture).",
        ),
    ] = "sample"
    images: Annotated[
        list[int],
        typer.Option(
            "--image",
            min=0,
            metavar="N",
            help="The position of image A in the split; repeated, that of image B. Random by default.",
        ),
    ] = field(default_factory=list)
    slots: Annotated[
        list[int], typer.Option("--slot", min=0, metavar="K", help="A slot of image A. May be repeated.")
    ] = field(default_factory=list)
    slots_b: Annotated[
        list[int], typer.Option("--slot-b", min=0, metavar="K", help="A slot of image B. May be repeated.")
    ] = field(default_factory=list)
    split: Annotated[
        str | None, typer.Option(help="The split of the images; by default the evaluated one.")
    ] = None
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The number of pictures to sample, by default that of evaluated images; in other modes "
            "the number of rows, by default 8.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(min=0, help="The seed of all random choices; by default the spec's.")
    ] = None
    steps: Annotated[
        int | None, typer.Option(min=2, help="The number of pictures per interpolation; by default 7.")
    ] = None
    library: Annotated[
        str | None,
        typer.Option(help="The split whose slots are sampled; by default the spec's, else val."),
    ] = None
    clusters: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The number of clusters of slots, each of which gives one slot; by default that of slots.",
        ),
    ] = None
    metrics: Annotated[
        list[str],
        typer.Option(
            "--metric",
            metavar="NAME",
            help="A set metric for the samples, such as fid or '{name: fid, ...}'. May be repeated.",
        ),
    ] = field(default_factory=list)
    checkpoint: CheckpointOption = None
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to write; by default RUN/compositions/NAME."),
    ] = None
    sets: SetOption = field(default_factory=list)
    trust: TrustOption = False
    device: DeviceOption = "auto"


@grouped
def compose(run: RunArgument, chosen: ComposeOptions, json: JsonOption = None) -> None:
    """Compose pictures from the slots of a run.

    Samples new pictures, or shows, mixes, interpolates, removes and duplicates the slots of images.
    """
    with loading():
        from slotlab.framework.api import composing

    request = composing.Request(**{**vars(chosen), "trust": consent(given=chosen.trust)})
    with stoppable("no pictures were written, and earlier ones are unchanged"):
        record = composing.compose_run(local_run(run), request)
    emit(record, json, print_composition)


def print_composition(record: Mapping[str, Any]) -> None:
    """Print what was composed, its set metrics, and the paths."""
    out = console()
    pictures = len(record["pictures"])
    of = f"{record['library']['split']} slots" if "library" in record else record["split"]
    made = f"weights of step {record['step']}, seed {record['seed']}"
    out.print(f"{record['mode']}: {pictures} pictures from {of}, {made}", style="bold", soft_wrap=True)
    print_set_metrics(record.get("set_metrics", {}))
    for name, reason in record.get("left_out", {}).items():
        out.print(f"{name}: left out, {reason}", soft_wrap=True)
    out.print(f"sheet: {record['folder']}/{record['sheet']}", soft_wrap=True)
    out.print(f"folder: {record['folder']}", soft_wrap=True)
