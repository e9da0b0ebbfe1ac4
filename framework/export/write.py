"""Graphs as files: ONNX, or torch's own .pt2; each is run again and compared with the run's model.

DIR/encoder.onnx, decoder.onnx     or .pt2
DIR/initial.npz                    initial slots, where the initializer draws them: those of the first images
DIR/export.json                    inputs, outputs, shapes, how images are prepared, the largest difference
"""

import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from slotlab.framework.contracts import Model
from slotlab.framework.export.graphs import IMAGES, SLOTS, Graph, decoder_graph, encoder_graph
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.spec.identity import run_id
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.system.atomic import write_atomically, written_whole
from slotlab.framework.system.json_files import write_json
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

Format = Literal["onnx", "pt2"]
RECORD, INITIAL_FILE = "export.json", "initial.npz"
OPSET = 18
EXAMPLES = 16
"""Images, made of noise, whose initial slots are written."""
BATCHES = (1, 3)
"""Sizes of the batches that are compared."""
TOLERANCE = 1e-3
"""Largest difference from the model, as a part of an output's largest value: float32 in another order."""
Runner = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    record: Mapping[str, Any]


def export_model(
    model: Model, spec: ExperimentSpec, folder: Path, format_: Format, *, step: int, decoder: bool
) -> Exported:
    """Write the parts of a model, compare each with the model, and return the record.

    Raises:
        SlotlabError: for a model without such parts, for one that cannot be exported, if a library is
            missing, and if a file computes something else than the model.
    """
    require(format_)
    if not isinstance(model, SlotModel) or model.clips:
        what = (
            "goes from frame to frame" if model.clips else "has no encoder and grouping of a slot_autoencoder"
        )
        raise SlotlabError(f"the model '{spec.model.name}' {what}, and cannot be exported")
    model = model.cpu().eval()
    torch.manual_seed(spec.seed)
    low, high = spec.data.bounds
    images_BCHW = torch.rand(EXAMPLES, 3, *spec.data.size) * (high - low) + low
    graphs = [encoder_graph(model, images_BCHW, spec.seed)]
    found = graphs[0].run(graphs[0].inputs)
    if decoder:
        graphs.append(decoder_graph(model, {name: found[name] for name in graphs[0].outputs[:-1]}))
    parts = {graph.name: _written(graph, folder, format_) for graph in graphs}
    initial = {name: tensor for name, tensor in graphs[0].inputs.items() if name != IMAGES}
    if initial:
        buffer = io.BytesIO()
        named: Any = {name: tensor.numpy() for name, tensor in initial.items()}
        np.savez(buffer, **named)
        write_atomically(folder / INITIAL_FILE, buffer.getvalue())
    record = {
        "format": format_,
        "run_id": run_id(spec),
        "step": step,
        "image_size": list(spec.data.size),
        "value_range": [low, high],
        "protocol": spec.data.protocol_name,
        "slots": found[SLOTS].shape[1],
        "initial": INITIAL_FILE if initial else None,
        "parts": parts,
    }
    write_json(folder / RECORD, record)
    return Exported(folder, record)


def require(format_: Format) -> None:
    """Refuse ONNX without its libraries.

    Raises:
        SlotlabError: that names the extra.
    """
    if format_ == "pt2":
        return
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(name)
        except ImportError:
            text = f"--onnx needs {name}; it comes with: pip install 'slotlab[export]'"
            raise SlotlabError(f"{text}; --pt2 needs nothing else") from None


def _written(graph: Graph, folder: Path, format_: Format) -> dict[str, Any]:
    """Write a graph, run the file, and return what the record says of it."""
    path = folder / f"{graph.name}.{format_}"
    name = graph.name
    try:
        with written_whole(path) as file, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own innards; the file is compared with the model
            file.write(onnx_bytes(graph) if format_ == "onnx" else pt2_bytes(graph))
    except SlotlabError:
        raise
    except Exception as error:  # torch.export fails in many ways on what a plugin does
        text = describe(error).splitlines()[0]
        raise SlotlabError(f"the {name} cannot be exported: {text}") from error
    difference = compare(graph, runner(path, graph, format_))
    if not difference <= TOLERANCE:
        path.unlink()
        raise SlotlabError(
            f"{path} computes something else than the model: the largest difference is {difference:.2g} of "
            f"the largest value, and {TOLERANCE:g} is allowed; it was removed"
        )
    found = graph.run(graph.inputs)
    return {
        "file": path.name,
        "inputs": {key: ["batch", *tensor.shape[1:]] for key, tensor in graph.inputs.items()},
        "outputs": {key: ["batch", *tensor.shape[1:]] for key, tensor in found.items()},
        "largest_difference": difference,
    }


def compare(graph: Graph, run: Runner) -> float:
    """Return the largest difference between a file and the model, relative to an output's largest value."""
    largest = 0.0
    for batch in BATCHES:
        inputs = {name: tensor[:batch] for name, tensor in graph.inputs.items()}
        mine, theirs = graph.run(inputs), run(inputs)
        for name, tensor in mine.items():
            scale = max(float(tensor.abs().max()), 1e-12)
            largest = max(largest, float((tensor - theirs[name]).abs().max()) / scale)
    return largest


def traced(graph: Graph) -> Any:
    """Return the graph as torch.export traces it, for batches of any size."""
    batch = torch.export.Dim("batch", min=1)
    inputs = tuple(tensor[:2].contiguous() for tensor in graph.inputs.values())
    shapes = tuple({0: batch} for _ in inputs)
    # As the arguments of `forward`: what follows `*` is one.
    told: Any = (shapes,) if graph.name == "decoder" else (shapes[0], *([shapes[1:]] if shapes[1:] else []))
    return torch.export.export(graph.module, inputs, dynamic_shapes=told, strict=False)


def pt2_bytes(graph: Graph) -> bytes:
    """Return the graph as torch saves it (`torch.export.load` reads it)."""
    buffer = io.BytesIO()
    torch.export.save(traced(graph), buffer)
    return buffer.getvalue()


def onnx_bytes(graph: Graph) -> bytes:
    """Return the graph as ONNX."""
    program: Any = torch.onnx.export(
        traced(graph),
        dynamo=True,
        input_names=list(graph.inputs),
        output_names=list(graph.outputs),
        opset_version=OPSET,
        verbose=False,
    )
    data: bytes = program.model_proto.SerializeToString()
    return data


def runner(path: Path, graph: Graph, format_: Format) -> Runner:
    """Return what runs a file."""
    if format_ == "pt2":
        module = torch.export.load(path).module()

        def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                return dict(zip(graph.outputs, module(*inputs.values()), strict=True))

        return run
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run_onnx(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = session.run(list(graph.outputs), {name: tensor.numpy() for name, tensor in inputs.items()})
        return dict(zip(graph.outputs, map(torch.from_numpy, found), strict=True))

    return run_onnx
