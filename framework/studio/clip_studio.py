"""What the page computes of clips: their slots, and clips that are decoded from slots of two of them.

Films are uint8 (T x H, W, C): frames one above the other. Only one request is computed at a time.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import RLock

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.composition import Composer
from slotlab.framework.composition.clip_composer import ClipComposer, ClipPick, SeenClip
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.figures.slot_colors import rgb, slot_color
from slotlab.framework.studio.requests import Pick
from slotlab.registry import SlotlabError

Pixels = NDArray[np.uint8]
KEPT_IN_MEMORY = 16
"""How many clips keep their slots in memory."""


@dataclass(frozen=True, kw_only=True)
class FilmedClip:
    """One clip with the model's outputs and slots."""

    id: str
    seen: SeenClip
    image: Pixels
    reconstruction: Pixels
    segments: Pixels
    """Each pixel in the color of the slot with the largest mask."""
    masks: Sequence[Pixels]
    """Of each slot, (T x H, W): from 0 to 255."""
    cutouts: Sequence[Pixels]
    """Of each slot, RGBA: its part (the frame, if the decoder has no parts), with the mask as opacity."""

    @property
    def areas(self) -> list[float]:
        """The share of all frames that each slot's soft mask covers; the shares sum to one."""
        sums = np.array([mask.sum(dtype=np.float64) for mask in self.masks])
        return [float(area) for area in sums / sums.sum()]


@dataclass(eq=False)
class ClipStudio:
    """A composer of clips with a cache, for requests from several threads."""

    composer: Composer
    _lock: RLock = field(default_factory=RLock)
    _seen: OrderedDict[int, FilmedClip] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Open the clips."""
        self.clips = ClipComposer(self.composer)

    @property
    def count(self) -> int:
        """The number of clips in the split; 0 for a run of images."""
        return 0 if self.clips.loader.clips is None else self.clips.loader.total

    @property
    def history(self) -> int | None:
        """How many frames a model sees that foretells; None for others."""
        return self.clips.history

    def first_frame(self, position: int) -> Pixels:
        """Return the first frame of a clip without running the model, uint8 (H, W, 3).

        Raises:
            SlotlabError: if the clip does not exist, or a file is broken.
        """
        with self._lock:
            if position in self._seen:
                film, frames = self._seen[position].image, self._seen[position].seen.frames
                return film[: len(film) // frames]
            return stacked(self._shown(self.clips.read(position).images_BCHW[:1]))

    def take_apart(self, position: int) -> FilmedClip:
        """Return a clip of the split with its slots.

        Raises:
            SlotlabError: if the clip does not exist, or the model decodes no pictures.
        """
        with self._lock:
            if position not in self._seen:
                self._seen[position] = self._take_apart(position)
                if len(self._seen) > KEPT_IN_MEMORY:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(position)
            return self._seen[position]

    def _take_apart(self, position: int) -> FilmedClip:
        seen = self.clips.look(position)
        images_TCHW, masks_TKHW = self._shown(seen.batch.images_BCHW), seen.masks_TKHW
        parts_TKCHW = seen.composed.parts_BKCHW
        if parts_TKCHW is None:
            parts_TKCHW = images_TCHW[:, None].expand(-1, masks_TKHW.shape[1], -1, -1, -1)
        opacity_TKHW = np.rint(masks_TKHW.clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
        masks = [np.concatenate(list(opacity_THW)) for opacity_THW in opacity_TKHW.swapaxes(0, 1)]
        parts = [stacked(part_TCHW) for part_TCHW in parts_TKCHW.unbind(dim=1)]
        return FilmedClip(
            id=seen.batch.ids[0],
            seen=seen,
            image=stacked(images_TCHW),
            reconstruction=stacked(seen.composed.images_BCHW),
            segments=segments(masks_TKHW, range(masks_TKHW.shape[1])),
            masks=masks,
            cutouts=[
                np.concatenate([part, mask[..., None]], axis=-1)
                for part, mask in zip(parts, masks, strict=True)
            ],
        )

    def compose(self, picks: Sequence[Pick], *, frames: int | None, show: str) -> tuple[Pixels, int]:
        """Return the film decoded from some slots, or its segmentation, and its number of frames.

        Raises:
            SlotlabError: if a clip or a slot does not exist, more frames are wanted than the model can make,
                or the decoder does not take this many slots, or has no masks.
        """
        with self._lock:
            slots = self.clips.mix([self._pick(pick) for pick in picks], frames)
            composed = self.clips.decode(slots, picks[0].image)
        count = len(composed.images_BCHW)
        if show == "picture":
            return stacked(composed.images_BCHW), count
        if composed.masks_BKHW is None:
            raise SlotlabError(f"the {self.composer.part('decoder')} has no masks")
        return segments(composed.masks_BKHW, [pick.slot for pick in picks]), count

    def _pick(self, pick: Pick) -> ClipPick:
        goal = pick.toward
        toward = None if goal is None else (self.take_apart(goal.image).seen, goal.slot)
        return ClipPick(self.take_apart(pick.image).seen, pick.slot, toward, pick.amount)

    def _shown(self, images_TCHW: Tensor) -> Tensor:
        return to_uint8(images_TCHW, self.composer.spec.data.bounds)


def stacked(images_TCHW: Tensor) -> Pixels:
    """Return uint8 images (T, C, H, W) one above the other, (T x H, W, C)."""
    pixels: Pixels = images_TCHW.permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()
    return pixels


def segments(masks_TKHW: Tensor, slots: Sequence[int]) -> Pixels:
    """Return each pixel in the color of the slot with the largest mask; `slots` has the slots' numbers."""
    colors = np.array([rgb(slot_color(slot)) for slot in slots], dtype=np.uint8)
    painted: Pixels = colors[masks_TKHW.argmax(dim=1).flatten(0, 1).cpu().numpy()]
    return painted
