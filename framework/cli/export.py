"""The command `export`: a run's model as files for other programs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from slotlab.framework.cli.options import CheckpointOption, JsonOption, PluginOption, RunArgument, TrustOption
from slotlab.framework.cli.output import console, emit
from slotlab.framework.cli.stopping import stoppable
from slotlab.registry.errors import SlotlabError


def export(
    run: RunArgument,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write ONNX.")] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Write .pt2, which torch.export.load reads.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to write; by default RUN/export.")
    ] = None,
    decoder: Annotated[
        bool, typer.Option("--decoder/--no-decoder", help="Write the decoder besides the encoder.")
    ] = True,
    checkpoint: CheckpointOption = None,
    plugin: PluginOption = [],  # noqa: B006 - typer reads the default and never changes it
    trust: TrustOption = False,
    json: JsonOption = None,
) -> None:
    """Write the model of a run for other programs: images to slots, and slots to pictures.

    Each file is run, and compared with the model.
    """
    if onnx == pt2:
        raise SlotlabError("write --onnx or --pt2, one of the two")
    with stoppable("files that were written are whole"):
        from slotlab.framework.api.exporting import export as write

        chosen: Any = {"format": "onnx" if onnx else "pt2", "decoder": decoder, "checkpoint": checkpoint}
        result = write(run, out, **chosen, plugins=plugin, trust=trust)
    emit(result, json, print_export)


def print_export(result: dict[str, Any]) -> None:
    """Print the files, their inputs and outputs, and how far they are from the model."""
    out = console()
    for part in result["parts"].values():
        out.print(f"{result['folder']}/{part['file']}", style="bold", soft_wrap=True)
        for kind in ("inputs", "outputs"):
            shapes = (f"{name} ({', '.join(map(str, shape))})" for name, shape in part[kind].items())
            out.print(f"  {kind}: {', '.join(shapes)}", soft_wrap=True)
        out.print(
            f"  largest difference from the model: {part['largest_difference']:.1e} of the largest value"
        )
    low, high = result["value_range"]
    rows, columns = result["image_size"]
    size = f"{rows} x {columns} pixels from {low:g} to {high:g}"
    out.print(f"images are float32 of {size}, prepared as by {result['protocol']}", soft_wrap=True)
