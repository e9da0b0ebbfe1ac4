"""The command `compose` and what it prints; `framework/api/composing.py` does it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.consent import TrustOption
from slotlab.framework.cli.options import DeviceOption, JsonOption, RunArgument, SetOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.cli.trained import CheckpointOption


def compose(
    run: RunArgument,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="sample (new pictures from a library of slots), slots (each by itself), mix, interpolate, "
            "remove, duplicate.",
        ),
    ] = "sample",
    image: Annotated[
        list[int],
        typer.Option(
            "--image", min=0, metavar="N", help="Image A, then B: positions in the split; random without."
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    slot: Annotated[
        list[int], typer.Option("--slot", min=0, metavar="K", help="A slot of image A; may be given again.")
    ] = [],  # noqa: B006
    slot_b: Annotated[
        list[int], typer.Option("--slot-b", min=0, metavar="K", help="A slot of image B; may be given again.")
    ] = [],  # noqa: B006
    split: Annotated[
        str | None, typer.Option(help="Where images are from; the evaluated split without it.")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures to sample (as many as evaluated images without it), or rows (8)."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Draws all that is random; the spec's without it.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Pictures of an interpolation (7).")] = None,
    library: Annotated[
        str | None, typer.Option(help="The split whose slots are sampled: val unless the spec says another.")
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(min=1, help="Groups of slots, one slot drawn from each; as many as slots.")
    ] = None,
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric", metavar="NAME", help="Measure samples by a set metric: fid, or '{name: fid, ...}'."
        ),
    ] = [],  # noqa: B006
    checkpoint: CheckpointOption = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; RUN/compositions/NAME without it.")
    ] = None,
    set_: SetOption = [],  # noqa: B006
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Compose pictures from the slots of a run: take apart, mix, change, or sample new ones."""
    from slotlab.framework.api import composing

    request = composing.Request(
        mode=mode,
        split=split,
        images=image,
        slots=slot,
        slots_b=slot_b,
        steps=steps,
        count=count,
        seed=seed,
        library=library,
        clusters=clusters,
        metrics=metric,
        checkpoint=checkpoint,
        out=out,
        sets=set_,
        trust=consent(given=trust),
        device=device,
    )
    with stoppable("no pictures were written, and those of earlier are as they were"):
        record = composing.compose_run(run, request)
    emit(record, json, print_composition)


def print_composition(record: Mapping[str, Any]) -> None:
    """Print what was made, what was measured, and where it lies."""
    out = console()
    pictures = len(record["pictures"])
    of = f"{record['library']['split']} slots" if "library" in record else record["split"]
    made = f"weights of step {record['step']}, seed {record['seed']}"
    out.print(f"{record['mode']}: {pictures} pictures of {of}, {made}", style="bold", soft_wrap=True)
    print_set_metrics(record.get("set_metrics", {}))
    for name, reason in record.get("left_out", {}).items():
        out.print(f"{name}: left out, {reason}", soft_wrap=True)
    out.print(f"sheet: {record['folder']}/{record['sheet']}", soft_wrap=True)
    out.print(f"folder: {record['folder']}", soft_wrap=True)


def print_set_metrics(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print values with their floor and the numbers of images on both sides; nothing if there are none."""
    from rich.table import Table

    if not found:
        return
    out = console()
    table = Table("set metric", "value", "pictures", "real", "floor", "extractor", box=None, pad_edge=False)
    for name, result in found.items():
        floor = result["floor"]
        low = "-" if floor is None else "{value:.4g} ({images} against {real_images})".format(**floor)
        numbers = (str(result["images"]), str(result["real_images"]))
        table.add_row(name, f"{result['value']:.4g}", *numbers, low, result["extractor"])
    out.print(table)
    floors = {result["floor"]["of"] for result in found.values() if result["floor"]}
    out.print(f"lower is better; floor: {', '.join(sorted(floors)) or 'none'}", style="dim")
    for name, result in found.items():
        for text in result["warnings"]:
            out.print(f"{name}: {text}", style="dim", soft_wrap=True)
