"""The command `score`: masks that any program wrote, scored by the definitions of a protocol."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import JsonOption, PluginOption
from slotlab.framework.cli.output import check_target, console, emit
from slotlab.framework.cli.print_evaluation import cell, print_breakdowns
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.runs.folder import MODEL


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """The folders of masks and images, and the metrics to compute."""

    true: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="True masks: PNGs or .npy arrays of labels, or PNGs with a color per object."
        ),
    ]
    pred: Annotated[
        Path, typer.Option(metavar="DIR", help="Predicted masks with the same names, as PNGs or .npy arrays.")
    ]
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images, to score the reconstructions of --recon.")
    ] = None
    recon: Annotated[Path | None, typer.Option(metavar="DIR", help="Reconstructions of --images.")] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The protocol whose metrics are computed; '{name: seed, ...}' with settings.",
        ),
    ] = None
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="The metrics, in place of the protocol's; '[{name: A, ...}]' with settings."
        ),
    ] = None
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="First crop and resize --true and --images as the protocol does."),
    ] = False
    slots: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The number of slots of the model, including empty ones."),
    ] = None
    background: Annotated[
        str,
        typer.Option(
            metavar="LABEL",
            help="The background of true masks: a label, a color '#rrggbb', or none; 0 stands for black.",
        ),
    ] = "0"
    void: Annotated[
        str,
        typer.Option(
            metavar="LABEL", help="Pixels of true masks that are not scored; 255 in many data sets."
        ),
    ] = "none"
    exif: Annotated[
        str | None,
        typer.Option(metavar="apply|ignore", help="Whether to turn pictures by their EXIF orientation."),
    ] = None
    plugins: PluginOption = field(default_factory=list)


@grouped
def score(
    chosen: ScoreOptions,
    rows: Annotated[
        str | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            callback=lambda target: check_target("--csv", target),
            help="Write one row per image into this file.",
        ),
    ] = None,
    by_group: Annotated[
        bool, typer.Option("--breakdowns", help="Also print the metrics by object count and occlusion.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Score masks that any program wrote.

    Needs no spec, run or model: only folders of label masks, and of images if reconstructions are scored.
    """
    with stoppable("nothing was written"):
        from slotlab.framework.api.scoring import check_together, score_masks
        from slotlab.framework.evaluation.score_folders import ScoredFolders

        given = dict(vars(chosen))
        folders = ScoredFolders(**{name: given.pop(name) for name in ("true", "pred", "images", "recon")})
        protocol, metrics = given.pop("protocol"), given.pop("metrics")
        has_images, has_reconstructions = folders.images is not None, folders.recon is not None
        check_together(has_images, has_reconstructions, prepare=chosen.prepare, protocol=protocol)
        result, measured = score_masks(folders, protocol, metrics, **given)
    emit(result, json, lambda found: print_score(found, groups=by_group))
    if rows is not None:
        from slotlab.framework.system.atomic import write_output

        write_output(Path(rows), measured.to_csv().encode())


def print_score(result: dict[str, Any], *, groups: bool) -> None:
    """Print one line per metric."""
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
