"""The engine's switches: each does what it says and none changes results beyond rounding."""

import os
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from slotlab.framework.contracts import Batch
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine, precise
from slotlab.framework.model.loss_step import Sealed
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import begin_phase
from slotlab.framework.training.plan import Plan
from slotlab.registry import SlotlabError

Specs = Callable[..., ExperimentSpec]
CPU = torch.device("cpu")


def open_engine(spec: ExperimentSpec, warnings: list[str] | None = None) -> Engine:
    return Engine.open(spec, CPU, warn=[].append if warnings is None else warnings.append)


def speed(tiny: Specs, **settings: Any) -> ExperimentSpec:
    return tiny(training={"speed": settings, "phases": [{"steps": 3, "lr": 0.01}]})


def sealed(images_BCHW: Tensor) -> Sealed:
    """A batch without truth, as the loss step takes it."""
    return Sealed(Batch(images_BCHW=images_BCHW, masks_BHW=None, ids=("x",) * len(images_BCHW)))


def gradients(spec: ExperimentSpec, warnings: list[str] | None = None) -> dict[str, Tensor]:
    """The loss and its gradient by every weight, after one step's forward and backward pass."""
    engine = open_engine(spec, warnings)
    model = engine.place(build_model(spec))
    images_BCHW = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    total = engine.wrap(model)(sealed(images_BCHW), generator=torch.Generator().manual_seed(1))["total"]
    engine.backward(total)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"total": total.detach(), **found}


def close(a: dict[str, Tensor], b: dict[str, Tensor], tolerance: float) -> bool:
    return a.keys() == b.keys() and all((a[name] - b[name]).abs().max() <= tolerance for name in a)


# --- precision ---------------------------------------------------------------------------


def test_float16_needs_a_gpu(tiny: Specs) -> None:
    with pytest.raises(SlotlabError) as error:
        open_engine(tiny(training={"precision": "float16"}))
    assert str(error.value) == "training.precision: float16 needs a GPU, not cpu; write bfloat16"


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_what_layers_compute_in(tiny: Specs, precision: str, expected: torch.dtype) -> None:
    engine = open_engine(tiny(training={"precision": precision}))
    model = engine.place(build_model(engine.spec))
    seen: list[torch.dtype] = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    engine.wrap(model)(sealed(torch.zeros(2, 3, 8, 8)), generator=torch.Generator())
    assert seen == [expected]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_matmul_precision_is_set_and_put_back(tiny: Specs, matmul: str) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    inside = []

    def fail() -> None:
        with precise(speed(tiny, matmul=matmul)):
            inside.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [(matmul, matmul != "highest")]
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


# --- layout, fused optimizer ------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("auto", torch.channels_last),
        ("contiguous", torch.contiguous_format),
        ("channels_last", torch.channels_last),
    ],
)
def test_the_layout_of_weights(tiny: Specs, wanted: str, expected: torch.memory_format) -> None:
    spec = speed(tiny, memory_format=wanted)
    engine = open_engine(spec)
    assert engine.memory_format == expected
    weight = next(p for p in engine.place(build_model(spec)).encoder.parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=expected)


@pytest.mark.parametrize(("wanted", "expected"), [("auto", False), ("no", False), ("yes", True)])
def test_the_fused_optimizer(tiny: Specs, wanted: str, expected: bool) -> None:
    engine = open_engine(speed(tiny, fused=wanted))
    optimizer, _ = begin_phase(engine, build_model(engine.spec), None, Plan(1, (1,)), 0)
    assert bool(optimizer.defaults["fused"]) == expected


def test_the_fused_optimizer_does_the_same(tiny: Specs) -> None:
    weights: list[dict[str, Tensor]] = []
    for fused in ("no", "yes"):
        engine = open_engine(speed(tiny, fused=fused))
        model = build_model(engine.spec)
        optimizer, _ = begin_phase(engine, model, None, Plan(1, (1,)), 0)
        stream = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=stream)
        optimizer.step()
        weights.append(model.state_dict())
    assert close(*weights, 1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"memory_format": "contiguous"},
        {"recompute": ["encoder", "grouping", "decoder"]},
    ],
)
def test_results_stay(tiny: Specs, settings: dict[str, Any]) -> None:
    assert close(gradients(speed(tiny)), gradients(speed(tiny, **settings)), 1e-6)


def test_recomputed_parts_run_twice(tiny: Specs) -> None:
    for parts in ([], ["encoder"]):
        engine = open_engine(speed(tiny, recompute=parts))
        model = engine.place(build_model(engine.spec))
        calls: list[str] = []
        layer: Any = next(module for module in model.encoder.modules() if isinstance(module, torch.nn.Conv2d))
        layer.register_forward_hook(lambda *args: calls.append("encoder"))  # noqa: B023
        losses = engine.wrap(model)(sealed(torch.zeros(2, 3, 8, 8)), generator=torch.Generator())
        engine.backward(losses["total"])
        assert len(calls) == 1 + len(parts)


# --- compiling ---------------------------------------------------------------------------


def test_a_part_that_cannot_be_compiled_runs_as_it_is(tiny: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_badly(module: torch.nn.Module, **options: Any) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError("no such operation\nand a page of traces")

        changed: Any = module
        changed._compiled_call_impl = fail

    monkeypatch.setattr(torch.nn.Module, "compile", compile_badly)
    warnings: list[str] = []
    found = gradients(speed(tiny, compile="default"), warnings)
    assert warnings == [
        f"torch.compile failed for the {name}, which runs uncompiled: NotImplementedError: no such operation"
        for name in ("encoder", "grouping", "decoder")
    ]
    assert close(found, gradients(speed(tiny)), 0.0)


def test_a_lack_of_memory_is_no_failure_to_compile(tiny: Specs, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_large(module: torch.nn.Module, **options: Any) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        changed: Any = module
        changed._compiled_call_impl = fail

    monkeypatch.setattr(torch.nn.Module, "compile", compile_large)
    engine = open_engine(speed(tiny, compile="default"))
    step = engine.wrap(engine.place(build_model(engine.spec)))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        step(sealed(torch.zeros(2, 3, 8, 8)), generator=torch.Generator())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_parts_compute_the_same(tiny: Specs) -> None:
    """In a process of its own: torch's compiler starts threads, after which no copy of a process can train."""

    def compare() -> None:
        warnings: list[str] = []
        compiled = gradients(speed(tiny, compile="default"), warnings)
        assert warnings == []
        assert close(compiled, gradients(speed(tiny)), 1e-6)

    child = os.fork()
    if child == 0:
        code = 1
        try:
            compare()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
