"""`slotlab score`: masks of any code base, scored under a protocol's definitions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.evaluating import cell, print_breakdowns
from slotlab.framework.cli.options import JsonOption, PluginOption
from slotlab.framework.cli.output import check_target, console, emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.runs.folder import MODEL

Result = dict[str, Any]
FolderOption = Annotated[Path | None, typer.Option(metavar="DIR")]


def score(
    true: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="True masks: PNGs or .npy arrays of labels, or color PNGs. 0, or black, is the background.",
        ),
    ],
    pred: Annotated[
        Path, typer.Option(metavar="DIR", help="Predicted masks of the same names, PNGs or .npy.")
    ],
    images: Annotated[Path | None, typer.Option(metavar="DIR", help="Images, to score --recon.")] = None,
    recon: Annotated[Path | None, typer.Option(metavar="DIR", help="Reconstructions of --images.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Score by this protocol's definitions; '{name: seed, ...}' with settings."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="The metrics, in place of the protocol's; '[{name: A, ...}]' with settings."
        ),
    ] = None,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="First crop and resize --true and --images as the protocol does."),
    ] = False,
    slots: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="How many masks the model had, empty ones included."),
    ] = None,
    background: Annotated[
        str,
        typer.Option(
            metavar="LABEL", help="The background of true masks: a label, a color '#rrggbb', or none."
        ),
    ] = "0",
    void: Annotated[
        str,
        typer.Option(
            metavar="LABEL", help="Pixels of true masks that are not scored: 255 in many data sets."
        ),
    ] = "none",
    exif: Annotated[
        str | None,
        typer.Option(metavar="apply|ignore", help="Whether files are turned as their EXIF orientation says."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            callback=lambda target: check_target("--csv", target),
            help="Write one row an image.",
        ),
    ] = None,
    by_group: Annotated[
        bool, typer.Option("--breakdowns", help="Print the numbers by number of objects and by occlusion.")
    ] = False,
    plugin: PluginOption = [],  # noqa: B006 - typer reads the default and never changes it
    json: JsonOption = None,
) -> None:
    """Score label masks that any program wrote. Needs no spec, no run and no model."""
    with stoppable("nothing was written"):
        from slotlab.framework.api.scoring import check_together, score_masks
        from slotlab.framework.evaluation.score_files import Folders

        check_together(images is not None, recon is not None, prepare=prepare, protocol=protocol)
        folders = Folders(true=true, pred=pred, images=images, recon=recon)
        result, measured = score_masks(
            folders,
            protocol,
            metrics,
            prepare=prepare,
            slots=slots,
            background=background,
            void=void,
            exif=exif,
            plugins=plugin,
        )
    emit(result, json, lambda found: print_score(found, groups=by_group))
    if rows is not None:
        from slotlab.framework.system.atomic import write_output

        write_output(Path(rows), measured.to_csv().encode())


def print_score(result: Result, *, groups: bool) -> None:
    """Print one line a metric."""
    from rich.table import Table

    out = console()
    sizes = ", ".join(f"{number} of {size}" for size, number in result["sizes"].items())
    out.print(f"{result['images']} images ({sizes} pixels)", style="bold", soft_wrap=True)
    out.print(f"protocol {result['protocol'] or 'none'}", soft_wrap=True)
    table = Table(
        "protocol", "metric", "mean", "images", "mean over", box=None, pad_edge=False, header_style="bold"
    )
    for name, statistics in result["methods"][MODEL].items():
        over = result["metrics"][name]["aggregation"]
        table.add_row(result["protocol"] or "-", name, cell(statistics), str(statistics["count"]), over)
    out.print(table)
    out.print("mean ± standard deviation over images", style="dim")
    for name, reason in result["left_out"].items():
        out.print(f"{name}: left out, {reason}")
    if groups:
        print_breakdowns(result["breakdowns"])
