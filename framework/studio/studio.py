"""What the page computes with a model: slots of images, compositions of slots, and samples of clusters.

Axes: K slots, H rows, W columns, C channels. Pictures are uint8. Only one request is computed at a time.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import RLock

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slotlab.framework.composition import Clusters, Composed, Composer, build_library, interpolate
from slotlab.framework.composition.edits import chosen, each, together
from slotlab.framework.contracts import Slots
from slotlab.framework.data.pixels import to_uint8
from slotlab.framework.figures.slot_colors import rgb, slot_color
from slotlab.framework.randomness.seeds import mix
from slotlab.framework.studio.clip_studio import ClipStudio
from slotlab.framework.studio.requests import Pick
from slotlab.registry import SlotlabError

Pixels = NDArray[np.uint8]
KEPT_IN_MEMORY = 64
"""How many images keep their slots in memory."""
LIBRARY = 512
"""How many images' slots are clustered."""


@dataclass(frozen=True, kw_only=True)
class TakenApart:
    """One image with the model's outputs and slots."""

    id: str
    image_HWC: Pixels
    reconstruction_HWC: Pixels
    segments_HWC: Pixels
    """Each pixel in the color of the slot with the largest mask."""
    masks_KHW: Pixels
    """From 0 to 255: the decoder's masks, or the attention if the decoder has none."""
    cutouts_KHWC: Pixels
    """RGBA: each slot's part (the image, if the decoder has no parts), with the mask as opacity."""
    slots: Slots
    """The slots, with leading axes (1, K)."""

    @property
    def areas(self) -> list[float]:
        """The share of the image that each slot's soft mask covers; the shares sum to one."""
        sums: NDArray[np.float64] = self.masks_KHW.sum(axis=(1, 2), dtype=np.float64)
        return [float(area) for area in sums / sums.sum()]


@dataclass(eq=False)
class Studio:
    """A composer with a cache of images, and of clips, for requests from several threads."""

    composer: Composer
    library_images: int = LIBRARY
    _lock: RLock = field(default_factory=RLock)
    _seen: OrderedDict[int, TakenApart] = field(default_factory=OrderedDict)
    _clusters: Clusters | None = None

    def __post_init__(self) -> None:
        """Open the clips, which wait for the same lock."""
        self.clips = ClipStudio(self.composer, self._lock)

    @property
    def split(self) -> str:
        """The split whose images are shown."""
        return self.composer.spec.evaluation.split

    @property
    def images(self) -> int:
        """The number of images in the split."""
        return len(self.composer.loader(self.split).dataset)

    def image(self, position: int) -> Pixels:
        """Return an image of the split without running the model, uint8 (H, W, 3).

        Raises:
            SlotlabError: if the image does not exist, or its file is broken.
        """
        with self._lock:
            if position in self._seen:
                return self._seen[position].image_HWC
            self._check(position)
            loader = self.composer.loader(self.split)
            batch = next(loader.epoch([position]))
            return picture(to_uint8(batch.images_BCHW[0], loader.bounds))

    def take_apart(self, position: int) -> TakenApart:
        """Return an image of the split with its slots.

        Raises:
            SlotlabError: if the image does not exist, or the model decodes no images.
        """
        with self._lock:
            if position not in self._seen:
                self._seen[position] = self._take_apart(position)
                if len(self._seen) > KEPT_IN_MEMORY:
                    self._seen.popitem(last=False)
            self._seen.move_to_end(position)
            return self._seen[position]

    def _take_apart(self, position: int) -> TakenApart:
        self._check(position)
        seen = self.composer.look(self.split, [position])
        composed = self.composer.decode(seen.slots, positions=[position])
        image_CHW = to_uint8(seen.batch.images_BCHW[0], self.composer.spec.data.bounds)
        masks_KHW = (seen.attention_BKHW if composed.masks_BKHW is None else composed.masks_BKHW)[0]
        parts_KCHW = None if composed.parts_BKCHW is None else composed.parts_BKCHW[0]
        if parts_KCHW is None:
            parts_KCHW = image_CHW.expand(len(masks_KHW), -1, -1, -1)
        opacity_KHW = np.rint(masks_KHW.clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
        parts_KHWC = np.stack([picture(part_CHW) for part_CHW in parts_KCHW])
        return TakenApart(
            id=seen.batch.ids[0],
            image_HWC=picture(image_CHW),
            reconstruction_HWC=picture(composed.images_BCHW[0]),
            segments_HWC=segments(masks_KHW, range(len(masks_KHW))),
            masks_KHW=opacity_KHW,
            cutouts_KHWC=np.concatenate([parts_KHWC, opacity_KHW[..., None]], axis=-1),
            slots=seen.slots,
        )

    def compose(self, picks: Sequence[Pick]) -> Pixels:
        """Return the picture decoded from some slots, uint8 (H, W, 3).

        Raises:
            SlotlabError: if an image or a slot does not exist, or the decoder does not take this many slots.
        """
        with self._lock:
            return picture(self._decode(picks).images_BCHW[0])

    def compose_segments(self, picks: Sequence[Pick]) -> Pixels:
        """Return the segmentation of the picture decoded from some slots, in the slots' colors.

        Raises:
            SlotlabError: as `compose` does, and if the decoder has no masks.
        """
        with self._lock:
            masks_BKHW = self._decode(picks).masks_BKHW
        if masks_BKHW is None:
            raise SlotlabError(f"the {self.composer.part('decoder')} has no masks")
        return segments(masks_BKHW[0], [pick.slot for pick in picks])

    def draw(self, picks: Sequence[Pick], number: int) -> Iterator[tuple[int, int, Pixels]]:
        """Yield (steps done, steps in all, picture) while a picture is drawn; the last one is the picture.

        Pictures on the way are what the decoder takes for the picture then, uint8 (H, W, 3). A decoder that
        does not draw in steps has one step.

        Raises:
            SlotlabError: as `compose` does.
        """
        composer, places = self.composer, [picks[0].image]
        seed = composer.spec.seed if number == 0 else mix(composer.spec.seed, number)
        with self._lock:
            slots = together([self._pick(pick) for pick in picks], 1)
            strip = composer.strip(slots, seed=seed, positions=places)
        total = 1 if strip is None else 1 + int((composer.model.sampling or {}).get("steps", 0))
        done = 0
        # Locked step by step: a request may be answered by several threads in turn.
        while strip is not None and (images_BCHW := self._next(strip)) is not None:
            done += 1
            yield done, max(total, done + 1), picture(images_BCHW[0])
        with self._lock:
            composed = composer.decode(slots, seed=seed, positions=places)
        yield done + 1, done + 1, picture(composed.images_BCHW[0])

    def _next(self, pictures: Iterator[Tensor]) -> Tensor | None:
        with self._lock:
            return next(pictures, None)

    def _decode(self, picks: Sequence[Pick]) -> Composed:
        # With the noise of the first slot's image, all slots of an image give its reconstruction.
        slots = together([self._pick(pick) for pick in picks], 1)
        return self.composer.decode(slots, positions=[picks[0].image])

    def _pick(self, pick: Pick) -> Slots:
        slots = self.take_apart(pick.image).slots
        if pick.toward is not None:
            goal = self.take_apart(pick.toward.image).slots
            slots = interpolate(slots, pick.slot, goal, pick.toward.slot, pick.amount)
        return chosen(slots, [pick.slot])

    def sample(self, seed: int, number: int) -> Pixels:
        """Return picture `number` of a seed, decoded from one random slot of each cluster.

        Raises:
            SlotlabError: if there are fewer distinct slots than clusters.
        """
        with self._lock:
            numbers = range(number, number + 1)
            slots = self.clusters().draw(numbers, seed=seed)
            device = self.composer.engine.device
            slots = each(lambda tensor: tensor.to(device), slots)
            return picture(self.composer.decode(slots, seed=seed, positions=numbers).images_BCHW[0])

    def clusters(self) -> Clusters:
        """Return the clusters of the split's slots, which are computed on first use."""
        with self._lock:
            if self._clusters is None:
                library = build_library(self.composer, self.split, images=self.library_images)
                count = library.slots.vectors_BKD.shape[1]
                self._clusters = Clusters.fit(library, count=count, seed=self.composer.spec.seed)
            return self._clusters

    def _check(self, position: int) -> None:
        if not 0 <= position < self.images:
            raise SlotlabError(
                f"split '{self.split}' has no image {position}: they are 0 to {self.images - 1}"
            )


def picture(image_CHW: Tensor) -> Pixels:
    """Return a uint8 image (C, H, W) as (H, W, C)."""
    pixels: Pixels = image_CHW.permute(1, 2, 0).cpu().numpy()
    return pixels


def segments(masks_KHW: Tensor, slots: Sequence[int]) -> Pixels:
    """Return each pixel in the color of the slot with the largest mask; `slots` has the slots' numbers."""
    colors = np.array([rgb(slot_color(slot)) for slot in slots], dtype=np.uint8)
    painted: Pixels = colors[masks_KHW.argmax(dim=0).cpu().numpy()]
    return painted
