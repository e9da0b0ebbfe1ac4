"""The command `diagnose`, and how its result is printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api.consent import consent
from slotlab.framework.api.trained import assignments
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.options import CheckpointOption, DeviceOption, JsonOption, SetOption, TrustOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable


def diagnose(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    masks: Annotated[
        str | None,
        typer.Option(metavar="decoder|attention", help="The source of masks, in place of the spec's."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="The images; by default the evaluated split.")] = None,
    images: Annotated[int, typer.Option(help="The most images to look at.")] = 200,
    checkpoint: CheckpointOption = None,
    sets: SetOption = [],  # noqa: B006 - typer copies it
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = None,
) -> None:
    """Say how the slots of a run fail, what usually helps, and draw it; or say that they bind.

    Of three runs and more it also says whether some bind and others do not.
    """
    assigned = assignments(sets, checkpoint)
    with stoppable("what is drawn already stays"):
        with loading():
            from slotlab.framework.api.diagnosing import diagnose_paths

        options = {"masks": masks, "split": split, "images": images}
        found = diagnose_paths(runs, options, sets=assigned, trust=consent(given=trust), device=device)
    emit(found.facts(), json, print_diagnosis)


def print_diagnosis(facts: Mapping[str, Any]) -> None:
    """Print each run's findings with what usually helps, and what was found of all runs."""
    out = console()
    for one in facts["runs"]:
        measures = one["measures"]
        heading = (
            f"{one['run']}: step {one['step']}, masks from the {one['masks']}, {measures['images']} images"
        )
        out.print(heading, style="bold", soft_wrap=True)
        print_findings(out, one["findings"])
        out.print(f"figure: {one['figure']}", soft_wrap=True)
    if facts["together"]:
        out.print("all runs", style="bold")
        print_findings(out, facts["together"])


def print_findings(out: Any, found: list[Mapping[str, Any]]) -> None:
    """Print findings, their advice and where its evidence is."""
    for finding in found:
        out.print(f"* {finding['what']}", soft_wrap=True, highlight=False)
        for text in finding["advice"]:
            out.print(f"  - {text}", soft_wrap=True, highlight=False)
        if finding["advice"]:
            out.print(f"    evidence: {finding['evidence']}", soft_wrap=True, style="dim")
