"""Cosine annealing as torch does it: past `t_max` the rate rises again.

Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts; torch's
`CosineAnnealingLR`.
"""

from collections.abc import Iterable

from pydantic import NonNegativeFloat, PositiveInt
from torch.optim.lr_scheduler import CosineAnnealingLR

from slotlab.framework.contracts import ScheduleContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class CosineConfig(ComponentConfig):
    """Settings of cosine annealing."""

    t_max: PositiveInt | None = None
    """Scheduler steps from the phase's rate down to `eta_min`; None for the whole phase."""
    eta_min: NonNegativeFloat = 0.0
    """The lowest rate."""


def build_cosine(config: CosineConfig, context: ScheduleContext) -> CosineAnnealingLR:
    """Return torch's scheduler."""
    return CosineAnnealingLR(context.optimizer, config.t_max or max(context.total_steps, 1), config.eta_min)


@hookimpl
def slotlab_schedules() -> Iterable[Component[CosineConfig]]:
    """Provide `cosine`."""
    yield Component(
        name="cosine",
        config=CosineConfig,
        build=build_cosine,
        summary="cosine annealing; rises again past t_max",
    )
