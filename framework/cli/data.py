"""The `slotlab data` commands: pack, verify, inspect and render."""

from pathlib import Path
from typing import Annotated

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.consent import TrustOption
from slotlab.framework.cli.options import DeviceOption, JsonOption, PluginOption, SetOption
from slotlab.framework.cli.output import emit

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at data, pack it for fast training, and render scenes.",
)

Target = Annotated[str, typer.Argument(metavar="SPEC|ROOT", help="A spec, or a folder or file of data.")]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The protocol, in place of the spec's or the usual one; '{name: seed, ...}' with settings.",
    ),
]
StoresOption = Annotated[Path | None, typer.Option(metavar="DIR", help="The folder of packed stores.")]
WorkersOption = Annotated[int | None, typer.Option(help="Processes; one a core without it.")]


@app.command()
def inspect(
    what: Target,
    sheet: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw a contact sheet.")] = None,
    protocol: ProtocolOption = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    workers: WorkersOption = None,
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Count, measure and check data, or a packed store. Exits with 1 if anything is wrong."""
    from slotlab.framework.api.inspecting import inspect_data
    from slotlab.framework.cli import inspecting

    result = inspect_data(
        what,
        protocol=protocol,
        split=split,
        sets=set_,
        plugins=plugin,
        trust=consent(given=trust),
        sheet=sheet,
        workers=workers,
    )
    emit(result, json, inspecting.print_inspection)
    if result["problems"]:
        raise typer.Exit(1)


@app.command()
def pack(
    what: Target,
    split: Annotated[list[str], typer.Option(help="Only this split; may be repeated.")] = [],  # noqa: B006
    workers: WorkersOption = None,
    on_error: Annotated[
        str | None, typer.Option(metavar="fail|skip", help="What to do about broken pictures.")
    ] = None,
    stores: StoresOption = None,
    protocol: ProtocolOption = None,
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Decode, crop and resize data once, into a store that trainings read. Goes on after a kill."""
    from slotlab.framework.api.packing import pack_target
    from slotlab.framework.cli import packing

    result = pack_target(
        what,
        splits=split,
        workers=workers,
        on_error=on_error,
        stores=stores,
        protocol=protocol,
        sets=set_,
        plugins=plugin,
        trust=consent(given=trust),
    )
    emit(result, json, packing.print_packed)


@app.command()
def verify(
    what: Annotated[
        str, typer.Argument(metavar="STORE|SPEC|ROOT", help="A packed store, or what it was packed from.")
    ],
    stores: StoresOption = None,
    protocol: ProtocolOption = None,
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Read packed stores whole and compare their checksums. Exits with 1 if anything is wrong."""
    from slotlab.framework.api.packing import verify_store
    from slotlab.framework.cli import packing

    result = verify_store(
        what, stores=stores, protocol=protocol, sets=set_, plugins=plugin, trust=consent(given=trust)
    )
    emit(result, json, packing.print_verified)
    if any(store["problems"] for store in result["stores"]):
        raise typer.Exit(1)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write clevrtex_<variant> in.")],
    count: Annotated[int, typer.Option(help="Number of scenes.")] = 1000,
    variant: Annotated[str, typer.Option(help="full, outd, camo, pbg, vbg or grassbg.")] = "full",
    size: Annotated[str, typer.Option(help="Columns and rows of the pictures.")] = "320x240",
    seed: Annotated[int, typer.Option(help="Of the scenes.")] = 0,
    start: Annotated[int, typer.Option(help="The number of the first scene.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Threads that write files; one a core.")] = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Write generated scenes as CLEVRTex is on disk. Scenes that are there are not made again."""
    from slotlab.framework.api.rendering import render_scenes
    from slotlab.framework.cli import rendering

    result = render_scenes(
        out,
        count=count,
        variant=variant,
        size=size,
        seed=seed,
        device=device,
        start=start,
        workers=workers,
    )
    emit(result, json, rendering.print_rendering)
