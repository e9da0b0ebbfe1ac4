"""Slots of clips, decoded again in other company: mixed frame by frame, or rolled on from the frames seen.

Axes: T frames, K slots, D slot width, C channels, H rows, W columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from slotlab.framework.composition.composer import Composed, Composer
from slotlab.framework.composition.edits import chosen, each, interpolate, together
from slotlab.framework.contracts import Batch, Foretells, Slots
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.loaders import evaluation_loader
from slotlab.framework.evaluation.evaluate import reconstruct
from slotlab.framework.model.clip_time import frame_streams
from slotlab.framework.model.masks import kept_attention, resized_masks
from slotlab.framework.randomness.seeds import painting
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class SeenClip:
    """A clip of a split, and the slots that the model finds in its frames, or foretells of them."""

    position: int
    batch: Batch
    slots: Slots
    """With leading axes (T, K)."""
    composed: Composed
    """Its frames, decoded from all of these slots: what an evaluation measures."""
    masks_TKHW: Tensor
    """float32 at the size of the images: the decoder's masks, or the attention if it has none."""

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self.batch.frames


@dataclass(frozen=True)
class ClipPick:
    """A slot of a clip, perhaps on its way to another one."""

    clip: SeenClip
    slot: int
    toward: "tuple[SeenClip, int] | None" = None
    amount: float = 1.0


@dataclass(frozen=True)
class ClipComposer:
    """The model of a run and the clips of its evaluation."""

    composer: Composer
    split: str = field(init=False)

    def __post_init__(self) -> None:
        """Take the evaluation's split."""
        object.__setattr__(self, "split", self.composer.spec.evaluation.split)

    @cached_property
    def loader(self) -> Loader:
        """The clips as an evaluation reads them."""
        engine = self.composer.engine
        loader = evaluation_loader(engine.spec, engine.placement, self.split)
        return replace(loader, rank=0, processes=1)

    @property
    def history(self) -> int | None:
        """How many frames a model sees that foretells; None for others."""
        model = self.composer.model
        return model.history if isinstance(model, Foretells) else None

    def read(self, position: int) -> Batch:
        """Read a clip of the split.

        Raises:
            SlotlabError: if there is none at this position.
        """
        number = self.loader.total
        if not 0 <= position < number:
            raise SlotlabError(f"split '{self.split}' has no clip {position}: they are 0 to {number - 1}")
        return next(self.loader.epoch([position]))

    @torch.no_grad()
    def look(self, position: int) -> SeenClip:
        """Read a clip and find its slots: those of the run's evaluation.

        Raises:
            SlotlabError: if there is no such clip, or the model has no slots, or makes no pictures of them.
        """
        composer, batch = self.composer, self.read(position)
        made = reconstruct(composer.spec, composer.model, batch, [position])
        if made.found is None:
            raise SlotlabError(f"the model '{composer.spec.model.name}' has no slots")
        slots = made.found.slots
        composed = self.decode(slots, position)
        masks_TKHW = composed.masks_BKHW
        if masks_TKHW is None:
            attention_TKHW = kept_attention(made.found)
            if attention_TKHW is None:
                name = composer.spec.model.name
                raise SlotlabError(f"the model '{name}' does not tell where in a frame a slot is")
            size = (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3])
            masks_TKHW = resized_masks(attention_TKHW, size)
        return SeenClip(position, batch, slots, composed, masks_TKHW)

    @torch.no_grad()
    def decode(self, slots: Slots, position: int) -> Composed:
        """Decode the slots of frames, (T, K, D), with the noise of the clip at a position.

        Raises:
            SlotlabError: as `Composer.decode` does.
        """
        spec, frames = self.composer.spec, len(slots.vectors_BKD)
        noise = frame_streams(painting(spec.seed, [position], slots.vectors_BKD.device), frames)
        return self.composer.decode(slots, noise=noise)

    def mix(self, picks: Sequence[ClipPick], frames: int | None = None) -> Slots:
        """Return picked slots together, frame by frame, (T, K, D).

        A model that foretells goes on from the frames that it sees: what is not picked takes no part in what
        follows. For others there are as many frames as the shortest clip has.

        Args:
            picks: at least one.
            frames: how many frames to make, of a model that foretells; None for as many as the clips have.

        Raises:
            SlotlabError: for a slot that does not exist, or frames that the model cannot make.
        """
        clips = [clip for pick in picks for clip in (pick.clip, *([pick.toward[0]] if pick.toward else []))]
        shortest = min(clip.frames for clip in clips)
        seen = shortest if self.history is None else min(shortest, self.history)
        slots = together([self._picked(pick, seen) for pick in picks], 1)
        wanted = shortest if frames is None else frames
        if self.history is None and wanted > shortest:
            raise SlotlabError(f"the clips have {shortest} frames, and the model foretells none beyond them")
        return each(lambda tensor: tensor[:wanted], slots) if wanted <= seen else self._on(slots, wanted)

    def _picked(self, pick: ClipPick, frames: int) -> Slots:
        slots = each(lambda tensor: tensor[:frames], pick.clip.slots)
        if pick.toward is not None:
            clip, slot = pick.toward
            goal = each(lambda tensor: tensor[:frames], clip.slots)
            slots = interpolate(slots, pick.slot, goal, slot, pick.amount)
        return chosen(slots, [pick.slot])

    @torch.no_grad()
    def _on(self, slots: Slots, frames: int) -> Slots:
        """Return the slots with those of further frames, as the model foretells them."""
        model = self.composer.model.eval()
        assert isinstance(model, Foretells)
        seen_TKD = slots.vectors_BKD
        later_BTKD = model.foretell(seen_TKD[None], frames - len(seen_TKD))
        return Slots(torch.cat([seen_TKD, later_BTKD[0]]))
