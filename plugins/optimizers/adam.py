"""Adam. Source: Kingma and Ba 2015, algorithm 1."""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Lt
from pydantic import NonNegativeFloat, PositiveFloat
from torch.optim import Adam

from slotlab.framework.contracts import OptimizerContext
from slotlab.registry import Component, ComponentConfig, hookimpl

_Decay = Annotated[float, Ge(0), Lt(1)]


class AdamConfig(ComponentConfig):
    """Settings of Adam; torch's defaults."""

    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty, added to the gradient."""


def build_adam(config: AdamConfig, context: OptimizerContext) -> Adam:
    """Return torch's Adam over the context's parameters."""
    return Adam(context.params, lr=context.lr, fused=context.fused or None, **config.model_dump())


@hookimpl
def slotlab_optimizers() -> Iterable[Component[AdamConfig]]:
    """Provide `adam`."""
    yield Component(name="adam", config=AdamConfig, build=build_adam, summary="Adam as in torch")
