"""The command `evaluate`, and how evaluations are printed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.api.choosing import check_masks
from slotlab.framework.api.consent import consent
from slotlab.framework.api.console import warn
from slotlab.framework.api.trained import assignments
from slotlab.framework.cli.composing import print_set_metrics
from slotlab.framework.cli.consent import TrustOption
from slotlab.framework.cli.options import DeviceOption, DevicesOption, JsonOption, PluginOption, SetOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.framework.cli.trained import CheckpointOption
from slotlab.framework.cli.units import cost_line
from slotlab.framework.runs.measurement import BEST, LAST
from slotlab.framework.system import processes

MOST_ACROSS = 5
"""Metrics side by side in a table."""
Result = dict[str, Any]


def evaluate(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of trained runs.")],
    protocol: Annotated[
        list[str],
        typer.Option(
            "--protocol", metavar="NAME", help="Evaluate under this protocol; give it again for more."
        ),
    ] = [],  # noqa: B006 - typer reads the default and never changes it
    variant: Annotated[
        list[str],
        typer.Option(
            "--variant", metavar="NAME", help="Evaluate on this variant of the data; give it again."
        ),
    ] = [],  # noqa: B006
    split: Annotated[
        str | None, typer.Option(help="The split; the protocol's or the spec's without it.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(metavar="decoder|attention|both", help="Which masks are scored; likewise without it."),
    ] = None,
    checkpoint: CheckpointOption = None,
    set_: SetOption = [],  # noqa: B006
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    devices: DevicesOption = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures and samples.")] = True,
    save_masks: Annotated[
        bool, typer.Option("--save-masks", help="Write true and predicted masks as gray PNGs of labels.")
    ] = False,
    by_group: Annotated[
        bool,
        typer.Option("--breakdowns", help="Print the numbers by objects, material, shape, size, occlusion."),
    ] = False,
    json: JsonOption = None,
) -> None:
    """Evaluate runs under protocols, on variants of the data: rows, summaries, breakdowns, figures."""
    check_masks(masks)
    sets = assignments(set_, checkpoint)
    if processes.wanted(devices):
        raise typer.Exit(processes.launch(devices or 1))
    with stoppable(left(figures=figures, masks=save_masks)):
        from slotlab.framework.api.evaluating import evaluate_runs, wanted_of

        result = evaluate_runs(
            runs,
            wanted_of(protocol, variant, split, masks),
            sets=sets,
            plugins=plugin,
            trust=consent(given=trust),
            device=device,
            figures=figures,
            masks=save_masks,
        )
    if processes.is_first():
        emit(result, json, lambda found: print_evaluations(found["evaluations"], groups=by_group))
        warn(f"{run} was not evaluated: {reason}" for run, reason in result["failed"].items())
    if result["failed"]:
        raise typer.Exit(1)


def left(*, figures: bool, masks: bool) -> str:
    """Say what Ctrl-C leaves of evaluations, which are written one after another."""
    missing = ", though the last one's figures may be missing" if figures else ""
    more = "; some masks of the one that was not are written" if masks else ""
    return f"evaluations that were measured to their end are written{missing}; the others are as before{more}"


def print_evaluations(results: Sequence[Result], *, groups: bool = False) -> None:
    """Print a table for each evaluation, then the runs."""
    out = console()
    several = len({result["run"] for result in results}) > 1
    for result in results:
        if several:
            out.print(f"run {result['run']}", style="bold", soft_wrap=True)
        print_evaluation(result, groups=groups)
        out.print("")
    for run in dict.fromkeys(result["run"] for result in results):
        print_run([result for result in results if result["run"] == run])


def print_result(result: Result) -> None:
    """Print what came of a training: its evaluation, if it was evaluated, and where everything lies."""
    if "methods" in result:
        print_evaluation(result)
    print_run([result])


def print_evaluation(result: Result, *, groups: bool = False) -> None:
    """Print methods by metrics, published numbers of the same protocol below them."""
    out = console()
    variant = f" {result['variant']}" if result["variant"] else ""
    title = "{dataset}{variant} {split}: {images} images of {image_size} pixels, masks from the {mask_source}"
    out.print(title.format(**result | {"variant": variant}), style="bold", soft_wrap=True)
    facts = [f"protocol {result['protocol']}", result["filter"] or "any number of objects"]
    facts += [f"{name} {value}" for name, value in result.get("changes", {}).items() if name != "data.filter"]
    if result.get("checkpoint", LAST) != LAST:
        facts.append(f"checkpoint {result['checkpoint']}, step {result['step']}")
    out.print("; ".join(facts), soft_wrap=True)
    out.print(numbers_table(result))
    out.print("mean over images ± standard deviation over images", style="dim")
    pooled = [name for name, facts in result["metrics"].items() if facts["aggregation"] == "objects"]
    if pooled:
        out.print(f"mean over objects: {', '.join(pooled)}", style="dim")
    print_set_metrics(result["set_metrics"])
    for name, reason in result["left_out"].items():
        out.print(f"{name}: left out, {reason}", soft_wrap=True)
    for text in result.get("cautions", ()):
        out.print(f"caution: {text}", markup=False, soft_wrap=True)
    if result["published"]:
        out.print(published_table(result))
        if result.get("cautions"):
            out.print("published numbers are of all pictures that were published: mind the caution above")
        out.print("mean ± standard deviation over trainings; sources: slotlab published", style="dim")
    if groups:
        print_breakdowns(result["breakdowns"])


def numbers_table(result: Result) -> Any:
    """Return the table of an evaluation, with the protocol in every row: methods down, many metrics down."""
    from rich.table import Table

    methods, protocol = result["methods"], result["protocol"]
    names = list(dict.fromkeys(name for one in methods.values() for name in one))
    flat = len(names) <= MOST_ACROSS
    head = ("method", *names) if flat else ("metric", *methods)
    table = Table("protocol", *head, box=None, pad_edge=False, header_style="bold")
    for row in methods if flat else names:
        cells = (methods[row].get(one) if flat else methods[one].get(row) for one in head[1:])
        table.add_row(protocol, row, *map(cell, cells))
    return table


def published_table(result: Result) -> Any:
    """Return the table of published numbers of the same protocol and data."""
    from rich.table import Table

    rows = published_rows(result["published"])
    names = list(dict.fromkeys(name for _, cells in rows for name in cells))
    table = Table("protocol", "published", *names, box=None, pad_edge=False, header_style="bold dim")
    for method, cells in rows:
        shown = (cells.get(name, "-") for name in names)
        table.add_row(result["protocol"], method, *shown, style="dim")
    return table


def published_rows(references: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """Return published numbers by method and what it was trained on, a text for each metric."""
    rows: dict[str, dict[str, str]] = {}
    for one in references:
        rows.setdefault(f"{one['method']} (trained on {one['train']})", {})[one["metric"]] = number(one)
    return list(rows.items())


def number(reference: Mapping[str, Any]) -> str:
    """Write a published number with its deviation."""
    deviation = "" if reference["std"] is None else f" ± {reference['std']:.3f}"
    return f"{reference['value']:.3f}{deviation}"


def print_breakdowns(breakdowns: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Print a table for each way of grouping, means with 95 % intervals and counts."""
    from rich.table import Table

    out = console()
    for kind, groups in breakdowns.items():
        names = [name for name in groups[0] if name != "group"][:MOST_ACROSS]
        table = Table(f"by {kind}", "count", *names, box=None, pad_edge=False, header_style="bold")
        for group in groups:
            count = max(group[name]["count"] for name in names)
            table.add_row(str(group["group"]), str(count), *(span(group[name]) for name in names))
        out.print(table)
    text = (
        f"mean [95 % t interval] over images or objects; {MOST_ACROSS} metrics at most, all in summary.json"
    )
    out.print(text, style="dim")


def span(statistics: Mapping[str, Any]) -> str:
    """Write a mean with its interval; a dash where there is none."""
    if statistics["mean"] is None:
        return "-"
    if statistics["low"] is None:
        return f"{statistics['mean']:.3f}"
    return f"{statistics['mean']:.3f} [{statistics['low']:.3f}, {statistics['high']:.3f}]"


def print_run(results: Sequence[Result]) -> None:
    """Print what a run cost, and where its files are: figures of these evaluations alone."""
    out, result = console(), results[0]
    if result.get("cost"):
        out.print(f"cost: {cost_line(result['cost'])}", soft_wrap=True)
    out.print(f"run: {result['run']}", soft_wrap=True)
    if "step" in result:
        out.print(f"weights of step {result['step']}{checkpoint_of(result)}")
    left_out = [item for one in results for item in one.get("figures_left_out", {}).items()]
    for name, reason in dict.fromkeys(left_out):
        out.print(f"figure {name}: left out, {reason}", soft_wrap=True)
    for figure in dict.fromkeys(figure for one in results for figure in one.get("figures", ())):
        out.print(f"figure: {figure}", soft_wrap=True)


def checkpoint_of(result: Result) -> str:
    """Say which checkpoint was measured, if it is not the last one."""
    return f" (the {BEST} checkpoint)" if result.get("checkpoint") == BEST else ""


def cell(statistics: Mapping[str, Any] | None) -> str:
    """Write one mean with its deviation; a dash where there is none."""
    if statistics is None or statistics["mean"] is None:
        return "-"
    deviation = "" if statistics["std"] is None else f" ± {statistics['std']:.3f}"
    undefined = f" ({statistics['undefined']} undefined)" if statistics["undefined"] else ""
    return f"{statistics['mean']:.3f}{deviation}{undefined}"
