"""The command `estimate`, and how its result is printed."""

from typing import Any

from rich.table import Table

from slotlab.framework.api.consent import consent
from slotlab.framework.cli.loading import loading
from slotlab.framework.cli.options import (
    DeviceOption,
    ImagesOption,
    JsonOption,
    PluginOption,
    SetOption,
    SpecArgument,
    TrustOption,
)
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.units import duration, flops, maybe, size

NOT_TIMED = "start, reading data, validation and writing checkpoints"
"""What takes time in a training beside its steps."""


def estimate(
    spec: SpecArgument,
    set_: SetOption = [],  # noqa: B006 - typer reads the default and never changes it
    plugin: PluginOption = [],  # noqa: B006
    trust: TrustOption = False,
    device: DeviceOption = "auto",
    images: ImagesOption = None,
    json: JsonOption = None,
) -> None:
    """Estimate the time, memory and operations of a training.

    Times a few training steps on random images.
    """
    with loading():
        from slotlab.framework.api.estimating import estimate_spec

    result = estimate_spec(
        spec, sets=set_, plugins=plugin, trust=consent(given=trust), device=device, images=images
    )
    emit(result, json, print_estimate)


def print_estimate(result: dict[str, Any]) -> None:
    """Print one line per quantity."""
    out = console()
    out.print(f"{result['name']} on {result['device']}, {result['precision']}", style="bold", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for label, text in facts(result).items():
        table.add_row(label, text)
    out.print(table)
    out.print(left_out(result), style="dim", soft_wrap=True)


def left_out(result: dict[str, Any]) -> str:
    """Return what the times do not include; the evaluation too, where it could not be timed."""
    parts, missing = f"{NOT_TIMED}; metrics, baselines and figures", result["evaluation_missing"]
    return f"not included: {parts}{f'; evaluation: {missing}' if missing else ''}"


def facts(result: dict[str, Any]) -> dict[str, str]:
    """Return the text of each quantity by its label."""
    each, total = result["flops_per_image"], result["flops"]
    missing = f"unknown: {result['flops_missing']}"
    return {
        "training": f"{result['steps']} steps of {result['batch_size']}, {result['images']} images",
        "speed": maybe(result["images_per_second"], lambda value: f"{value:.3g} images/s"),
        "time": maybe(result["seconds"], duration),
        **evaluation(result),
        "memory": maybe(result["memory"], lambda value: f"{size(value)} ({result['memory_of']})"),
        "checkpoint": size(result["checkpoint_bytes"]),
        "operations": missing if each is None else f"{flops(each)} per image, {flops(total)} in total",
    }


def evaluation(result: dict[str, Any]) -> dict[str, str]:
    """Return how long the model takes on the evaluated images, or on a thousand if they are not counted."""
    speed, images = result["evaluation_images_per_second"], result["evaluation_images"]
    if speed is None:
        return {}
    counted = f"{images} images" if images is not None else "each 1000 images"
    return {"evaluation": f"{counted}, {duration((1000 if images is None else images) / speed)}"}
