"""Devices, precision and processes, through Lightning Fabric; and the switches for speed.

One process a GPU. Started by `torchrun`, all processes train one model on shares of each batch.
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

from slotlab.framework.data.placement import Placement
from slotlab.framework.model.slot_model import LossStep, SlotModel
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


@dataclass(frozen=True)
class Engine:
    """What a training runs on."""

    fabric: "Fabric"
    spec: ExperimentSpec
    warn: Callable[[str], None]

    @classmethod
    def open(cls, spec: ExperimentSpec, device: torch.device, *, warn: Callable[[str], None]) -> "Engine":
        """Take a device, or this process's share of several (`torchrun` says which).

        Raises:
            SlotlabError: if the device cannot compute in the spec's precision, or there are fewer
                GPUs than processes.
        """
        from lightning_fabric import Fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no banners between our lines
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
        """Whether this is the process that writes files."""
        return self.fabric.global_rank == 0

    @property
    def rank(self) -> int:
        """The number of this process among all."""
        return self.fabric.global_rank

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.fabric.world_size

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and weights."""
        wanted = self.spec.training.speed.memory_format
        return torch.contiguous_format if wanted == "contiguous" else torch.channels_last

    @property
    def placement(self) -> Placement:
        """What loaders must know."""
        return Placement(self.device, self.memory_format, self.rank, self.processes)

    @property
    def fused(self) -> bool:
        """Whether the optimizer is to run in one kernel."""
        wanted = self.spec.training.speed.fused
        return wanted == "yes" or (wanted == "auto" and self.device.type == "cuda")

    def place(self, model: SlotModel) -> SlotModel:
        """Move a model to the device, in the layout for it."""
        placed: SlotModel = model.to(self.device).to(memory_format=self.memory_format)
        return placed

    def wrap(self, model: SlotModel) -> nn.Module:
        """Return the loss step of a placed model, ready for precision and processes."""
        if self.spec.training.sync_batchnorm and self.fabric.world_size > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        for name in self.spec.training.speed.recompute:
            part: Any = getattr(model, name)
            part.forward = partial(recomputed, part.forward)
        self._compile(model)
        return self.fabric.setup_module(LossStep(model), move_to_device=False)

    def wrap_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Return the optimizer ready for precision and processes."""
        wrapped: Any = self.fabric.setup_optimizers(optimizer)
        found: Optimizer = wrapped
        return found

    @property
    def scaler(self) -> Any:
        """What scales the gradients in float16, a torch `GradScaler`; None in other precisions."""
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients, scaled in float16."""
        self.fabric.backward(loss)

    def clip(self, step_losses: nn.Module, optimizer: Optimizer, norm: float) -> None:
        """Bound the gradient's norm over all weights."""
        wrapped: Any = optimizer
        self.fabric.clip_gradients(step_losses, wrapped, max_norm=norm, error_if_nonfinite=False)

    def no_sync(self, step_losses: nn.Module, *, enabled: bool) -> AbstractContextManager[None]:
        """Keep gradients to this process for now, where more of the batch is to come."""
        wrapped: Any = step_losses
        context: AbstractContextManager[None] = self.fabric.no_backward_sync(wrapped, enabled=enabled)
        return context

    def total(self, values_N: Tensor) -> Tensor:
        """Add up a tensor over all processes."""
        if self.processes == 1:
            return values_N
        summed: Any = self.fabric.all_reduce(values_N, reduce_op="sum")
        found: Tensor = summed
        return found

    def gather(self, values: list[T]) -> list[T]:
        """Bring the lists of all processes together, in the order of their ranks."""
        if self.processes == 1:
            return values
        every: list[Any] = [None] * self.processes
        torch.distributed.all_gather_object(every, values)
        return [value for one in every for value in one]

    def wait(self) -> None:
        """Wait for the other processes."""
        self.fabric.barrier()

    def from_first(self, value: T) -> T:
        """Return what the first process has."""
        found: T = self.fabric.broadcast(value) if self.processes > 1 else value
        return found

    def _compile(self, model: SlotModel) -> None:
        # Part by part, in place: names of weights stay, and generators are left outside, which
        # torch.compile cannot take.
        mode = self.spec.training.speed.compile
        if mode == "off":
            return
        for name in ("encoder", "grouping", "decoder"):
            part: Any = getattr(model, name)
            part.compile(mode=mode)
            compiled = part._compiled_call_impl
            part._compiled_call_impl = partial(self._try_compiled, part, name, compiled)

    def _try_compiled(self, part: Any, name: str, compiled: Any, *args: Any, **kwargs: Any) -> Any:
        # The first call compiles. If that fails the part runs as it is, from then on.
        try:
            result = compiled(*args, **kwargs)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            part._compiled_call_impl = None
            inner = getattr(error, "inner_exception", error)  # torch's own error names no cause
            reason = f"{type(inner).__name__}: {inner}".strip().partition("\n")[0]
            self.warn(f"torch.compile failed for the {name}, which runs uncompiled: {reason}")
            return part(*args, **kwargs)
        part._compiled_call_impl = compiled
        return result


def check_gpus(device: torch.device, processes: int) -> None:
    """Refuse to train in more processes than there are GPUs, or on a certain one in several.

    Raises:
        SlotlabError: saying what is there.
    """
    if device.index is not None:
        text = f"--device {device} is one GPU; for {processes} processes write --device cuda"
        raise SlotlabError(f"{text}, and choose GPUs by CUDA_VISIBLE_DEVICES")
    found = torch.cuda.device_count()
    if processes > found:
        raise SlotlabError(f"{processes} processes need a GPU each, and torch sees {found}")


def recomputed(forward: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a part whose activations are computed again in the backward pass, from the same random draws.

    torch puts its own generators back where they were; this does so for those that the part is given.
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
    """Let streams draw again what they drew from a state on, and go on afterwards where they were."""
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
    """Set the precision of float32 matrix products, which torch keeps for the process, and put it back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(spec.training.speed.matmul)
    torch.backends.cudnn.allow_tf32 = spec.training.speed.matmul != "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
