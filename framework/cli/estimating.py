"""What `estimate` does, and how its result is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from slotlab.framework.cli.output import console, warn
from slotlab.framework.cli.units import duration, flops, maybe, size
from slotlab.framework.data.selection import select
from slotlab.framework.jobs.estimate import count_images, estimate
from slotlab.framework.jobs.train import choose_device, prepare
from slotlab.framework.model.engine import Engine
from slotlab.framework.plugin_loading.trust import Ask


def estimate_spec(
    name: str, *, sets: Sequence[str], plugins: Sequence[Path], trust: Ask, device: str, images: int | None
) -> dict[str, Any]:
    """Measure a few steps of a spec's training and return what `print_estimate` shows."""
    prepared = prepare(name, sets=sets, plugins=plugins, trust=trust)
    spec = prepared.loaded.spec
    warn(prepared.warnings)
    engine = Engine.open(spec, choose_device(device), warn=lambda text: warn([text]))
    number = count_images(images, lambda: len(select(spec.data, spec.data.train_split, device=engine.device)))
    result = estimate(engine, number)
    warn(result["warnings"])
    return result


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
