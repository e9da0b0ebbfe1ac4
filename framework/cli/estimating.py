"""How the result of `estimate` is printed."""

from typing import Any

from rich.table import Table

from slotlab.framework.cli.output import console
from slotlab.framework.cli.units import duration, flops, maybe, size


def print_estimate(result: dict[str, Any]) -> None:
    """Print one line a fact."""
    out = console()
    out.print(f"{result['name']} on {result['device']}, {result['precision']}", style="bold", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for label, text in facts(result).items():
        table.add_row(label, text)
    out.print(table)
    out.print("without reading data, validation and checkpoints", style="dim")


def facts(result: dict[str, Any]) -> dict[str, str]:
    """Return what is printed, by its label."""
    each, total = result["flops_per_image"], result["flops"]
    missing = f"unknown: {result['flops_missing']}"
    return {
        "training": f"{result['steps']} steps of {result['batch_size']}, {result['images']} images",
        "speed": maybe(result["images_per_second"], lambda value: f"{value:.3g} images/s"),
        "time": maybe(result["seconds"], duration),
        "memory": maybe(result["memory"], lambda value: f"{size(value)} ({result['memory_of']})"),
        "checkpoint": size(result["checkpoint_bytes"]),
        "operations": missing if each is None else f"{flops(each)} an image, {flops(total)} in all",
    }
