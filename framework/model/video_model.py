"""A slot model of clips: each frame's slots start from what a predictor makes of those of the frame before.

Encoder and decoder see all frames at once, as images; between them a loop over frames goes from grouping to
predictor. Source: Kipf et al. 2022 (SAVi), section 3; with kernels Wu et al. 2023 (SlotFormer). T frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Batch,
    Field,
    Found,
    Grouped,
    Losses,
    ModelOutput,
    RandomSource,
    Reconstruction,
    Slots,
    SlotState,
    TakesCues,
    Trial,
)
from slotlab.framework.contracts.promises import expect_predicted, expect_type
from slotlab.framework.model.clip_time import by_clip, frame_streams, in_time, span_of
from slotlab.framework.model.cues import cues_of
from slotlab.framework.model.encoded import Encoded
from slotlab.framework.model.slot_kernel import SlotKernel
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.slot_reconstruction import SlotReconstruction
from slotlab.framework.model.video_trial import VideoTrial
from slotlab.framework.randomness.noise import with_noise
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class Carried:
    """What the frames so far leave to the next one."""

    slots: Slots
    """Those found in the last frame."""
    state: SlotState
    """What the predictor remembers."""


@dataclass(frozen=True)
class Followed:
    """The slots of clips, (clips x T), clip after clip."""

    initial: Slots
    """Those that each frame's attention started from."""
    grouped: Grouped
    carried: Carried
    """(clips)."""


class VideoModel(SlotModel):
    """A slot model with a predictor, and perhaps kernels, for clips; an image is a clip of one frame.

    With one generator per clip the results of a clip do not depend on its batch, nor on `frames_at_once`.
    """

    clips = True
    compiled = ("encoder", "grouping", "predictor", "decoder")
    predictor: Any

    def __init__(
        self,
        *,
        predictor: nn.Module,
        kernel: SlotKernel | None = None,
        first_iterations: int | None = None,
        iterations: int | None = None,
        frames_at_once: int = 6,
        **parts: Any,
    ):
        own = {} if kernel is None else {"kernel": kernel}
        super().__init__(**parts, between={**own, "predictor": predictor})
        self.kernel = kernel
        if isinstance(self.initializer, TakesCues):
            self.told = self.initializer.cue
        self.supervised = self.told is not None
        self.first_iterations, self.iterations = first_iterations, iterations
        self.frames_at_once = frames_at_once
        """Of each clip, outside of training."""

    def rounds(self, *, first: bool) -> dict[str, int]:
        """Return the number of iterations that the grouping is told for a frame, as its argument."""
        number = self.first_iterations if first else self.iterations
        return {} if number is None else {"iterations": number}

    def encode(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        features_BCHW: Tensor | None = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> Encoded:
        """Find the slots of clips (clips x T, 3, H, W), all frames at once; features may be given.

        `first_masks_BHW` are the true masks of first frames, for a model that is told of them.

        Raises:
            SlotlabError: with the name of the part, if one raises.
        """
        told = self._told(first_masks_BHW, num_slots)
        return self._encode(images_BCHW, features_BCHW, frames, None, num_slots, generator, told)[0]

    def _told(self, first_masks_BHW: Tensor | None, num_slots: int | None) -> Tensor | None:
        """Return the cues that the initializer is told; None if it takes none, or nothing is known."""
        if self.told is None or first_masks_BHW is None:
            return None
        return cues_of(self.told, first_masks_BHW, num_slots or self.num_slots)

    def _encode(
        self,
        images_BCHW: Tensor,
        features_BCHW: Tensor | None,
        frames: int,
        carried: Carried | None,
        num_slots: int | None,
        generator: RandomSource,
        cues_BKC: Tensor | None = None,
    ) -> tuple[Encoded, Carried]:
        """Encode frames, the first ones of clips or those that follow what is carried."""
        check_frames(images_BCHW, frames)
        features_BCHW, tokens_BND = self.tokens(images_BCHW, features_BCHW)
        tokens_BTND, initial = by_clip(tokens_BND, len(tokens_BND) // frames), None
        if carried is None:
            initial = self.initial_slots(tokens_BTND[:, 0], num_slots, generator, cues_BKC)
        followed = with_noise(self._follow, generator, tokens_BTND, initial, carried)
        return Encoded(features_BCHW, tokens_BND, followed.initial, followed.grouped), followed.carried

    def _follow(
        self,
        tokens_BTND: Tensor,
        initial: Slots | None,
        carried: Carried | None,
        *,
        generator: Generator | None,
    ) -> Followed:
        """Go from frame to frame; either `initial` or `carried` is given."""
        starts: list[Slots] = []
        found: list[Grouped] = []
        for tokens_BND in tokens_BTND.unbind(dim=1):
            slots, state = (initial, None) if carried is None else self._predict(carried)
            assert slots is not None
            start = self._start(slots, generator)
            grouped = self._group(tokens_BND, Slots(start.vectors_BKD, slots.extras), generator, carried)
            if carried is None:
                with self.calling("predictor"):
                    state = self.predictor.start(grouped.slots)
            carried = Carried(grouped.slots, state)
            starts.append(start)
            found.append(grouped)
        assert carried is not None
        clips = len(tokens_BTND)
        return Followed(in_time(starts, clips), in_time(alike(found), clips), carried)

    def _predict(self, carried: Carried) -> tuple[Slots, SlotState]:
        with self.calling("predictor"):
            predicted = self.predictor(carried.slots, carried.state)
        with self.promising("predictor"):
            expect_predicted(predicted, carried.slots)
        slots: Slots
        slots, state = predicted
        return slots, state

    def _start(self, slots: Slots, generator: Generator | None) -> Slots:
        if self.kernel is None:
            return slots
        with self.calling("kernel"):
            start: Slots = self.kernel(slots, generator=generator)
        return start

    def _group(
        self, tokens_BND: Tensor, slots: Slots, generator: Generator | None, carried: Carried | None
    ) -> Grouped:
        with self.calling("grouping"):
            grouped: Grouped = self.grouping(
                tokens_BND, slots, generator=generator, **self.rounds(first=carried is None)
            )
        with self.promising("grouping"):
            expect_type(grouped, Grouped)
        return grouped

    def forward(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        features_BCHW: Tensor | None = None,
        target_BCHW: Tensor | None = None,
        fields: Mapping[Field, Tensor] | None = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> ModelOutput:
        """Encode, find the target and decode, as in training, all frames of the clips.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        told = self._told(first_masks_BHW, num_slots)
        encoded = self._encode(images_BCHW, features_BCHW, frames, None, num_slots, generator, told)[0]
        streams = generator if frames == 1 else frame_streams(generator, frames)
        prepared = self.prepared(images_BCHW, encoded, streams, target_BCHW, frames=frames, fields=fields)
        return replace(self.taught(images_BCHW, encoded, prepared, streams), frames=frames)

    def output_of(self, batch: Batch, generator: RandomSource, **told: Any) -> ModelOutput:
        """Pass a batch of clips through as in training."""
        masks_BHW = None if self.told is None else batch.first_masks_BHW
        return super().output_of(batch, generator, frames=batch.frames, first_masks_BHW=masks_BHW, **told)

    def losses_of(self, output: ModelOutput) -> Losses:
        """Return the losses of all frames; that of drawn kernels is added, with its weight."""
        losses = super().losses_of(output)
        found = None if self.kernel is None else self.kernel.loss(output.initial)
        if self.kernel is None or found is None:
            return losses
        pull = self.kernel.weight * found
        terms = {"objective": losses.total, **losses.terms, "kernel": pull}
        return Losses(losses.total + pull, terms)

    def find_slots(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> Found:
        """Find the slots of clips (clips x T, 3, H, W), some frames at a time."""
        told = self._told(first_masks_BHW, num_slots)
        spans = self._spans(images_BCHW, None, frames, num_slots, generator, told)
        found: Found = in_time([encoded.found for _, encoded in spans], len(images_BCHW) // frames)
        return found

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
        features_BCHW: Tensor | None = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> Reconstruction:
        """Find the slots of clips (clips x T, 3, H, W) and decode them, some frames at a time.

        Clips with more frames than that have no `parts_BKCHW`, which would fill the memory.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        clips, made = len(images_BCHW) // frames, []
        told = self._told(first_masks_BHW, num_slots)
        spans = self._spans(images_BCHW, features_BCHW, frames, num_slots, generator, told)
        for span_BCHW, encoded in spans:
            streams = painting if frames == 1 else frame_streams(painting, len(span_BCHW) // clips)
            shown = SlotReconstruction(self, span_BCHW, encoded).made(streams)
            made.append(shown if frames <= self.frames_at_once else without_parts(shown))
        joined: Reconstruction = in_time(made, clips)
        return joined

    def _spans(
        self,
        images_BCHW: Tensor,
        features_BCHW: Tensor | None,
        frames: int,
        num_slots: int | None,
        generator: RandomSource,
        cues_BKC: Tensor | None,
    ) -> Iterator[tuple[Tensor, Encoded]]:
        """Yield, in the order of time, images of some frames of all clips, and what they are encoded to."""
        check_frames(images_BCHW, frames)
        carried = None
        for first in range(0, frames, self.frames_at_once):
            span = slice(first, min(first + self.frames_at_once, frames))
            span_BCHW = span_of(images_BCHW, frames, span)
            assert span_BCHW is not None
            features = span_of(features_BCHW, frames, span)
            length = span.stop - span.start
            encoded, carried = self._encode(
                span_BCHW, features, length, carried, num_slots, generator, cues_BKC
            )
            yield span_BCHW, encoded

    def rehearse(self, trial: Trial) -> None:
        """Pass images through part by part, each as two frames, and compare each part with its promises."""
        VideoTrial(trial, self).through()


def check_frames(images_BCHW: Tensor, frames: int) -> None:
    """Refuse images that are no whole clips."""
    if isinstance(images_BCHW, Tensor) and (frames < 1 or len(images_BCHW) % frames):
        raise SlotlabError(f"{len(images_BCHW)} images are no whole clips of {frames} frames each")


def alike(found: list[Grouped]) -> list[Grouped]:
    """Return groupings with traces of equally many rounds: the last ones of frames with more."""
    traces = [one.trace for one in found if one.trace is not None]
    if len(traces) < len(found):
        return found
    fewest = min(trace.attention_BTKN.shape[1] for trace in traces)
    cut = [replace(trace, attention_BTKN=trace.attention_BTKN[:, -fewest:]) for trace in traces]
    return [replace(one, trace=trace) for one, trace in zip(found, cut, strict=True)]


def without_parts(shown: Reconstruction) -> Reconstruction:
    """Return a reconstruction without each slot's own picture."""
    return replace(shown, decoded=shown.decoded and replace(shown.decoded, parts_BKCHW=None))
