"""Exponential decay by half-lives after a linear warm-up, as in the Slot Attention paper.

Source: Locatello et al. 2020, section E.2, and `object_discovery/train.py` of its repository: the rate
is `lr * min(step / warmup, 1) * 0.5 ** (step / half_life)`; decay goes on during the warm-up. With
`decay: after_warmup` it is `lr * 0.5 ** ((step - warmup) / half_life)` once the warm-up is over, and
`lr * step / warmup` before: Seitzer et al. 2023 (DINOSAUR), appendix D, and its repository.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from torch.optim.lr_scheduler import LambdaLR

from slotlab.framework.contracts import ScheduleContext
from slotlab.registry import Component, ComponentConfig, hookimpl


class HalfLifeConfig(ComponentConfig):
    """Settings of exponential decay."""

    half_life: PositiveInt
    """Scheduler steps in which the rate halves: 100,000 in the paper."""
    warmup: NonNegativeInt = 0
    """Scheduler steps over which the rate rises from 0: 10,000 in the paper."""
    decay: Literal["from_start", "after_warmup"] = "from_start"
    """When decay begins: at the first step, as in the Slot Attention paper, so that the full rate is never
    reached; or when the warm-up has ended, as in DINOSAUR."""


def build_half_life(config: HalfLifeConfig, context: ScheduleContext) -> LambdaLR:
    """Return torch's scheduler with the factor of the chosen paper."""
    late = config.warmup if config.decay == "after_warmup" else 0

    def factor(step: int) -> float:
        rise = min(step / config.warmup, 1.0) if config.warmup else 1.0
        decay: float = 0.5 ** (max(step - late, 0) / config.half_life)
        return rise * decay

    return LambdaLR(context.optimizer, factor)


@hookimpl
def slotlab_schedules() -> Iterable[Component[HalfLifeConfig]]:
    """Provide `half_life`."""
    yield Component(
        name="half_life",
        config=HalfLifeConfig,
        build=build_half_life,
        summary="exponential decay after an optional warm-up, as in the Slot Attention paper",
    )
