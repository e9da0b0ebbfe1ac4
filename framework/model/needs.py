"""What an objective's target is made of besides images and features, and where it comes from."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from slotlab.framework.contracts import (
    FIELD_CHANNELS,
    Field,
    HasNeeds,
    MaskedWithTarget,
    ModelContext,
    Need,
)
from slotlab.registry import ComponentError

ARGUMENTS: Mapping[Field, str] = {"flow": "flow_B2HW", "depth": "depth_B1HW"}
"""What an objective's `target` calls the fields."""


def needs_of(objective: object) -> Sequence[Need]:
    """Return what an objective needs; nothing, if it does not say."""
    return tuple(objective.needs) if isinstance(objective, HasNeeds) else ()


def fields_of(objective: object) -> Sequence[Field]:
    """Return the fields that an objective needs."""
    return [name for name in ARGUMENTS if name in needs_of(objective)]


def given_to(objective: object, frames: int, fields: Mapping[Field, Tensor]) -> dict[str, Any]:
    """Return the further arguments of an objective's `target`.

    Args:
        objective: it says what it needs.
        frames: how many frames each clip has.
        fields: those of the images, of which there may be more.

    Raises:
        ComponentError: if a field is missing.
    """
    given: dict[str, Any] = {"frames": frames} if "frames" in needs_of(objective) else {}
    for name in fields_of(objective):
        if name not in fields:
            text = f"its target is made of {name}, which is not there: a loader reads it for a training alone"
            raise ComponentError(text)
        given[ARGUMENTS[name]] = fields[name]
    return given


def blank_fields(names: Sequence[Field], images_BCHW: Tensor) -> dict[Field, Tensor]:
    """Return fields of zeros for images without data: at rest, and nowhere."""
    batch, _, rows, columns = images_BCHW.shape
    return {name: images_BCHW.new_zeros(batch, FIELD_CHANNELS[name], rows, columns) for name in names}


def check_told(objective: object, decoder: object, context: ModelContext) -> None:
    """Refuse a decoder whose measured masks are told a target that an evaluation cannot make."""
    if not needs_of(objective) or not isinstance(decoder, MaskedWithTarget) or not decoder.masks_with_target:
        return
    text = f"its masks are told the target, which is made of {', '.join(needs_of(objective))}"
    text = f"{text}: an evaluation does not have that; take another decoder, or its masks without the target"
    context.parts.mistake(text, "decoder")
