"""AdamW: Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019."""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Lt
from pydantic import NonNegativeFloat, PositiveFloat
from torch.optim import AdamW

from slotlab.framework.contracts import OptimizerContext
from slotlab.registry import Component, ComponentConfig, hookimpl

_Decay = Annotated[float, Ge(0), Lt(1)]


class AdamWConfig(ComponentConfig):
    """Settings of AdamW; torch's defaults."""

    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegativeFloat = 0.01
    """Each step subtracts this share of a weight, times the learning rate."""


def build_adamw(config: AdamWConfig, context: OptimizerContext) -> AdamW:
    """Return torch's AdamW over the context's parameters."""
    return AdamW(context.params, lr=context.lr, fused=context.fused or None, **config.model_dump())


@hookimpl
def slotlab_optimizers() -> Iterable[Component[AdamWConfig]]:
    """Provide `adamw`."""
    yield Component(
        name="adamw", config=AdamWConfig, build=build_adamw, summary="Adam with decoupled weight decay"
    )
