"""The phase's learning rate throughout, after an optional linear warm-up."""

from collections.abc import Iterable

from pydantic import NonNegativeInt
from torch.optim.lr_scheduler import LambdaLR

from slotlab.framework.contracts import ScheduleContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class ConstantConfig(ComponentConfig):
    """Settings of the constant schedule."""

    warmup: NonNegativeInt = 0
    """Scheduler steps (see the phase's `interval`) over which the rate rises linearly to its full value."""


def build_constant(config: ConstantConfig, context: ScheduleContext) -> LambdaLR:
    """Return a scheduler whose factor is (step + 1) / (warmup + 1), at most 1."""
    return LambdaLR(context.optimizer, lambda step: min(1.0, (step + 1) / (config.warmup + 1)))


@hookimpl
def slotlab_schedules() -> Iterable[Component[ConstantConfig]]:
    """Provide `constant`."""
    yield Component(
        name="constant",
        config=ConstantConfig,
        build=build_constant,
        summary="one rate, after an optional warm-up",
    )
