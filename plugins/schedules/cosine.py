"""Cosine annealing as torch does it: past `t_max` the rate rises again.

Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts; torch's
`CosineAnnealingLR`.
"""

from collections.abc import Iterable

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, SequentialLR

from slotlab.framework.contracts import ScheduleContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class CosineConfig(ComponentConfig):
    """Settings of cosine annealing."""

    t_max: PositiveInt | None = None
    """Scheduler steps from the phase's rate down to `eta_min`; None for the whole phase."""
    eta_min: NonNegativeFloat = 0.0
    """The lowest rate."""
    warmup: NonNegativeInt = 0
    """Scheduler steps of a linear rise before the cosine; `t_max` counts from their end."""


def build_cosine(config: CosineConfig, context: ScheduleContext) -> LRScheduler:
    """Return torch's scheduler, after a linear rise if there is a warm-up."""
    length = config.t_max or max(context.total_steps - config.warmup, 1)
    if not config.warmup:
        return CosineAnnealingLR(context.optimizer, length, config.eta_min)
    rise = LambdaLR(context.optimizer, lambda step: (step + 1) / (config.warmup + 1))
    fall = CosineAnnealingLR(context.optimizer, length, config.eta_min)
    return SequentialLR(context.optimizer, [rise, fall], milestones=[config.warmup])


@hookimpl
def slotlab_schedules() -> Iterable[Component[CosineConfig]]:
    """Provide `cosine`."""
    yield Component(
        name="cosine",
        config=CosineConfig,
        build=build_cosine,
        summary="cosine annealing; rises again past t_max",
    )
