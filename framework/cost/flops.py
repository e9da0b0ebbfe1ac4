"""Floating-point operations (FLOPs) of a training step, counted by running it on the meta device."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from slotlab.framework.contracts import Batch
from slotlab.framework.model.build import Builder
from slotlab.framework.model.needs import blank_fields
from slotlab.framework.model.parameter_groups import parameter_groups
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.training.nan_guard import parts, tensors_of

REST = "rest"
"""Operations outside the parts that are modules: mostly those of the loss."""
_IMAGES = 2  # batch normalization over a single position refuses a single image


@dataclass(frozen=True)
class Flops:
    """Operations per image, or frame of a clip, by part of the model.

    A multiplication and an addition count as two.
    Convolutions and matrix products are counted, which are nearly all; norms and activations are
    not. Activations that are recomputed to save memory (`training.speed.recompute`) count once.
    """

    forward: dict[str, int]
    training: dict[str, int]
    """Forward and backward."""
    parameters: int
    """Weights that are trained."""

    @property
    def image_training(self) -> int:
        """The operations of all parts, forward and backward."""
        return sum(self.training.values())


@dataclass
class _Ledger:
    """Charges the operations, as they are counted, to the part of the model that computes.

    torch's own `FlopCounterMode.get_flop_counts` charges the backward pass only to modules that take and
    return plain tensors; groupings and decoders return dataclasses.
    """

    counter: FlopCounterMode
    current: str = REST
    seen: int = 0
    charged: dict[str, int] = field(default_factory=dict)

    def enter(self, part: str) -> None:
        total = self.counter.get_total_flops()
        self.charged[self.current] = self.charged.get(self.current, 0) + total - self.seen
        self.current, self.seen = part, total

    def follow(self, part: nn.Module, name: str) -> None:
        part.register_forward_pre_hook(lambda module, inputs: self.enter(name))
        part.register_forward_hook(self._leave(name))

    def _leave(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            self.enter(REST)
            # Backward goes from the last part to the first: a gradient that arrives at a part's
            # output is where that part begins.
            for tensor in tensors_of(output):
                if tensor.requires_grad:
                    tensor.register_hook(self._arrive(name))  # type: ignore[no-untyped-call]

        return leave

    def _arrive(self, name: str) -> Callable[[Tensor], None]:
        return lambda gradient: self.enter(name)


def count_flops(spec: ExperimentSpec) -> Flops:
    """Count the operations of a training step of a spec's model, per image, or per frame of clips.

    No values are computed, and the count does not depend on the device that trains.

    Raises:
        Exception: of any type, from a component that does not work on the meta device.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = Builder(spec).model()
        assert model is not None  # its parts were checked before
        parameter_groups(spec, model, 1.0)  # frozen weights have no gradient to compute
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        frames = spec.data.frames
        images = _IMAGES * frames
        images_BCHW = torch.zeros(images, 3, *spec.data.size)
        batch = Batch(
            images_BCHW=images_BCHW,
            masks_BHW=torch.zeros(images, *spec.data.size, dtype=torch.int64),
            ids=tuple(map(str, range(_IMAGES))),
            attributes=({},) * images,
            frames=frames,
            fields=blank_fields(model.fields, images_BCHW),
        )
        with FlopCounterMode(display=False) as counter:
            ledger = _Ledger(counter)
            for name, part in parts(model):
                ledger.follow(part, name)
            loss = model.losses(batch).total
            ledger.enter(REST)
            forward = dict(ledger.charged)
            loss.backward()  # type: ignore[no-untyped-call]
            ledger.enter(REST)
    return Flops(_per_image(forward, images), _per_image(ledger.charged, images), trained)


def _per_image(charged: dict[str, int], images: int) -> dict[str, int]:
    return {name: count // images for name, count in charged.items() if count}
