"""Devices, precision and processes, through Lightning Fabric, and the settings for speed.

There is one process per GPU. Started by `torchrun`, all processes train one model on shares of each batch.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from slotlab.framework.contracts import Model
from slotlab.framework.data.device_placement import Placement
from slotlab.framework.model.loss_step import LossStep
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


@dataclass(frozen=True)
class Engine:
    """The device, precision and processes of a training."""

    fabric: "Fabric"
    spec: ExperimentSpec
    warn: Callable[[str], None]

    @classmethod
    def open(cls, spec: ExperimentSpec, device: torch.device, *, warn: Callable[[str], None]) -> "Engine":
        """Open a device, or this process's device among several (as `torchrun` assigns it).

        Raises:
            SlotlabError: if the device cannot compute in the spec's precision, or there are fewer
                GPUs than processes.
        """
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banners in the output
        if spec.training.precision == "float16" and device.type != "cuda":
            raise SlotlabError(f"training.precision: float16 needs a GPU, not {device}; write bfloat16")
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if device.type == "cuda" and processes > 1:
            check_gpus(device, local)
        devices: Any = local if processes > 1 or device.type == "cpu" else [device.index or 0]
        fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=max(processes // local, 1),
            strategy="ddp" if processes > 1 else "auto",
            precision=PRECISIONS[spec.training.precision],  # type: ignore[arg-type]
        )
        fabric.launch()
        return cls(fabric, spec, warn)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.fabric.device

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which writes files."""
        return self.fabric.global_rank == 0

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.fabric.global_rank

    @property
    def processes(self) -> int:
        """The number of processes."""
        return self.fabric.world_size

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images and weights."""
        wanted = self.spec.training.speed.memory_format
        return torch.contiguous_format if wanted == "contiguous" else torch.channels_last

    @property
    def placement(self) -> Placement:
        """The facts that a loader needs."""
        return Placement(self.device, self.memory_format, self.rank, self.processes)

    @property
    def fused(self) -> bool:
        """Whether the optimizer runs in one fused kernel."""
        wanted = self.spec.training.speed.fused
        return wanted == "yes" or (wanted == "auto" and self.device.type == "cuda")

    def place(self, model: Model) -> Model:
        """Move a model to the device, in the memory format."""
        placed: Model = model.to(self.device).to(memory_format=self.memory_format)
        return placed

    def wrap(self, model: Model) -> nn.Module:
        """Return the loss step of a placed model, set up for precision and processes."""
        if self.spec.training.sync_batchnorm and self.fabric.world_size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        for name in self.spec.training.speed.recompute:
            part: Any = model.get_submodule(name)
            part.forward = partial(recomputed, part.forward)
        self._compile(model)
        return self.fabric.setup_module(LossStep(model), move_to_device=False)

    def wrap_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer, set up for precision and processes."""
        wrapped: Any = self.fabric.setup_optimizers(optimizer)
        found: Optimizer = wrapped
        return found

    @property
    def scaler(self) -> Any:
        """The torch `GradScaler` that scales the gradients in float16; None in other precisions."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients, scaled in float16."""
        self.fabric.backward(loss)

    def clip(self, step_losses: nn.Module, optimizer: Optimizer, norm: float) -> None:
        """Scale the gradient over all weights down to a norm, of the kind that the spec names.

        Processes have exchanged their gradients before, so that each scales by the same factor.
        """
        wrapped: Any = optimizer
        order = float(self.spec.training.clip_norm_type)
        self.fabric.clip_gradients(
            step_losses, wrapped, max_norm=norm, norm_type=order, error_if_nonfinite=False
        )

    def no_sync(self, step_losses: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Do not yet exchange gradients between processes, while more of the batch follows."""
        wrapped: Any = step_losses
        context: AbstractContextManager[None] = self.fabric.no_backward_sync(wrapped, enabled=enabled)
        return context

    def total(self, values_N: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.processes == 1:
            return values_N
        summed: Any = self.fabric.all_reduce(values_N, reduce_op="sum")
        found: Tensor = summed
        return found

    def gather(self, values: list[T]) -> list[T]:
        """Return the joined lists of all processes, in the order of their ranks."""
        if self.processes == 1:
            return values
        every: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(every, values)
        return [value for one in every for value in one]

    def wait(self) -> None:
        """Wait for the other processes."""
        self.fabric.barrier()

    def from_first(self, value: T) -> T:
        """Return the first process's value."""
        found: T = self.fabric.broadcast(value) if self.processes > 1 else value
        return found

    def _compile(self, model: Model) -> None:
        # Part by part and in place: names of weights stay as they are, and generators stay outside, which
        # torch.compile does not support.
        mode = self.spec.training.speed.compile
        if mode == "off":
            return
        for name in model.compiled:
            part: Any = model.get_submodule(name)
            part.compile(mode=mode)
            compiled = part._compiled_call_impl
            part._compiled_call_impl = partial(self._try_compiled, part, name, compiled)

    def _try_compiled(self, part: Any, name: str, compiled: Any, *args: Any, **kwargs: Any) -> Any:
        # The first call compiles. If that fails, the part runs uncompiled from then on.
        try:
            result = compiled(*args, **kwargs)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            part._compiled_call_impl = None
            inner = getattr(error, "inner_exception", error)  # torch's own error does not name the cause
            reason = f"{type(inner).__name__}: {inner}".strip().partition("\n")[0]
            self.warn(f"torch.compile failed for the {name}, which runs uncompiled: {reason}")
            return part(*args, **kwargs)
        part._compiled_call_impl = compiled
        return result


def check_gpus(device: torch.device, processes: int) -> None:
    """Refuse more processes than GPUs, and several processes on one chosen GPU.

    Raises:
        SlotlabError: with what is available.
    """
    if device.index is not None:
        text = f"--device {device} is one GPU; for {processes} processes write --device cuda"
        raise SlotlabError(f"{text}, and choose GPUs by CUDA_VISIBLE_DEVICES")
    found = torch.cuda.device_count()
    if processes > found:
        raise SlotlabError(f"{processes} processes need a GPU each, and torch sees {found}")


def recomputed(forward: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a part, and recompute its activations in the backward pass with the same random draws.

    torch itself restores its global generators; this restores the generators among the arguments.
    """
    streams = [value for value in (*args, *kwargs.values()) if isinstance(value, Generator)]
    options: dict[str, Any] = {}
    if streams:
        states = [stream.get_state() for stream in streams]
        options["context_fn"] = lambda: (nullcontext(), rewound(streams, states))
    found: Any = checkpoint(forward, *args, use_reentrant=False, **options, **kwargs)
    result: T = found
    return result


@contextmanager
def rewound(streams: Sequence[Generator], states: Sequence[Tensor]) -> Iterator[None]:
    """Let streams repeat their draws since a state, and continue afterwards where they were."""
    now = [stream.get_state() for stream in streams]
    for stream, state in zip(streams, states, strict=True):
        stream.set_state(state)
    try:
        yield
    finally:
        for stream, state in zip(streams, now, strict=True):
            stream.set_state(state)


@contextmanager
def precise(spec: ExperimentSpec) -> Iterator[None]:
    """Set torch's process-wide precision of float32 matrix products, and restore it afterwards."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(spec.training.speed.matmul)
    torch.backends.cudnn.allow_tf32 = spec.training.speed.matmul != "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
