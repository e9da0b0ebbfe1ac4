"""A step of a training never waits for its device: what reads a value back is done at log lines alone.

Operations that read values are counted by torch's dispatcher, on a CPU, where they take no time: `.item()`, `bool(x)`,
`.cpu()` of what is on a device, `nonzero`, and indices by masks. On a GPU each of them would keep the host from
queueing the next kernels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from slotlab.framework.data.loader import Loader
from slotlab.framework.model.build import build_model
from slotlab.framework.model.engine import Engine
from slotlab.framework.runs.folder import RunFolder
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.loop import train
from slotlab.framework.training.plan import Progress

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "equal",
    "_unique2",
    "unique_dim",
    "item",
)
"""Operations of ATen whose result, or whose size, has to be known on the host."""


METHODS = ("tolist", "cpu", "numpy", "item", "__bool__", "__float__", "__int__", "__index__")
"""Methods of tensors that give their values to the host, of which some never reach the dispatcher on a CPU."""


class Calls(TorchFunctionMode):
    """Notes methods that give values to the host."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in METHODS:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Waits(TorchDispatchMode):
    """Notes operations that read values back."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put", "index_put_") and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if name in WAITS or masked:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def waits_by_step(spec: ExperimentSpec, loader: Loader, folder: Path) -> dict[int, list[str]]:
    """Train, and return what waited in each step, by its number."""
    found: dict[int, list[str]] = {}
    now: list[str] = []

    def report(progress: Progress) -> None:
        found[progress.step] = now.copy()
        now.clear()

    model = build_model(spec)
    engine = Engine.open(spec, torch.device("cpu"), warn=print)
    with Waits(now), Calls(now):
        train(engine, model, loader, RunFolder.create(folder, spec), report=report)
    return found


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip_norm": 1.0},
    "clipped by the largest": {"clip_norm": 1.0, "clip_norm_type": "inf"},
    "averaged": {"ema_decay": 0.9},
    "in parts": {"accumulate": 2},
    "annealed": {"anneal": {"initializer.sigma": {"start": 1.0, "end": 0.0, "steps": 3}}},
    "in bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_waits_between_log_lines(
    tiny: Callable[..., ExperimentSpec], noise_loader: Callable[..., Loader], tmp_path: Path, name: str
) -> None:
    training = {"phases": [{"steps": 6, "lr": 0.01}], "log_every": 5, "speed": {"fused": "yes"}}
    checkpoint = {"every_epochs": None, "every_minutes": None}
    model = {"initializer": {"name": "learnable", "sigma": 1.0}} if name == "annealed" else {}
    spec = tiny(training={**training, "checkpoint": checkpoint, **SETTINGS[name]}, model=model)
    found = waits_by_step(spec, noise_loader(size=32), tmp_path / "run")
    assert found[5], "the log line reads the losses: the count would see what waits"
    # torch's own count of the means, which it keeps on the CPU whatever the device.
    counter = ["__bool__", "_local_scalar_dense"] * 2 if name == "averaged" else []
    # The order of the epoch is drawn before the first step.
    assert [found[step] for step in (2, 3, 4)] == [counter] * 3
