"""The command `probe`, and how its result is printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from slotlab.framework.api.choosing import check_masks
from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import print_whole
from slotlab.framework.api.trained import assignments
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
from slotlab.framework.cli.stopping import stoppable


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What is probed, and how heads are fitted; named as the fields of `probing.settings.ProbeSettings`."""

    heads: Annotated[
        list[str], typer.Option("--head", metavar="linear|mlp", help="A kind of head; both by default.")
    ] = field(default_factory=list)
    matchings: Annotated[
        list[str],
        typer.Option(
            "--matching", metavar="mask|loss", help="How objects and slots are paired; by default, both ways."
        ),
    ] = field(default_factory=list)
    overlap: Annotated[
        str | None, typer.Option(metavar="cosine|iou", help="The overlap of masks; by default, the cosine.")
    ] = None
    attributes: Annotated[
        list[str],
        typer.Option("--attribute", metavar="NAME", help="An attribute of objects; by default, all."),
    ] = field(default_factory=list)
    categorical: Annotated[
        list[str], typer.Option("--categorical", metavar="NAME", help="Classify this attribute.")
    ] = field(default_factory=list)
    numerical: Annotated[
        list[str], typer.Option("--numerical", metavar="NAME", help="Regress this attribute.")
    ] = field(default_factory=list)
    extras: Annotated[bool, typer.Option("--extras", help="Show heads the slots' poses, too.")] = False
    floors: Annotated[bool, typer.Option("--floors/--no-floors", help="Fit the floors, too.")] = True
    set_prediction: Annotated[
        bool, typer.Option("--set-prediction/--no-set-prediction", help="Predict sets of objects, too.")
    ] = True
    fit_images: Annotated[
        int | None, typer.Option(min=2, help="The most images to fit on; by default 10000.")
    ] = None
    validation_images: Annotated[
        int | None, typer.Option(min=2, help="The most images that stop the fitting; by default 1024.")
    ] = None
    images: Annotated[
        int | None, typer.Option(min=2, help="The most images to test on; by default 2000.")
    ] = None
    hidden: Annotated[
        int | None, typer.Option(min=1, help="The width of the MLP's hidden layers; by default 256.")
    ] = None
    hidden_layers: Annotated[
        int | None, typer.Option(min=1, help="The number of the MLP's hidden layers; by default 1.")
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, help="The most steps; by default 6000.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images in a step; by default 64.")] = None
    lr: Annotated[float | None, typer.Option(help="The learning rate; by default 0.001.")] = None
    patience: Annotated[
        int | None,
        typer.Option(min=0, help="Looks without progress before the end; by default 3, 0 for no such end."),
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, help="The seed of the heads; by default 0.")] = None


@grouped
def probe(
    run: RunArgument,
    chosen: HeadOptions,
    protocol: Annotated[
        str | None, typer.Option(metavar="NAME", help="Prepare the images by this protocol.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split to test on; by default the evaluated one.")
    ] = None,
    fit_split: Annotated[
        str | None, typer.Option(help="The split to fit on; by default the one trained on.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(metavar="decoder|attention", help="The source of masks, in place of the spec's."),
    ] = None,
    checkpoint: CheckpointOption = None,
    sets: SetOption = [],  # noqa: B006 - typer copies it
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Fit heads on the frozen slots of a run: what do slots know of objects?

    Prints accuracy and R^2 for each attribute, beside the same of slots of another image and of mean colors.
    """
    check_masks(masks)
    given = {name: None if value == [] else value for name, value in vars(chosen).items()}
    assigned = assignments(sets, checkpoint)
    with stoppable("no results were written, and earlier ones are unchanged"):
        with loading():
            from slotlab.framework.api.probing import probe_path

        conditions = {"protocol": protocol, "split": split, "fit_split": fit_split, "masks": masks}
        ask = consent(given=trust)
        summary = probe_path(local_run(run), {**given, **conditions}, sets=assigned, trust=ask, device=device)
    emit(summary, json, print_probe)


def print_probe(summary: Mapping[str, Any]) -> None:
    """Print the accuracies and R^2 of all methods, and what was left out."""
    from rich.table import Table

    out = console()
    fit = summary["fit"]
    text = "{dataset} {split}: {images} images, masks from the {mask_source}; protocol {protocol}"
    out.print(text.format(**summary), style="bold", soft_wrap=True)
    fitted = (
        f"heads fitted on {fit['images']} images of {fit['split']}, stopped by {fit['validation_images']}"
    )
    out.print(f"{fitted}; weights of step {summary['step']}, seed {summary['seed']}", soft_wrap=True)
    methods = summary["methods"]
    grid = Table("attribute", "measure", "matching", "head", *methods, box=None, pad_edge=False)
    for name, one in summary["metrics"].items():
        cells = [cell(found[name]["mean"]) for found in methods.values()]
        grid.add_row(one["attribute"], one["measure"], one["matching"], one["head"], *cells)
    for name, one in summary["set_metrics"].items():
        cells = [cell(one["floors"].get(method, one["value"])) for method in methods]
        grid.add_row("set", name, "loss", "set_prediction", *cells)
    print_whole(out, grid)
    out.print("accuracy and R^2 over all objects; AP is over all images", style="dim")
    for name, reason in {**summary["attributes_left_out"], **summary["left_out"]}.items():
        out.print(f"{name}: left out, {reason}", soft_wrap=True)
    out.print(f"folder: {summary['folder']}", soft_wrap=True)


def cell(value: float | None) -> str:
    """Return a number as text; a dash if it is undefined."""
    return "-" if value is None else f"{value:.3f}"
