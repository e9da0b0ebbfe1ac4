"""The command `evaluate`: runs under protocols, on variants and splits of the data."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from slotlab.framework.api.choosing import check_masks
from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import warn
from slotlab.framework.api.trained import assignments
from slotlab.framework.api.transfer import local_runs
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.option_groups import grouped
from slotlab.framework.cli.options import (
    CheckpointOption,
    DeviceOption,
    DevicesOption,
    JsonOption,
    PluginOption,
    SetOption,
    TrustOption,
)
from slotlab.framework.cli.output import emit
from slotlab.framework.cli.print_evaluation import print_evaluations
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.system import processes


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The runs to evaluate, the conditions of evaluation, and what to write."""

    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="The folders or addresses of trained runs.")
    ]
    protocols: Annotated[
        list[str],
        typer.Option("--protocol", metavar="NAME", help="Evaluate under this protocol. May be repeated."),
    ] = field(default_factory=list)
    variants: Annotated[
        list[str],
        typer.Option(
            "--variant", metavar="NAME", help="Evaluate on this variant of the dataset. May be repeated."
        ),
    ] = field(default_factory=list)
    split: Annotated[
        str | None, typer.Option(help="The split to evaluate on, in place of the protocol's or the spec's.")
    ] = None
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="decoder|attention|both",
            help="The source of the masks to score, in place of the protocol's or the spec's.",
        ),
    ] = None
    checkpoint: CheckpointOption = None
    sets: SetOption = field(default_factory=list)
    plugins: PluginOption = field(default_factory=list)
    trust: TrustOption = False
    device: DeviceOption = "auto"
    devices: DevicesOption = None
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw figures, and write samples of images.")
    ] = True
    save_masks: Annotated[
        bool,
        typer.Option("--save-masks", help="Write true and predicted masks as gray PNGs of labels."),
    ] = False


@grouped
def evaluate(
    chosen: EvaluateOptions,
    by_group: Annotated[
        bool,
        typer.Option(
            "--breakdowns", help="Also print the metrics by object count, material, shape, size, occlusion."
        ),
    ] = False,
    json: JsonOption = None,
) -> None:
    """Evaluate trained runs, and draw their figures.

    Prints the metrics of every evaluation, with published numbers of the same protocol beside them.
    """
    check_masks(chosen.masks)
    sets = assignments(chosen.sets, chosen.checkpoint)
    runs = local_runs(chosen.runs)  # before other processes start, which find them fetched
    if processes.wanted(chosen.devices):
        raise typer.Exit(processes.launch(chosen.devices or 1))
    with stoppable(left(figures=chosen.figures, masks=chosen.save_masks)):
        with loading():
            from slotlab.framework.api.evaluating import evaluate_runs, wanted_of

        result = evaluate_runs(
            runs,
            wanted_of(chosen.protocols, chosen.variants, chosen.split, chosen.masks),
            sets=sets,
            plugins=chosen.plugins,
            trust=consent(given=chosen.trust),
            device=chosen.device,
            figures=chosen.figures,
            masks=chosen.save_masks,
        )
    if processes.is_first():
        emit(result, json, lambda found: print_evaluations(found["evaluations"], groups=by_group))
        warn(f"{run} was not evaluated: {reason}" for run, reason in result["failed"].items())
    if result["failed"]:
        raise typer.Exit(1)


def left(*, figures: bool, masks: bool) -> str:
    """Say what an interrupted command leaves; evaluations are written one after another."""
    missing = ", except perhaps the figures of the last one" if figures else ""
    more = "; some masks of the interrupted one are written" if masks else ""
    return f"completed evaluations are written{missing}; the others are as before{more}"
