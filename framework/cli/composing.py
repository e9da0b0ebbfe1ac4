"""The command `compose`; what it does is in `framework.cli.compositions`, which imports torch."""

from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.cli.options import DeviceOption, JsonOption, SetOption
from slotlab.framework.cli.output import emit


def compose(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a trained run.")],
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
    steps: Annotated[int, typer.Option(min=2, help="Pictures of an interpolation.")] = 7,
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
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; RUN/compositions/NAME without it.")
    ] = None,
    set_: SetOption = [],  # noqa: B006
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Compose pictures from the slots of a run: take apart, mix, change, or sample new ones."""
    from slotlab.framework.cli import compositions

    request = compositions.Request(
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
        out=out,
        sets=set_,
        device=device,
    )
    emit(compositions.compose_run(run, request), json, compositions.print_composition)
