"""Slots of another initializer with a pose: a position, a scale and a rotation, drawn or learned.

Source: Biza et al. 2023, "Invariant Slot Attention": learned vectors, and positions drawn from U(-1, 1),
scales from N(0.1, 0.1) and angles from U(-45, 45) degrees anew for each image.
"""

from collections.abc import Iterable
from math import pi
from typing import Annotated, Any

import torch
from pydantic import NonNegativeFloat
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import InitializerContext, Slots
from slotlab.framework.model.pose import Pose, rotation
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class PosedConfig(ComponentConfig):
    """Settings of slots with a pose."""

    slots: Annotated[Ref, RefTo("initializer")] = "learnable"  # type: ignore[assignment]
    """The initializer of the slots' vectors."""
    learned: bool = False
    """Whether each slot learns its pose, which fixes the number of slots; if not, poses are drawn."""
    scale_mean: float = 0.1
    """Mean of the scales; 2 is the whole side of an image. The grouping clips what is too small."""
    scale_std: NonNegativeFloat = 0.1
    """Standard deviation of the scales; the paper's code has 0.01 for those that are learned."""


class PosedInitializer(nn.Module):
    """Tokens (B, N, D') to slots (B, K, D) with a pose: see `slotlab.framework.model.pose`."""

    def __init__(self, config: PosedConfig, context: InitializerContext):
        super().__init__()
        self.config = config
        self.slots = config.slots.build(context)
        self.fixed_num_slots: bool = config.learned or self.slots.fixed_num_slots
        if config.learned:
            number = context.num_slots
            self.position_K2 = nn.Parameter(torch.empty(number, 2).uniform_(-1, 1))
            self.scale_K2 = nn.Parameter(torch.randn(number, 2) * config.scale_std + config.scale_mean)
            self.angle_K = nn.Parameter(torch.randn(number) * 0.1)

    def forward(
        self, tokens_BND: Tensor, num_slots: int | None = None, *, generator: Generator | None = None
    ) -> Slots:
        """Return slots with a pose, drawn with `generator` or learned."""
        slots: Slots = self.slots(tokens_BND, num_slots, generator=generator)
        pose = self._learned(slots) if self.config.learned else self._drawn(slots, generator)
        return Slots(slots.vectors_BKD, pose.put_in(slots.extras))

    def _learned(self, slots: Slots) -> Pose:
        batch, number = slots.vectors_BKD.shape[:2]
        if number != len(self.position_K2):
            raise ComponentError(f"{len(self.position_K2)} learned poses cannot become {number}")
        matrix_K22 = rotation(self.angle_K.tanh() * pi / 4)
        parts = (self.position_K2, self.scale_K2, matrix_K22)
        return Pose(*(part.expand(batch, *part.shape) for part in parts))

    def _drawn(self, slots: Slots, generator: Generator | None) -> Pose:
        batch, number, _ = slots.vectors_BKD.shape
        like: Any = {"device": slots.vectors_BKD.device, "dtype": slots.vectors_BKD.dtype}
        uniform_BK2 = torch.rand(batch, number, 2, generator=generator, **like)
        normal_BK2 = torch.randn(batch, number, 2, generator=generator, **like)
        turn_BK = torch.rand(batch, number, generator=generator, **like)
        scale_BK2 = self.config.scale_mean + self.config.scale_std * normal_BK2
        return Pose(2 * uniform_BK2 - 1, scale_BK2, rotation((2 * turn_BK - 1) * pi / 4))


@hookimpl
def slotlab_initializers() -> Iterable[Component[PosedConfig]]:
    """Provide `posed`."""
    yield Component(
        name="posed",
        config=PosedConfig,
        build=PosedInitializer,
        summary="another initializer's slots with a position, scale and rotation, drawn or learned",
    )
