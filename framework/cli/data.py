"""The `data` commands: inspect, pack, verify, fetch and render."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.options import DeviceOption, JsonOption, PluginOption, SetOption, TrustOption
from slotlab.framework.cli.output import emit
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.contracts import Field
    from slotlab.framework.data.store.feature_format import Kind

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Fetch published data, inspect it, pack it for fast training, and render scenes.",
)

DataArgument = Annotated[
    str, typer.Argument(metavar="SPEC|ROOT", help="A spec, or a folder or file of data.")
]
DataProtocolOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The protocol, in place of the spec's or the default one; '{name: seed, ...}' with settings.",
    ),
]
StoresOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of packed stores, in place of the spec's.")
]
FeaturesOption = Annotated[
    bool, typer.Option("--features", help="The features of a spec's frozen encoder, in place of images.")
]
TargetsOption = Annotated[
    bool,
    typer.Option(
        "--targets",
        help="The targets that a spec's frozen codec makes, in place of images. Goes with --features.",
    ),
]
FieldOption = Annotated[
    list[str],
    typer.Option(metavar="flow|depth", help="This field of each image too. May be repeated."),
]
WorkersOption = Annotated[int | None, typer.Option(help="The number of processes; by default one per core.")]


@app.command()
def inspect(
    what: DataArgument,
    sheet: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw a contact sheet into this file.")
    ] = None,
    protocol: DataProtocolOption = None,
    split: Annotated[str | None, typer.Option(help="Read only this split.")] = None,
    workers: WorkersOption = None,
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Check data, or a packed store, and print statistics.

    Exits with 1 if there are problems. Many of one kind are printed in one line; --json lists all.
    """
    from slotlab.framework.api.inspecting import inspect_data
    from slotlab.framework.cli.print_inspection import print_inspection

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
    emit(result, json, print_inspection)
    if result["problems"]:
        raise typer.Exit(1)


@app.command()
def pack(
    what: DataArgument,
    split: Annotated[list[str], typer.Option(help="Pack only this split. May be repeated.")] = [],  # noqa: B006
    workers: WorkersOption = None,
    on_error: Annotated[
        str | None,
        typer.Option(
            metavar="fail|skip",
            help="Whether to stop at broken files or skip them, in place of the spec's setting.",
        ),
    ] = None,
    stores: StoresOption = None,
    protocol: DataProtocolOption = None,
    features: FeaturesOption = False,
    targets: TargetsOption = False,
    field: FieldOption = [],  # noqa: B006
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Pack data into a store, which trainings read fast.

    Images are decoded, cropped and resized once. An interrupted command continues where it stopped.
    With --features a spec's frozen encoder sees each image once, and its features are stored; with --targets
    a frozen codec does, and its latents or tokens are stored. With --field flow or depth that of each image
    is stored too, for losses that read it.
    """
    if kinds := chosen_kinds(features, targets):
        refuse_both(field, kinds)
        if workers is not None:
            what_is = " and ".join(kinds)
            raise SlotlabError(f"--workers: {what_is} are packed in one process, on the device; leave it out")
        from slotlab.framework.api.feature_packing import pack_features
        from slotlab.framework.cli.print_stores import print_packed_features

        packed = pack_features(
            what,
            kinds=kinds,
            on_error=on_error,
            splits=split,
            stores=stores,
            protocol=protocol,
            sets=set_,
            plugins=plugin,
            trust=consent(given=trust),
            device=device,
        )
        emit(packed, json, print_packed_features)
        return
    from slotlab.framework.api.packing import pack_target
    from slotlab.framework.cli.print_stores import print_packed

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
        fields=as_fields(field),
    )
    emit(result, json, print_packed)


@app.command()
def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="STORE|SPEC|ROOT", help="A packed store, or the data that it was packed from."
        ),
    ],
    stores: StoresOption = None,
    protocol: DataProtocolOption = None,
    features: FeaturesOption = False,
    targets: TargetsOption = False,
    field: FieldOption = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Verify the checksums of packed stores.

    Reads the stores completely. Exits with 1 if one is damaged.
    """
    from slotlab.framework.api.feature_packing import verify_feature_stores
    from slotlab.framework.api.packing import verify_store
    from slotlab.framework.cli.print_stores import print_verified
    from slotlab.framework.data.store.feature_format import kind_in

    kinds, chosen = chosen_kinds(features, targets), partial(verify_store, fields=as_fields(field))
    if kinds or kind_in(Path(what)) is not None:
        refuse_both(field, kinds)
        chosen = partial(verify_feature_stores, kinds=kinds)
    result = chosen(
        what, stores=stores, protocol=protocol, sets=set_, plugins=plugin, trust=consent(given=trust)
    )
    emit(result, json, print_verified)
    if any(store["problems"] for store in result["stores"]):
        raise typer.Exit(1)


def chosen_kinds(features: bool, targets: bool) -> "list[Kind]":
    """Return which stores are meant, in place of those of images."""
    kinds: list[Kind] = ["features"] if features else []
    return [*kinds, "targets"] if targets else kinds


def as_fields(names: list[str]) -> "tuple[Field, ...]":
    """Return the names of fields; whoever receives them checks them."""
    return cast("tuple[Field, ...]", tuple(names))


def refuse_both(fields: list[str], kinds: "list[Kind]") -> None:
    """Refuse fields together with what is packed in place of images.

    Raises:
        SlotlabError: with the reason.
    """
    if fields and kinds:
        text = f"it is packed beside images, and --{kinds[0]} packs none; give two commands"
        raise SlotlabError(f"--field {fields[0]}: {text}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The dataset, such as clevrtex.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that its files go into.")],
    part: Annotated[
        list[str], typer.Option(metavar="PART", help="Only this part of it, such as outd. Repeatable.")
    ] = [],  # noqa: B006
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before fetching.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be fetched, and from where.")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006
    json: JsonOption = None,
) -> None:
    """Fetch the published files of a dataset.

    Shows sizes and licenses first, and asks. What is there is not fetched again; a file that came in part is
    gone on with.
    """
    from slotlab.framework.api.fetching import fetch_planned, plan_fetch
    from slotlab.framework.cli.print_fetching import agreed, print_fetched, print_plan

    plan = plan_fetch(name, folder, part, plugin)
    print_plan(plan)
    if dry_run or not (plan.complete or yes or agreed()):
        return
    emit(fetch_planned(plan), json, print_fetched)


@app.command()
def render(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder in which clevrtex_<variant> is written.")
    ],
    count: Annotated[int, typer.Option(help="The number of scenes.")] = 1000,
    variant: Annotated[
        str, typer.Option(help="The variant: full, outd, camo, pbg, vbg or grassbg.")
    ] = "full",
    size: Annotated[str, typer.Option(help="Width and height of the images in pixels.")] = "320x240",
    seed: Annotated[int, typer.Option(help="The seed of the scenes.")] = 0,
    start: Annotated[int, typer.Option(help="The number of the first scene.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="The number of threads that write files; by default one per core.")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Render scenes in the file layout of CLEVRTex.

    Scenes that exist already are not rendered again.
    """
    from slotlab.framework.api.rendering import render_scenes
    from slotlab.framework.cli.print_rendering import print_rendering

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
    emit(result, json, print_rendering)
