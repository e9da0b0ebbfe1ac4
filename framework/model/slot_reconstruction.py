"""What a slot model makes of images that it is shown and told nothing else of: what is measured and shown."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Generator, Tensor

from slotlab.framework.contracts import NO_IMAGE, Decoded, RandomSource, Reconstruction, Sampler
from slotlab.framework.contracts.promises import expect_decoded
from slotlab.framework.model.encoded import Encoded
from slotlab.framework.randomness.noise import copied
from slotlab.registry import SlotlabError

if TYPE_CHECKING:
    from slotlab.framework.model.slot_model import SlotModel

TEACHING = "the decoder needs the target, which an evaluation does not give it, and has no method 'sample'"
"""Why there may be no picture of a reconstruction."""


@dataclass(frozen=True)
class SlotReconstruction:
    """Images whose slots were found, on their way to masks and pictures."""

    model: "SlotModel"
    images_BCHW: Tensor
    encoded: Encoded

    def made(self, painting: RandomSource) -> Reconstruction:
        """Decode the slots without the target; `painting` is the noise of pictures.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        model, encoded = self.model, self.encoded
        slots, told = encoded.grouped.slots, None
        if model.is_told:
            target_BCHW = model.target(self.images_BCHW, encoded)
            told = self._told(target_BCHW, copied(painting))
            if not model.makes_pictures(target_BCHW):
                return Reconstruction(encoded.found, told, None, NO_IMAGE)
        try:
            with model.calling("decoder"):
                decoded = model.painted(slots, encoded.grouped, painting)
        except SlotlabError as error:
            if isinstance(model.decoder, Sampler) or not self._decodes_with_target():
                raise
            return Reconstruction(encoded.found, None, None, f"{TEACHING} ({error})")
        decoded = model.as_promised(decoded, slots)
        if told is not None:
            decoded = replace(decoded, masks_BKHW=told.masks_BKHW)
        with model.calling("objective"):
            pictures_BCHW = model.objective.to_image(decoded.prediction_BCHW)
        lacking = "" if pictures_BCHW is not None else NO_IMAGE
        return Reconstruction(encoded.found, decoded, pictures_BCHW, lacking)

    def _told(self, target_BCHW: Tensor, painting: RandomSource) -> Decoded:
        """Decode as in training: the decoder receives the target, which is made of the images alone."""
        model, grouped = self.model, self.encoded.grouped
        with model.calling("decoder"):
            told = model.decode(grouped.slots, grouped=grouped, target_BCHW=target_BCHW, generator=painting)
        with model.promising("decoder"):
            batch, number = grouped.slots.vectors_BKD.shape[:2]
            expect_decoded(told, batch, number, model.objective.target_shape, method="forward")
        return told

    def _decodes_with_target(self) -> bool:
        """Return whether the decoder works if it receives the target."""
        stream = Generator(self.images_BCHW.device).manual_seed(0)
        grouped = self.encoded.grouped
        try:
            target_BCHW = self.model.target(self.images_BCHW, self.encoded)
            self.model.decode(grouped.slots, grouped=grouped, target_BCHW=target_BCHW, generator=stream)
        except Exception:  # the mistake is elsewhere; the first error says more
            return False
        return True
