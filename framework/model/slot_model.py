"""A slot model: encoder, projection, initial slots, grouping, decoder. Composition only."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Batch,
    Decoded,
    Field,
    Found,
    Grouped,
    Losses,
    ModelOutput,
    Objective,
    Prepared,
    RandomSource,
    Reconstruction,
    Size,
    Slots,
    TargetOfImages,
    Trial,
)
from slotlab.framework.contracts.promises import expect_type
from slotlab.framework.model.encoded import Encoded
from slotlab.framework.model.half_features import features_of
from slotlab.framework.model.half_targets import target_of
from slotlab.framework.model.needs import fields_of, given_to
from slotlab.framework.model.prepared import added, trains_with_target
from slotlab.framework.model.slot_painter import SlotPainter
from slotlab.framework.model.slot_reconstruction import SlotReconstruction
from slotlab.framework.model.slot_trial import SlotTrial
from slotlab.framework.randomness.noise import with_noise
from slotlab.registry import SlotlabError


class SlotModel(SlotPainter):
    """Encoder, projection, initializer, grouping, decoder, objective and auxiliary losses, put together.

    Every random draw comes from the `generator` argument. With one generator per image the results of an
    image do not depend on its batch (`with_noise`).
    """

    compiled: Sequence[str] = ("encoder", "grouping", "decoder")

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
        between: Mapping[str, nn.Module] | None = None,
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
        for name, part in (between or {}).items():  # parts of other models, before the decoder
            setattr(self, name, part)
        self.decoder = decoder
        self.objective = objective
        self.fields = fields_of(objective)
        if auxiliary:
            self.auxiliary = nn.ModuleDict(dict(auxiliary))

    @property
    def fixed_num_slots(self) -> bool:
        """Whether the initializer makes the trained number of slots alone."""
        return bool(self.initializer.fixed_num_slots)

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
        features_BCHW, tokens_BND = self.tokens(images_BCHW, features_BCHW)
        initial = self.initial_slots(tokens_BND, num_slots, generator)
        with self.calling("grouping"):
            grouped = with_noise(self.grouping, generator, tokens_BND, initial)
        with self.promising("grouping"):
            expect_type(grouped, Grouped)
        return Encoded(features_BCHW, tokens_BND, initial, grouped)

    def tokens(self, images_BCHW: Tensor, features_BCHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the features of images, which may be given, and the tokens (B, N, D')."""
        self._check(images_BCHW)
        if features_BCHW is None:
            with self.calling("encoder"):
                features_BCHW = features_of(self.encoder, images_BCHW, half=self.half_features)
        with self.calling("projection"):
            tokens_BND: Tensor = self.projection(features_BCHW)
        return features_BCHW, tokens_BND

    def initial_slots(
        self,
        tokens_BND: Tensor,
        num_slots: int | None,
        generator: RandomSource,
        cues_BKC: Tensor | None = None,
    ) -> Slots:
        """Return the slots before the first iteration, for an initializer that takes them made of cues."""

        def run(tokens_BND: Tensor, cues_BKC: Tensor | None, *, generator: Generator | None) -> Slots:
            told = {} if cues_BKC is None else {"cues_BKC": cues_BKC}
            slots: Slots = self.initializer(tokens_BND, num_slots, generator=generator, **told)
            return slots

        with self.calling("initializer"):
            initial = with_noise(run, generator, tokens_BND, cues_BKC)
        with self.promising("initializer"):
            expect_type(initial, Slots)
        return initial

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

    def forward(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        features_BCHW: Tensor | None = None,
        target_BCHW: Tensor | None = None,
        fields: Mapping[Field, Tensor] | None = None,
    ) -> ModelOutput:
        """Encode, find the target and decode, as in training: the decoder receives the target.

        Features and target may be given; `fields` are the images', for an objective that needs them.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        encoded = self.encode(
            images_BCHW, num_slots=num_slots, generator=generator, features_BCHW=features_BCHW
        )
        prepared = self.prepared(images_BCHW, encoded, generator, target_BCHW, fields=fields)
        return self.taught(images_BCHW, encoded, prepared, generator)

    def prepared(
        self,
        images_BCHW: Tensor,
        encoded: Encoded,
        generator: RandomSource,
        stored_BCHW: Tensor | None,
        **given: Any,
    ) -> Prepared:
        """Return the target for the loss, with the losses of what makes it, if the objective trains that.

        A stored target is taken as it is; what is `given` besides is passed on to `target`.
        """
        objective = self.objective
        if stored_BCHW is not None:
            return Prepared(stored_BCHW)
        if not trains_with_target(objective):
            return Prepared(self.target(images_BCHW, encoded, **given))
        with self.calling("objective"):
            prepared = with_noise(objective.prepare, generator, images_BCHW)
        with self.promising("objective"):
            expect_type(prepared, Prepared, "prepare")
        return prepared

    def taught(
        self, images_BCHW: Tensor, encoded: Encoded, prepared: Prepared, generator: RandomSource
    ) -> ModelOutput:
        """Decode as in training what was found in images."""
        grouped, target_BCHW = encoded.grouped, prepared.target_BCHW
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
            target_losses=prepared.losses,
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
        return self.losses_of(self.output_of(batch, generator))

    def output_of(self, batch: Batch, generator: RandomSource, **told: Any) -> ModelOutput:
        """Pass a batch through as in training; what is `told` besides is passed on to `forward`."""
        stored = {
            "features_BCHW": batch.features_BCHW,
            "target_BCHW": batch.target_BCHW,
            "fields": batch.fields,
        }
        output: ModelOutput = self(batch.images_BCHW, generator=generator, **stored, **told)
        return output

    def losses_of(self, output: ModelOutput) -> Losses:
        """Return the losses of what a pass in training computed."""
        with self.calling("objective"):
            losses = self.objective.loss(output.decoded, output.target_BCHW)
        losses = added(losses, output.target_losses)
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
        return SlotReconstruction(self, images_BCHW, encoded).made(painting)

    def target(
        self,
        images_BCHW: Tensor,
        encoded: Encoded | None,
        *,
        frames: int = 1,
        fields: Mapping[Field, Tensor] | None = None,
    ) -> Tensor:
        """Return the objective's target for images, or the frames of clips.

        Without what they were encoded to, as where slots come from a store, the encoder is run if the target
        is made of features.
        """
        objective = self.objective
        features_BCHW = images_BCHW if encoded is None else encoded.features_BCHW
        if encoded is None and not (isinstance(objective, TargetOfImages) and objective.of_images):
            with self.calling("encoder"):
                features_BCHW = features_of(self.encoder, images_BCHW, half=self.half_features)
        with self.promising("objective"):
            given = given_to(objective, frames, fields or {})
        with self.calling("objective"):
            return target_of(objective, images_BCHW, features_BCHW, half=self.half_targets, **given)

    def rehearse(self, trial: Trial) -> None:
        """Pass two images through part by part, and compare each part with its promises."""
        SlotTrial(trial, self).through()
