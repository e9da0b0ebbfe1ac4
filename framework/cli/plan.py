"""The command `plan`: how many more seeds a study needs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotlab.framework.cli.option_groups import ComparisonOptions, grouped
from slotlab.framework.cli.options import JsonOption
from slotlab.framework.cli.stopping import stoppable

if TYPE_CHECKING:
    from slotlab.framework.compare.text_table import TextTable

GOALS = {"difference": "difference", "width": "interval's width", "rate_difference": "difference of rates"}
DESIGNS = {"paired": "paired", "unpaired": "not paired", "binding": "runs that bind"}


@grouped
def plan(
    chosen: ComparisonOptions,
    difference: Annotated[
        float | None, typer.Option(metavar="X", help="Find this difference in the primary metric.")
    ] = None,
    width: Annotated[
        float | None, typer.Option(metavar="X", help="Make the difference's 95 % interval at most this wide.")
    ] = None,
    rate_difference: Annotated[
        float | None,
        typer.Option("--rate-difference", metavar="X", help="Find this difference in how often runs bind."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Say how many more seeds each arm needs, from what its runs show.

    A difference is to be found in 80 of 100 studies, at 5 %, by the tests of `compare`.
    """
    from slotlab.framework.api.comparison import compare_paths
    from slotlab.framework.cli.output import emit
    from slotlab.framework.compare.seed_plan import Wanted, as_json, plan_seeds

    wanted = Wanted(difference, width, rate_difference)
    with stoppable("nothing was written"):
        comparison = compare_paths(**vars(chosen))
        needs = plan_seeds(comparison, wanted)
    emit(as_json(comparison, wanted, needs), json, print_plan)


def print_plan(result: dict[str, Any]) -> None:
    """Print a line for each arm, goal and design, and how to read it."""
    from slotlab.framework.api.console import grid_of, print_whole, styled
    from slotlab.framework.cli.output import console

    out = console()
    found = needs_table(result)
    out.print(styled(found.title, "bold"), soft_wrap=True)
    print_whole(out, grid_of(found))
    for note in result["notes"]:
        out.print(styled(f"note: {note}", "dim"), soft_wrap=True)


def needs_table(result: dict[str, Any]) -> "TextTable":
    """Return the needs as a table of text."""
    from slotlab.framework.compare.text_table import TextTable

    heads = (
        "arm",
        "design",
        "wanted",
        "observed [95 % interval]",
        "seeds",
        "needed [range] (Holm)",
        "more (Holm)",
    )
    title = f"{result['title']}: seeds that {result['metric']} needs against '{result['baseline']}'"
    return TextTable(title, heads, tuple(_row(result["wanted"], need) for need in result["needs"]), texts=3)


def _row(wanted: dict[str, float], need: dict[str, Any]) -> tuple[str, ...]:
    goal = f"{GOALS[need['goal']]} {wanted[need['goal']]:g}"
    observed = "-" if need["observed"] is None else f"{need['observed']:.3g}"
    if need["observed_interval"] is not None:
        observed += " [{:.3g}, {:.3g}]".format(*need["observed_interval"])
    reach = need["needed_range"]
    bounds = "" if reach is None else f" [{_count(reach[0])}, {_count(reach[1])}]"
    return (
        need["arm"],
        DESIGNS[need["design"]],
        goal,
        observed,
        str(need["seeds"]),
        f"{_count(need['needed'])}{bounds} ({_count(need['needed_holm'])})",
        f"{_count(need['more'])} ({_count(need['more_holm'])})",
    )


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)
