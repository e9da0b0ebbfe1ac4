"""What a batch is compared with, and the losses of what makes it, where an objective trains that."""

from typing import Any, TypeGuard

from torch import nn

from slotlab.framework.contracts import Codec, Losses, TrainsWithTarget
from slotlab.framework.model.held import Held


def trains_with_target(objective: object) -> TypeGuard[TrainsWithTarget]:
    """Return whether an objective trains what makes its target, with its present settings."""
    return isinstance(objective, TrainsWithTarget) and objective.trains_with_target


def added(losses: Losses, beside: Losses | None) -> Losses:
    """Return an objective's losses with those of what makes its target."""
    if beside is None:
        return losses
    return Losses(losses.total + beside.total, {**losses.terms, **beside.terms})


def codec_of(objective: Any) -> Any:
    """Return the codec of an objective, frozen or trained with the rest; None for one without."""
    codec: nn.Module | None = getattr(objective, "codec", None)
    if isinstance(codec, Held):
        return codec.module
    return codec if isinstance(codec, Codec) else None
