"""A slot model: encoder, projection, initial slots, grouping, decoder. Composition only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    NO_IMAGE,
    Batch,
    Decoded,
    Found,
    Grouped,
    Guided,
    HasSampling,
    Losses,
    MaskedWithTarget,
    Model,
    ModelOutput,
    Objective,
    RandomSource,
    Reconstruction,
    Sampler,
    SamplesInSteps,
    SamplesTogether,
    Size,
    Slots,
    Trial,
)
from slotlab.framework.contracts.promises import expect_decoded, expect_type
from slotlab.framework.model.encoded import Encoded
from slotlab.framework.model.half_features import features_of
from slotlab.framework.model.half_targets import target_of
from slotlab.framework.model.slot_trial import SlotTrial
from slotlab.framework.randomness.noise import copied, with_noise
from slotlab.registry import SlotlabError


class SlotModel(Model):
    """Encoder, projection, initializer, grouping, decoder, objective and auxiliary losses, put together.

    Every random draw comes from the `generator` argument. With one generator per image the results of an
    image do not depend on its batch (`with_noise`).
    """

    compiled = ("encoder", "grouping", "decoder")

    def __init__(
        self,
        *,
        encoder: nn.Module,
        projection: nn.Module,
        initializer: nn.Module,
        grouping: nn.Module,
        decoder: nn.Module,
        objective: Objective,
        num_slots: int,
        slot_dim: int,
        traced: bool = False,
        auxiliary: Mapping[str, nn.Module] | None = None,
        names: Mapping[str, str] | None = None,
        half_features: bool = False,
        half_targets: bool = False,
        image_size: Size | None = None,
    ):
        super().__init__(names)
        self.image_size = image_size
        """(rows, columns) of its images; None for a model that is not told."""
        self.half_features, self.half_targets = half_features, half_targets
        self.num_slots, self.slot_dim = num_slots, slot_dim
        self.traced = traced
        """Whether an auxiliary loss reads the grouping's trace."""
        self.encoder = encoder
        self.projection = projection
        self.initializer = initializer
        self.grouping = grouping
        self.decoder = decoder
        self.objective = objective
        if auxiliary:
            self.auxiliary = nn.ModuleDict(dict(auxiliary))

    @property
    def fixed_num_slots(self) -> bool:
        """Whether the initializer makes the trained number of slots alone."""
        return bool(self.initializer.fixed_num_slots)

    @property
    def sampling(self) -> Mapping[str, Any] | None:
        """The settings by which the decoder makes pictures; None if it has none."""
        return self.decoder.sampling if isinstance(self.decoder, HasSampling) else None

    def encode(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        features_BCHW: Tensor | None = None,
    ) -> Encoded:
        """Find the slots of images (B, 3, H, W), float, in the spec's value range; features may be given.

        Raises:
            SlotlabError: with the name of the part, if one raises.
        """
        self._check(images_BCHW)

        def initial_slots(tokens_BND: Tensor, *, generator: Generator | None) -> Slots:
            slots: Slots = self.initializer(tokens_BND, num_slots, generator=generator)
            return slots

        if features_BCHW is None:
            with self.calling("encoder"):
                features_BCHW = features_of(self.encoder, images_BCHW, half=self.half_features)
        with self.calling("projection"):
            tokens_BND = self.projection(features_BCHW)
        with self.calling("initializer"):
            initial = with_noise(initial_slots, generator, tokens_BND)
        with self.promising("initializer"):
            expect_type(initial, Slots)
        with self.calling("grouping"):
            grouped = with_noise(self.grouping, generator, tokens_BND, initial)
        with self.promising("grouping"):
            expect_type(grouped, Grouped)
        return Encoded(features_BCHW, tokens_BND, initial, grouped)

    def _check(self, images_BCHW: Tensor) -> None:
        """Refuse what is no batch of this model's images."""
        size = self.image_size
        fits = isinstance(images_BCHW, Tensor) and images_BCHW.dim() == 4 and images_BCHW.is_floating_point()
        if not fits or size not in (None, tuple(images_BCHW.shape[2:])):
            wanted = "H, W" if size is None else f"{size[0]}, {size[1]}"
            given = type(images_BCHW).__name__
            if isinstance(images_BCHW, Tensor):
                given = f"{str(images_BCHW.dtype).removeprefix('torch.')} {tuple(images_BCHW.shape)}"
            raise SlotlabError(f"images are floats (B, 3, {wanted}) in the spec's value range, not {given}")

    def find_slots(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> Found:
        """Find the slots of images, as `encode` does."""
        return self.encode(images_BCHW, num_slots=num_slots, generator=generator).found

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
        return self._as_promised(self._painted(slots, None, generator), slots)

    def paint_steps(self, slots: Slots, *, generator: RandomSource = None) -> Iterator[Tensor] | None:
        """Yield the decoder's predictions on the way to that of `paint`; None if there is but one step."""
        decoder = self.decoder
        return decoder.strip(slots, generator=generator) if isinstance(decoder, SamplesInSteps) else None

    @property
    def has_codec(self) -> bool:
        """Whether pictures are made by the codec of the objective."""
        return hasattr(self.objective, "codec")

    @torch.no_grad()
    def through_codec(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the objective's codec."""
        objective: Any = self.objective
        back_BCHW: Tensor = objective.codec.module.reconstruct(images_BCHW)
        return back_BCHW

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as images in the spec's value range, or None if it is not an image."""
        return self.objective.to_image(prediction_BCHW)

    def _painted(self, slots: Slots, grouped: Grouped | None, generator: RandomSource) -> Decoded:
        decoder = self.decoder
        if not isinstance(decoder, Sampler):
            return self.decode(slots, grouped=grouped, generator=generator)

        def run(slots: Slots, grouped: Grouped | None, *, generator: Any) -> Decoded:
            return decoder.sample(slots, generator=generator, **self.guide(grouped))

        if isinstance(decoder, SamplesTogether) and decoder.streams_per_image:
            return run(slots, grouped, generator=generator)
        return with_noise(run, generator, slots, grouped)

    def _as_promised(self, painted: Decoded, slots: Slots) -> Decoded:
        batch, number = slots.vectors_BKD.shape[:2]
        method = "sample" if isinstance(self.decoder, Sampler) else "forward"
        with self.promising("decoder"):
            expect_decoded(painted, batch, number, self.objective.target_shape, method=method)
        return painted

    def forward(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        features_BCHW: Tensor | None = None,
        target_BCHW: Tensor | None = None,
    ) -> ModelOutput:
        """Encode, find the target and decode, as in training: the decoder receives the target.

        Features and target may be given.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        encoded = self.encode(
            images_BCHW, num_slots=num_slots, generator=generator, features_BCHW=features_BCHW
        )
        grouped = encoded.grouped
        if target_BCHW is None:
            target_BCHW = self._target(images_BCHW, encoded)
        with self.calling("decoder"):
            decoded = self.decode(
                grouped.slots, grouped=grouped, target_BCHW=target_BCHW, generator=generator
            )
        with self.promising("decoder"):
            expect_type(decoded, Decoded)
        return ModelOutput(
            images_BCHW=images_BCHW,
            features_BCHW=encoded.features_BCHW,
            tokens_BND=encoded.tokens_BND,
            initial=encoded.initial,
            grouped=grouped,
            decoded=decoded,
            target_BCHW=target_BCHW,
            grid=encoded.grid,
            generator=generator,
        )

    def losses(self, batch: Batch, *, generator: RandomSource = None) -> Losses:
        """Return the objective's losses; auxiliary ones are added to the total, each with its weight.

        Raises:
            SlotlabError: for what is no batch, and naming the part, if one raises.
        """
        if not isinstance(batch, Batch):
            raise SlotlabError(
                f"losses are those of a slotlab.contracts.Batch, not of a {type(batch).__name__}"
            )
        stored = {"features_BCHW": batch.features_BCHW, "target_BCHW": batch.target_BCHW}
        output = self(batch.images_BCHW, generator=generator, **stored)
        with self.calling("objective"):
            losses = self.objective.loss(output.decoded, output.target_BCHW)
        if not hasattr(self, "auxiliary"):
            return losses
        total, terms = losses.total, {"objective": losses.total, **losses.terms}
        for name, auxiliary in self.auxiliary.items():
            with self.calling(f"auxiliary.{name}"):
                found: Losses = auxiliary(output)
            total = total + found.total
            terms |= {name: found.total, **{f"{name}/{key}": term for key, term in found.terms.items()}}
        return Losses(total, terms)

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
        features_BCHW: Tensor | None = None,
    ) -> Reconstruction:
        """Find the slots of images and decode them without the target, as evaluation and figures do.

        `generator` is the noise of slots, `painting` that of pictures, for a decoder that draws.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        encoded = self.encode(
            images_BCHW, num_slots=num_slots, generator=generator, features_BCHW=features_BCHW
        )
        slots = encoded.grouped.slots
        told = self._told(images_BCHW, encoded, copied(painting)) if self.is_told else None
        if told is not None and not self.makes_pictures(self._target(images_BCHW, encoded)):
            return Reconstruction(encoded.found, told, None, NO_IMAGE)
        try:
            with self.calling("decoder"):
                decoded = self._painted(slots, encoded.grouped, painting)
        except SlotlabError as error:
            if isinstance(self.decoder, Sampler) or not self._decodes_with_target(images_BCHW, encoded):
                raise
            return Reconstruction(encoded.found, None, None, f"{TEACHING} ({error})")
        decoded = self._as_promised(decoded, slots)
        if told is not None:
            decoded = replace(decoded, masks_BKHW=told.masks_BKHW)
        with self.calling("objective"):
            pictures_BCHW = self.objective.to_image(decoded.prediction_BCHW)
        lacking = "" if pictures_BCHW is not None else NO_IMAGE
        return Reconstruction(encoded.found, decoded, pictures_BCHW, lacking)

    @property
    def is_told(self) -> bool:
        """Whether the masks of images that are measured are those of a decoder that is told the target."""
        return isinstance(self.decoder, MaskedWithTarget) and self.decoder.masks_with_target

    def makes_pictures(self, target_BCHW: Tensor) -> bool:
        """Return whether targets, and so predictions, are images or what images are made of."""
        with self.calling("objective"):
            return self.objective.to_image(target_BCHW) is not None

    def _target(self, images_BCHW: Tensor, encoded: Encoded) -> Tensor:
        with self.calling("objective"):
            return target_of(self.objective, images_BCHW, encoded.features_BCHW, half=self.half_targets)

    def _told(self, images_BCHW: Tensor, encoded: Encoded, painting: RandomSource) -> Decoded:
        """Decode as in training: the decoder receives the target, which is made of the images alone."""
        grouped = encoded.grouped
        target_BCHW = self._target(images_BCHW, encoded)
        with self.calling("decoder"):
            told = self.decode(grouped.slots, grouped=grouped, target_BCHW=target_BCHW, generator=painting)
        with self.promising("decoder"):
            batch, number = grouped.slots.vectors_BKD.shape[:2]
            expect_decoded(told, batch, number, self.objective.target_shape, method="forward")
        return told

    def _decodes_with_target(self, images_BCHW: Tensor, encoded: Encoded) -> bool:
        """Return whether the decoder works if it receives the target."""
        stream, grouped = Generator(images_BCHW.device).manual_seed(0), encoded.grouped
        try:
            target_BCHW = self._target(images_BCHW, encoded)
            self.decode(grouped.slots, grouped=grouped, target_BCHW=target_BCHW, generator=stream)
        except Exception:  # the mistake is elsewhere; the first error says more
            return False
        return True

    def rehearse(self, trial: Trial) -> None:
        """Pass two images through part by part, and compare each part with its promises."""
        SlotTrial(trial, self).through()


TEACHING = "the decoder needs the target, which an evaluation does not give it, and has no method 'sample'"
"""Why there may be no picture of a reconstruction."""
