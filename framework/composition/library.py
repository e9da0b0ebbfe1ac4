"""The slots of a split in main memory, from which new pictures are composed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from slotlab.framework.composition.composer import Composer
from slotlab.framework.composition.edits import each
from slotlab.framework.contracts import Slots

MEMORY = 2 * 2**30
"""The largest size in bytes: the slots of 600,000 images with 7 slots of width 128."""


@dataclass(frozen=True, eq=False)
class Library:
    """The slots of N images of one split, K slots each."""

    split: str
    positions: Sequence[int]
    """The positions of the images in the split."""
    of: int
    """The number of images in the split."""
    slots: Slots
    """On the CPU; leading axes (N, K)."""

    @property
    def vectors_MD(self) -> Tensor:
        """All slots in one list: slot k of image n is number n * K + k."""
        return self.slots.vectors_BKD.flatten(0, 1)

    def take(self, members_BK: Tensor) -> Slots:
        """Return slots by their numbers in `vectors_MD`, int64 (B, K)."""
        return each(lambda tensor: tensor.flatten(0, 1)[members_BK], self.slots)


def build_library(
    composer: Composer,
    split: str,
    *,
    images: int | None = None,
    memory: int = MEMORY,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Library:
    """Find the slots of a split's images, batch by batch; only slots are kept.

    Args:
        composer: the model and its data.
        split: `train`, `val` or another split of the data.
        images: how many, evenly spaced over the split; None for all.
        memory: the largest size in bytes, which may limit the number of images.
        report: called with (images done, images in all).

    Raises:
        SlotlabError: if there is no such split.
    """
    loader = replace(composer.loader(split), masks=False)
    of = len(loader.dataset)
    bytes_each = sum(tensor.nbytes for tensor in tensors(composer.look(split, [0]).slots))
    number = max(1, min(of, images or of, memory // bytes_each))
    positions = [place * of // number for place in range(number)]
    kept: Slots | None = None
    done = 0
    for some, batch in loader.share(positions):
        found, _ = composer.encode(batch.images_BCHW, some)
        if kept is None:  # allocated at once: growing it would need twice the memory
            kept = each(lambda tensor: tensor.new_empty((number, *tensor.shape[1:]), device="cpu"), found)
        for target, source in zip(tensors(kept), tensors(found), strict=True):
            target[done : done + len(some)] = source.cpu()
        done += len(some)
        report(done, number)
    assert kept is not None
    return Library(split, positions, of, kept)


def tensors(slots: Slots) -> list[Tensor]:
    """Return the vectors and the extras, in a fixed order."""
    return [slots.vectors_BKD, *(slots.extras[name] for name in sorted(slots.extras))]
