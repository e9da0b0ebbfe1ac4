"""A model of clips that foretells slots: a frozen model finds those of the first frames, dynamics go on.

Source: Wu et al. 2023 (SlotFormer). Unlike there, slots are found in the clip at hand, from its first frame
on, and not once in each whole video. B clips, T frames, K slots.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import (
    NO_IMAGE,
    Batch,
    Decoded,
    Found,
    Losses,
    Model,
    RandomSource,
    Reconstruction,
    Slots,
    Trial,
)
from slotlab.framework.contracts.promises import expect_foretold
from slotlab.framework.model.clip_time import by_clip, frame_streams, in_time, span_of
from slotlab.framework.model.dynamics_trial import DynamicsTrial, too_short
from slotlab.framework.model.slot_model import SlotModel
from slotlab.framework.model.slots_of_clips import SlotsOfClips
from slotlab.framework.model.video_model import check_frames, without_parts
from slotlab.registry import SlotlabError


@dataclass(frozen=True, kw_only=True)
class DynamicsSettings:
    """What a model with dynamics is told besides its parts."""

    history: int
    """How many frames are seen."""
    slot_loss: float = 1.0
    """Weight of the squared error of foretold slots."""
    image_loss: float = 1.0
    """Weight of the objective's loss of what is decoded from them."""
    teacher_forcing: bool = False
    """Whether, in training, each frame is foretold from slots that were found."""
    frames_at_once: int = 6
    """Of each clip, how many foretold frames are decoded at a time outside of training."""


class DynamicsModel(Model):
    """A frozen model with slots, and dynamics that are trained on what it finds.

    Frames after the first `history` ones are never looked at but for the loss: what is shown and measured of
    them is decoded from foretold slots.
    """

    clips = True
    compiled = ("dynamics",)

    def __init__(
        self,
        *,
        observer: SlotsOfClips,
        dynamics: nn.Module,
        settings: DynamicsSettings,
        baselines: Mapping[str, nn.Module] | None = None,
        names: Mapping[str, str] | None = None,
    ):
        super().__init__(names)
        self.source = observer.source
        """Holds the frozen `SlotModel`, in evaluation mode."""
        self.slot_source = observer
        """What finds slots in clips, unless they come from a store."""
        self.told = self.parent.told
        self.supervised = self.told is not None
        self.dynamics: Any = dynamics
        self.settings = settings
        self.fields = self.parent.fields if settings.image_loss else ()
        self.beside = dict(baselines or {})
        """Dynamics without weights, by name: a mapping, so that they are no parts of this model."""

    @property
    def parent(self) -> SlotModel:
        """The frozen model."""
        found: SlotModel = self.source.module
        return found

    @property
    def history(self) -> int:
        """How many frames are seen."""
        return self.settings.history

    @property
    def fixed_num_slots(self) -> bool:
        """Whether the frozen model finds the trained number of slots alone."""
        return self.parent.fixed_num_slots

    @property
    def sampling(self) -> Mapping[str, Any] | None:
        """The settings by which the frozen model's decoder makes pictures; None if it has none."""
        return self.parent.sampling

    @property
    def has_codec(self) -> bool:
        """Whether the frozen model's pictures are made by a codec."""
        return self.parent.has_codec

    def through_codec(self, images_BCHW: Tensor) -> Tensor:
        """Return images as they come back from the frozen model's codec."""
        return self.parent.through_codec(images_BCHW)

    def paint(self, slots: Slots, *, generator: RandomSource = None) -> Decoded:
        """Decode slots by the frozen model."""
        return self.parent.paint(slots, generator=generator)

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return a prediction as images in the spec's value range, or None if it is not an image."""
        return self.parent.to_image(prediction_BCHW)

    def baselines(self) -> Mapping[str, Model]:
        """Return the same model with each of the dynamics without weights, by name."""
        return {
            name: DynamicsModel(
                observer=self.slot_source,
                dynamics=dynamics,
                settings=self.settings,
                names={"dynamics": f"dynamics '{name}'"},
            )
            for name, dynamics in self.beside.items()
        }

    def foretell(self, slots_BTKD: Tensor, steps: int) -> Tensor:
        """Return the slots of so many frames that follow, (B, steps, K, D).

        Raises:
            SlotlabError: with the name of the dynamics, if they raise or break their promise.
        """
        with self.calling("dynamics"):
            foretold_BTKD: Tensor = self.dynamics(slots_BTKD, steps)
        with self.promising("dynamics"):
            expect_foretold(foretold_BTKD, slots_BTKD, steps)
        return foretold_BTKD

    # --- training ----------------------------------------------------------------------------

    def losses(self, batch: Batch, *, generator: RandomSource = None) -> Losses:
        """Return the squared error of foretold slots, and the objective's loss of what they are decoded to.

        Both are means over all frames after the history; gradients go back through all steps.

        Raises:
            SlotlabError: for clips that are no longer than the history, and naming the part, if one raises.
        """
        history, steps = self.settings.history, batch.frames - self.settings.history
        if steps < 1:
            raise SlotlabError(too_short(batch.frames, history))
        slots_BTKD, target_BCHW = self.observe(batch, generator)
        if self.settings.teacher_forcing:
            foretold_BTKD = self._taught(slots_BTKD)
        else:
            foretold_BTKD = self.foretell(slots_BTKD[:, :history], steps)
        terms = {}
        if self.settings.slot_loss:
            error = F.mse_loss(foretold_BTKD, slots_BTKD[:, history:])
            terms["slots"] = self.settings.slot_loss * error
        later_BCHW = span_of(target_BCHW, batch.frames, slice(history, batch.frames))
        if later_BCHW is not None:
            error = self._decoded_loss(foretold_BTKD, later_BCHW, frame_streams(generator, steps))
            terms["images"] = self.settings.image_loss * error
        return Losses(torch.stack(list(terms.values())).sum(), terms)

    @torch.no_grad()
    def observe(self, batch: Batch, generator: RandomSource) -> tuple[Tensor, Tensor | None]:
        """Return the slots of clips, (B, T, K, D), found or from a store, and the objective's target.

        The target is None where no loss needs it.
        """
        images_BCHW, wanted = batch.images_BCHW, self.settings.image_loss > 0
        check_frames(images_BCHW, batch.frames)
        if batch.slots_BKD is not None:
            encoded, slots_BTKD = None, by_clip(batch.slots_BKD, len(batch))
        else:
            encoded = self.slot_source.encode(batch, generator)
            slots_BTKD = self.slot_source.slots_in(encoded, len(batch))
        if not wanted:
            return slots_BTKD, None
        target_BCHW = self.parent.target(images_BCHW, encoded, frames=batch.frames, fields=batch.fields)
        return slots_BTKD, target_BCHW

    def _taught(self, slots_BTKD: Tensor) -> Tensor:
        """Foretell each frame from the ones before it, as they were found."""
        clips, history = len(slots_BTKD), self.settings.history
        windows_BSKDT = slots_BTKD[:, :-1].unfold(1, history, 1)
        windows_BTKD = windows_BSKDT.movedim(-1, 2).flatten(0, 1)
        return by_clip(self.foretell(windows_BTKD, 1)[:, 0], clips)

    def _decoded_loss(self, slots_BTKD: Tensor, target_BCHW: Tensor, generator: RandomSource) -> Tensor:
        """Return the objective's loss of frames, by their slots alone; the decoder is frozen."""
        parent, slots = self.parent, Slots(slots_BTKD.flatten(0, 1))
        decoded = parent.decode(slots, target_BCHW=target_BCHW, generator=generator)
        return parent.objective.loss(decoded, target_BCHW).total

    # --- what is shown and measured ------------------------------------------------------------

    @torch.no_grad()
    def find_slots(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> Found:
        """Find the slots of the first frames of clips (B x T, 3, H, W), and foretell those of the others.

        `first_masks_BHW` are the true masks of first frames, for a frozen model that is told of them.
        """
        seen_BCHW, seen = self._seen(images_BCHW, frames)
        told = self.slot_source.words(seen, first_masks_BHW, generator)
        found = self.parent.find_slots(seen_BCHW, num_slots=num_slots, **told)
        if frames == seen:
            return found
        vectors_BKD, clips = found.slots.vectors_BKD, len(images_BCHW) // frames
        foretold_BTKD = self.foretell(by_clip(vectors_BKD, clips), frames - seen)
        return Found(Slots(in_time([vectors_BKD, foretold_BTKD.flatten(0, 1)], clips)))

    @torch.no_grad()
    def reconstruct(
        self,
        images_BCHW: Tensor,
        *,
        num_slots: int | None = None,
        generator: RandomSource = None,
        painting: RandomSource = None,
        frames: int = 1,
        first_masks_BHW: Tensor | None = None,
    ) -> Reconstruction:
        """Return what the frozen model makes of the first frames of clips, and what is foretold of others.

        Clips with foretold frames have no attention, as nothing was looked at; those of more frames than are
        decoded at once have no `parts_BKCHW`, which would fill the memory.

        Raises:
            SlotlabError: naming the part, if one raises.
        """
        seen_BCHW, seen = self._seen(images_BCHW, frames)
        clips, told = len(images_BCHW) // frames, self.slot_source.words(seen, first_masks_BHW, generator)
        streams = painting if self.parent.clips else frame_streams(painting, seen)
        shown = self.parent.reconstruct(seen_BCHW, num_slots=num_slots, painting=streams, **told)
        if frames == seen:
            return shown
        assert shown.found is not None
        observed = Slots(shown.found.slots.vectors_BKD)
        foretold_BTKD = self.foretell(by_clip(observed.vectors_BKD, clips), frames - seen)
        made = [replace(shown, found=Found(observed)), *self._decoded(foretold_BTKD, painting)]
        if frames > self.settings.frames_at_once:
            made = [without_parts(one) for one in made]
        joined: Reconstruction = in_time(made, clips)
        return joined

    def _seen(self, images_BCHW: Tensor, frames: int) -> tuple[Tensor, int]:
        """Return the frames that are looked at, (B x seen, 3, H, W), and how many of each clip they are."""
        check_frames(images_BCHW, frames)
        seen = min(frames, self.settings.history)
        found = span_of(images_BCHW, frames, slice(0, seen))
        assert found is not None
        return found, seen

    def _decoded(self, slots_BTKD: Tensor, painting: RandomSource) -> Iterator[Reconstruction]:
        """Decode slots without a look at their frames, some of these at a time."""
        for some_BTKD in torch.split(slots_BTKD, self.settings.frames_at_once, dim=1):
            slots = Slots(some_BTKD.flatten(0, 1))
            decoded = self.parent.paint(slots, generator=frame_streams(painting, some_BTKD.shape[1]))
            with self.calling("source"):
                pictures_BCHW = self.to_image(decoded.prediction_BCHW)
            yield Reconstruction(
                Found(slots), decoded, pictures_BCHW, "" if pictures_BCHW is not None else NO_IMAGE
            )

    def rehearse(self, trial: Trial) -> None:
        """Pass clips through part by part, and compare each part with its promises."""
        DynamicsTrial(trial, self).through()
