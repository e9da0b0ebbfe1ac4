"""What a slot model makes of slots: the decoder's pictures and masks, and the objective's images."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    Guided,
    HasSampling,
    MaskedWithTarget,
    Model,
    Objective,
    RandomSource,
    Sampler,
    SamplesInSteps,
    SamplesTogether,
    Slots,
)
from slotlab.framework.contracts.promises import expect_decoded
from slotlab.framework.model.prepared import codec_of
from slotlab.framework.randomness.noise import with_noise


class SlotPainter(Model):
    """The half of a slot model that begins with slots: it needs a decoder and an objective."""

    decoder: nn.Module
    objective: Objective

    @property
    def sampling(self) -> Mapping[str, Any] | None:
        """The settings by which the decoder makes pictures; None if it has none."""
        return self.decoder.sampling if isinstance(self.decoder, HasSampling) else None

    def decode(
        self,
        slots: Slots,
        *,
        grouped: Grouped | None = None,
        target_BCHW: Tensor | None = None,
        generator: RandomSource = None,
    ) -> Decoded:
        """Decode slots as in training: for the loss."""

        def run(
            slots: Slots, grouped: Grouped | None, target_BCHW: Tensor | None, *, generator: Generator | None
        ) -> Decoded:
            guide = self.guide(grouped)
            decoded: Decoded = self.decoder(slots, target_BCHW=target_BCHW, generator=generator, **guide)
            return decoded

        return with_noise(run, generator, slots, grouped, target_BCHW)

    def guide(self, grouped: Grouped | None) -> dict[str, Any]:
        """Return the further arguments of the decoder: the grouping, if it uses it."""
        return {"grouped": grouped} if isinstance(self.decoder, Guided) and self.decoder.guided else {}

    def paint(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Decode slots without a target, also slots that were mixed or drawn and belong to no image.

        Uses the decoder's `sample` if it has it; other decoders are called with `target_BCHW=None`.

        Raises:
            SlotlabError: with the name of the decoder, if its output breaks its promise.
        """
        return self.as_promised(self.painted(slots, None, generator), slots)

    def paint_steps(self, slots: Slots, *, generator: RandomSource = None) -> Iterator[Tensor] | None:
        """Yield the decoder's predictions on the way to that of `paint`; None if there is but one step."""
        decoder = self.decoder
        return decoder.strip(slots, generator=generator) if isinstance(decoder, SamplesInSteps) else None

    @property
    def has_codec(self) -> bool:
        """Whether pictures are made by the codec of the objective."""
        return codec_of(self.objective) is not None

    @torch.no_grad()
    def through_codec(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the objective's codec."""
        back_BCHW: Tensor = codec_of(self.objective).reconstruct(images_BCHW)
        return back_BCHW

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as images in the spec's value range, or None if it is not an image."""
        return self.objective.to_image(prediction_BCHW)

    def painted(self, slots: Slots, grouped: Grouped | None, generator: RandomSource) -> Decoded:
        """Decode slots without a target: by `sample`, where the decoder has it."""
        decoder = self.decoder
        if not isinstance(decoder, Sampler):
            return self.decode(slots, grouped=grouped, generator=generator)

        def run(slots: Slots, grouped: Grouped | None, *, generator: Any) -> Decoded:
            return decoder.sample(slots, generator=generator, **self.guide(grouped))

        if isinstance(decoder, SamplesTogether) and decoder.streams_per_image:
            return run(slots, grouped, generator=generator)
        return with_noise(run, generator, slots, grouped)

    def as_promised(self, painted: Decoded, slots: Slots) -> Decoded:
        """Return what was painted, compared with the decoder's promise."""
        batch, number = slots.vectors_BKD.shape[:2]
        method = "sample" if isinstance(self.decoder, Sampler) else "forward"
        with self.promising("decoder"):
            expect_decoded(painted, batch, number, self.objective.target_shape, method=method)
        return painted

    @property
    def is_told(self) -> bool:
        """Whether the masks of images that are measured are those of a decoder that is told the target."""
        return isinstance(self.decoder, MaskedWithTarget) and self.decoder.masks_with_target

    def makes_pictures(self, target_BCHW: Tensor) -> bool:
        """Return whether targets, and so predictions, are images or what images are made of."""
        with self.calling("objective"):
            return self.objective.to_image(target_BCHW) is not None
