"""How evaluations are printed: numbers per method, breakdowns, published numbers, and a run's files."""

from collections.abc import Mapping, Sequence
from typing import Any

from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import cost_line
from slotlab.framework.runs.measurement import BEST, LAST, changed_words, clip_words, measured_things
from slotlab.framework.spec.sides import in_pixels

MOST_ACROSS = 5
"""How many metrics a table shows side by side."""


def print_evaluations(results: Sequence[dict[str, Any]], *, groups: bool = False) -> None:
    """Print a table for each evaluation, then the cost and files of each run."""
    out = console()
    several = len({result["run"] for result in results}) > 1
    for result in results:
        if several:
            out.print(f"run {result['run']}", style="bold", soft_wrap=True)
        print_evaluation(result, groups=groups)
        out.print("")
    for run in dict.fromkeys(result["run"] for result in results):
        print_run([result for result in results if result["run"] == run])


def print_result(result: dict[str, Any]) -> None:
    """Print the result of a training: its evaluation, if there is one, its cost and its files."""
    if "methods" in result:
        print_evaluation(result)
    print_run([result])


def print_evaluation(result: dict[str, Any], *, groups: bool = False) -> None:
    """Print the metrics of the model and the baselines, then published numbers of the same protocol."""
    out = console()
    variant = f" {result['variant']}" if result["variant"] else ""
    things = measured_things(result)
    title = "{dataset}{variant} {split}: {images} {things} of {size} pixels"
    size = in_pixels(result["image_size"])
    if result.get("slots") is not None:
        title += ", masks from the {mask_source}"
        title += "" if result.get("mask_size") is None else f" at {in_pixels(result['mask_size'])} pixels"
    out.print(
        title.format(**result | {"variant": variant, "size": size, "things": things}),
        style="bold",
        soft_wrap=True,
    )
    facts = [f"protocol {result['protocol']}", result["filter"] or "any number of objects"]
    facts += clip_words(result)
    facts += [words for words in changed_words(result) if not words.startswith("data.filter ")]
    if result.get("checkpoint", LAST) != LAST:
        facts.append(f"checkpoint {result['checkpoint']}, step {result['step']}")
    out.print("; ".join(facts), soft_wrap=True)
    out.print(numbers_table(result))
    out.print(f"mean over {things} ± standard deviation over {things}", style="dim")
    pooled = [name for name, facts in result["metrics"].items() if facts["aggregation"] == "objects"]
    if pooled:
        out.print(f"mean over objects: {', '.join(pooled)}", style="dim")
    if "codes" in result:
        words = "{used} of {codes} codes occur in {tokens} tokens, perplexity {perplexity:.1f}"
        out.print(words.format(**result["codes"]), style="dim")
    print_set_metrics(result["set_metrics"])
    for name, reason in result["left_out"].items():
        out.print(f"{name}: left out, {reason}", soft_wrap=True)
    if not any(result["methods"].values()):
        text = "no metric has a value: add one that needs no masks, such as mse, to evaluation.metrics"
        if "evaluation" in result:
            text += f"; pictures are in {result['run']}/evaluation/{result['evaluation']}/samples"
        out.print(text, soft_wrap=True)
    for text in result.get("cautions", ()):
        out.print(f"caution: {text}", markup=False, soft_wrap=True)
    if result["published"]:
        out.print(published_table(result))
        if result.get("cautions"):
            out.print("published numbers cover all published images; see the caution above")
        out.print("mean ± standard deviation over trainings; sources: slotlab published", style="dim")
    if groups:
        print_breakdowns(result["breakdowns"], things)


def numbers_table(result: dict[str, Any]) -> Any:
    """Return the table of methods by metrics, transposed if there are many metrics."""
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


def published_table(result: dict[str, Any]) -> Any:
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
    """Return the published numbers of each method and training data, as a text for each metric."""
    rows: dict[str, dict[str, str]] = {}
    for one in references:
        rows.setdefault(f"{one['method']} (trained on {one['train']})", {})[one["metric"]] = number(one)
    return list(rows.items())


def number(reference: Mapping[str, Any]) -> str:
    """Return a published number with its standard deviation as text."""
    deviation = "" if reference["std"] is None else f" ± {reference['std']:.3f}"
    return f"{reference['value']:.3f}{deviation}"


def print_breakdowns(breakdowns: Mapping[str, Sequence[Mapping[str, Any]]], things: str = "images") -> None:
    """Print a table for each breakdown: means with 95 % intervals, and counts."""
    from rich.table import Table

    out = console()
    for kind, groups in breakdowns.items():
        names = [name for name in groups[0] if name != "group"][:MOST_ACROSS]
        table = Table(f"by {kind}", "count", *names, box=None, pad_edge=False, header_style="bold")
        for group in groups:
            count = max(group[name]["count"] for name in names)
            table.add_row(str(group["group"]), str(count), *(span(group[name]) for name in names))
        out.print(table)
    means = f"mean [95 % t interval] over {things} or objects"
    text = f"{means}; {MOST_ACROSS} metrics at most; summary.json has all"
    out.print(text, style="dim")


def span(statistics: Mapping[str, Any]) -> str:
    """Return a mean with its interval as text; a dash if it is undefined."""
    if statistics["mean"] is None:
        return "-"
    if statistics["low"] is None:
        return f"{statistics['mean']:.3f}"
    return f"{statistics['mean']:.3f} [{statistics['low']:.3f}, {statistics['high']:.3f}]"


def print_run(results: Sequence[dict[str, Any]]) -> None:
    """Print the cost of a run, its folder, and the figures of these evaluations."""
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


def checkpoint_of(result: dict[str, Any]) -> str:
    """Return which checkpoint was evaluated, in words; empty for the last one."""
    return f" (the {BEST} checkpoint)" if result.get("checkpoint") == BEST else ""


def cell(statistics: Mapping[str, Any] | None) -> str:
    """Return a mean with its standard deviation as text; a dash if it is undefined."""
    if statistics is None or statistics["mean"] is None:
        return "-"
    deviation = "" if statistics["std"] is None else f" ± {statistics['std']:.3f}"
    undefined = f" ({statistics['undefined']} undefined)" if statistics["undefined"] else ""
    return f"{statistics['mean']:.3f}{deviation}{undefined}"


def print_set_metrics(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print set metrics, if there are any, with their floors and the numbers of images on both sides."""
    from rich.table import Table

    if not found:
        return
    out = console()
    coded = any("codec" in result for result in found.values())
    heads = ["set metric", "value", "pictures", "real", "floor", *["through the codec"] * coded, "extractor"]
    table = Table(*heads, box=None, pad_edge=False)
    for name, result in found.items():
        floor = result["floor"]
        low = "-" if floor is None else "{value:.4g} ({images} against {real_images})".format(**floor)
        numbers = (str(result["images"]), str(result["real_images"]))
        back = [f"{result['codec']['value']:.4g}" if "codec" in result else "-"] * coded
        table.add_row(name, f"{result['value']:.4g}", *numbers, low, *back, result["extractor"])
    out.print(table)
    floors = {result["floor"]["of"] for result in found.values() if result["floor"]}
    out.print(f"lower is better; floor: {', '.join(sorted(floors)) or 'none'}", style="dim")
    for name, result in found.items():
        for text in result["warnings"]:
            out.print(f"{name}: {text}", style="dim", soft_wrap=True)
