"""The slot autoencoder: images to features to slots, and slots to what the objective asks for.

The family of Locatello et al. 2020, section 2.2; with other parts also DINOSAUR's (Seitzer et al. 2023),
which predicts features in place of pixels.
"""

from collections.abc import Iterable

from slotlab.framework.contracts import ModelContext
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.slot_parts import SlotModelConfig, build_slot_parts
from slotlab.registry import Component, hookimpl


class SlotAutoencoderConfig(SlotModelConfig):
    """Encoder, projection to tokens, initial slots, grouping, decoder."""


def build(config: SlotAutoencoderConfig, context: ModelContext) -> SlotModel | None:
    """Build all parts, in the order in which data passes them; None if one fails."""
    parts = build_slot_parts(config, context)
    return None if parts is None else SlotModel(**parts)


@hookimpl
def slotlab_models() -> Iterable[Component[SlotAutoencoderConfig]]:
    """Provide `slot_autoencoder`."""
    yield Component(
        name="slot_autoencoder",
        config=SlotAutoencoderConfig,
        build=build,
        summary="encoder, slots and decoder, trained to predict what the objective asks for",
    )
