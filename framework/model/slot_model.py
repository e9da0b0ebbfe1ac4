"""A slot model: encoder, projection, initial slots, grouping, decoder. Composition only."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import (
    Decoded,
    Grouped,
    MaskSource,
    ModelOutput,
    Objective,
    Sampler,
    Slots,
)
from slotlab.framework.contracts.component_calls import called
from slotlab.framework.contracts.promises import expect_decoded, expect_type
from slotlab.framework.randomness.noise import RandomSource, with_noise
from slotlab.registry import ComponentError, SlotlabError


@dataclass(frozen=True)
class Encoded:
    """What the model knows of images before it decodes: features, tokens, slots."""

    features_BCHW: Tensor
    tokens_BND: Tensor
    initial: Slots
    grouped: Grouped

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the feature map."""
        return self.features_BCHW.shape[2], self.features_BCHW.shape[3]

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""
        attention_BKN = self.grouped.attention_BKN
        return attention_BKN.reshape(*attention_BKN.shape[:2], *self.grid)


@dataclass(frozen=True)
class Reconstruction:
    """What a model makes of images when its decoder does not receive the target."""

    encoded: Encoded
    decoded: Decoded | None
    """None for a decoder that needs the target and has no `sample`."""
    images_BCHW: Tensor | None
    """The prediction as images in the spec's value range; None if it is not an image, or missing."""
    lacking: str = ""
    """Why there is no picture, as part of a message."""

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""
        return self.encoded.attention_BKHW


class SlotModel(nn.Module):
    """The parts of a spec's `model` section and its objective, put together.

    Every random draw comes from the `generator` argument. With one generator per image the results of an
    image do not depend on its batch (`with_noise`).
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        projection: nn.Module,
        initializer: nn.Module,
        grouping: nn.Module,
        decoder: nn.Module,
        objective: Objective,
        names: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.projection = projection
        self.initializer = initializer
        self.grouping = grouping
        self.decoder = decoder
        self.objective = objective
        self.names = dict(names or {})
        """How messages name the parts, such as `encoder 'cnn'`."""

    @contextmanager
    def promising(self, part: str) -> Iterator[None]:
        """Name a part in the message if it breaks a promise that the block checks."""
        try:
            yield
        except ComponentError as error:
            raise SlotlabError(f"{self.names.get(part, part)}: {error}") from None

    def calling(self, part: str) -> AbstractContextManager[None]:
        """Name a part in the message if it raises."""
        return called(self.names.get(part, part))

    def encode(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> Encoded:
        """Find the slots of images (B, 3, H, W), float, in the spec's value range.

        Raises:
            SlotlabError: with the name of the part, if one raises.
        """

        def initial_slots(tokens_BND: Tensor, *, generator: Generator | None) -> Slots:
            slots: Slots = self.initializer(tokens_BND, num_slots, generator=generator)
            return slots

        with self.calling("encoder"):
            features_BCHW = self.encoder(images_BCHW)
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

    def decode(
        self, slots: Slots, *, target_BCHW: Tensor | None = None, generator: RandomSource = None
    ) -> Decoded:
        """Decode slots as in training: for the loss."""

        def run(slots: Slots, target_BCHW: Tensor | None, *, generator: Generator | None) -> Decoded:
            decoded: Decoded = self.decoder(slots, target_BCHW=target_BCHW, generator=generator)
            return decoded

        return with_noise(run, generator, slots, target_BCHW)

    def paint(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Decode slots without a target, also slots that were mixed or drawn and belong to no image.

        Uses the decoder's `sample` if it has it; other decoders are called with `target_BCHW=None`.

        Raises:
            SlotlabError: with the name of the decoder, if its output breaks its promise.
        """
        return self._as_promised(self._painted(slots, generator), slots)

    def _painted(self, slots: Slots, generator: RandomSource) -> Decoded:
        if isinstance(self.decoder, Sampler):
            return with_noise(self.decoder.sample, generator, slots)
        return self.decode(slots, generator=generator)

    def _as_promised(self, painted: Decoded, slots: Slots) -> Decoded:
        batch, number = slots.vectors_BKD.shape[:2]
        method = "sample" if isinstance(self.decoder, Sampler) else "forward"
        with self.promising("decoder"):
            expect_decoded(painted, batch, number, self.objective.target_shape, method=method)
        return painted

    def forward(
        self, images_BCHW: Tensor, *, num_slots: int | None = None, generator: RandomSource = None
    ) -> ModelOutput:
        """Encode, find the target and decode, as in training: the decoder receives the target.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        encoded = self.encode(images_BCHW, num_slots=num_slots, generator=generator)
        with self.calling("objective"):
            target_BCHW = self.objective.target(images_BCHW, encoded.features_BCHW)
        with self.calling("decoder"):
            decoded = self.decode(encoded.grouped.slots, target_BCHW=target_BCHW, generator=generator)
        with self.promising("decoder"):
            expect_type(decoded, Decoded)
        return ModelOutput(
            images_BCHW=images_BCHW,
            initial=encoded.initial,
            features_BCHW=encoded.features_BCHW,
            tokens_BND=encoded.tokens_BND,
            grouped=encoded.grouped,
            decoded=decoded,
            target_BCHW=target_BCHW,
            grid=encoded.grid,
        )

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
    ) -> Reconstruction:
        """Find the slots of images and decode them without the target, as evaluation and figures do.

        Args:
            images_BCHW: float, in the spec's value range.
            num_slots: another number than the trained one.
            generator: the noise of slots.
            painting: the noise of pictures, for a decoder that draws.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        encoded = self.encode(images_BCHW, num_slots=num_slots, generator=generator)
        try:
            with self.calling("decoder"):
                decoded = self._painted(encoded.grouped.slots, painting)
        except SlotlabError as error:
            if isinstance(self.decoder, Sampler) or not self._decodes_with_target(images_BCHW, encoded):
                raise
            return Reconstruction(encoded, None, None, f"{TEACHING} ({error})")
        decoded = self._as_promised(decoded, encoded.grouped.slots)
        with self.calling("objective"):
            pictures_BCHW = self.objective.to_image(decoded.prediction_BCHW)
        lacking = "" if pictures_BCHW is not None else NO_IMAGE
        return Reconstruction(encoded, decoded, pictures_BCHW, lacking)

    def _decodes_with_target(self, images_BCHW: Tensor, encoded: Encoded) -> bool:
        """Return whether the decoder works if it receives the target."""
        stream = Generator(images_BCHW.device).manual_seed(0)
        try:
            target_BCHW = self.objective.target(images_BCHW, encoded.features_BCHW)
            self.decode(encoded.grouped.slots, target_BCHW=target_BCHW, generator=stream)
        except Exception:  # the mistake is elsewhere; the first error says more
            return False
        return True


NO_IMAGE = "the prediction is no image"
TEACHING = "the decoder needs the target, which an evaluation does not give it, and has no method 'sample'"
"""Why there is no picture of a reconstruction."""


class LossStep(nn.Module):
    """Images to losses: the module that is wrapped for devices, precision and several processes."""

    def __init__(self, model: SlotModel):
        super().__init__()
        self.model = model

    def forward(self, images_BCHW: Tensor, *, generator: RandomSource = None) -> dict[str, Tensor]:
        """Return scalar losses: `total`, and its terms under `loss/NAME`."""
        output = self.model(images_BCHW, generator=generator)
        with self.model.calling("objective"):
            losses = self.model.objective.loss(output.decoded, output.target_BCHW)
        return {"total": losses.total, **{f"loss/{name}": term for name, term in losses.terms.items()}}


class Masked(Protocol):
    """Something with masks: a `Reconstruction`, or a `ModelOutput`."""

    @property
    def decoded(self) -> Decoded | None:
        """The output of the decoder."""

    @property
    def attention_BKHW(self) -> Tensor:
        """The attention on the feature map's grid."""


def masks_at(output: Masked, source: MaskSource, size: tuple[int, int]) -> Tensor | None:
    """Return the masks of a source, float32 (B, K, *size); None if the decoder gives no masks."""
    decoders = None if output.decoded is None else output.decoded.masks_BKHW
    masks_BKHW = decoders if source == "decoder" else output.attention_BKHW
    if masks_BKHW is None:
        return None
    return resized_masks(masks_BKHW, size)


def resized_masks(masks_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks as float32 (B, K, *size), resized bilinearly, which keeps their sum over K."""
    masks_BKHW = masks_BKHW.to(torch.float32)
    if tuple(masks_BKHW.shape[2:]) == size:
        return masks_BKHW
    return F.interpolate(masks_BKHW, size=size, mode="bilinear", align_corners=False)
