"""The codec that an objective names: built, and frozen where it was trained before."""

from typing import Any

from torch import nn

from slotlab.framework.contracts import Codec, CodecContext, ObjectiveContext
from slotlab.registry import ComponentError, Ref

HINT = "train it by a spec of its own, and write 'codec: {name: trained, source: {run: ../runs/NAME}}'"


def frozen_codec(ref: Ref, context: ObjectiveContext, *, wanted: type, what: str) -> Any:
    """Build the codec that an objective's setting `codec` names: in evaluation mode, without gradients.

    Args:
        ref: the setting.
        context: the objective's.
        wanted: what the codec must be able to do, a protocol such as `LatentCodec`.
        what: in words: `latents`.

    Raises:
        ComponentError: at `codec`, if it cannot be built, cannot do what is wanted, or was never trained:
            an objective would then be one of random latents.
    """
    codec = built_codec(ref, context, wanted=wanted, what=what)
    if not codec.own_weights:
        raise ComponentError(f"{ref.name}: has random weights here; {HINT}", field="codec")
    return frozen(codec)


def frozen(codec: Any) -> Any:
    """Bring a codec into evaluation mode and without gradients, and return it."""
    return codec.eval().requires_grad_(False)


def built_codec(ref: Ref, context: ObjectiveContext, *, wanted: type, what: str) -> Any:
    """Build the codec that an objective's setting `codec` names; arguments are those of `frozen_codec`.

    Raises:
        ComponentError: at `codec`, if it cannot be built or cannot do what is wanted.
    """
    images = CodecContext(
        image_size=context.image_size,
        image_channels=context.image_channels,
        value_range=context.value_range,
    )
    try:
        codec: Any = ref.build(images)
        if not isinstance(codec, nn.Module) or not isinstance(codec, Codec):
            raise ComponentError("what it builds is no codec")
        if not isinstance(codec, wanted):
            raise ComponentError(f"has no {what}, which this objective predicts")
    except ComponentError as error:
        raise ComponentError(f"{ref.name}: {error}", field="codec") from None
    return codec
