"""Packing slots: a frozen model sees each clip once, and what it finds is stored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slotlab.framework.contracts import Batch
from slotlab.framework.data.loader import Loader
from slotlab.framework.data.store.feature_format import FeatureLayout, array_name
from slotlab.framework.data.store.feature_pack import Made, MadePacking
from slotlab.registry import SlotlabError


@dataclass(frozen=True, kw_only=True)
class SlotPacking(MadePacking):
    """The slots of the clips of one source on their way into a store."""

    loader: Loader
    """Whose clips have one choice each: those of the store, in their order."""
    find: Callable[[Batch], Tensor]
    """Clips to slots, float32 (clips, T, K, D)."""
    items: ClassVar[str] = "clips"

    def made(self, chunk: Sequence[int]) -> Made:
        """Read some clips and find their slots."""
        found: dict[int, dict[str, bytes]] = {}
        for numbers, batch in self.loader.share(chunk):
            slots_BTKD = self.find(batch).float().cpu()
            if not bool(torch.isfinite(slots_BTKD).all()):
                raise SlotlabError(f"the run finds slots that are not finite, from {batch.ids[0]} on")
            for number, slots_TKD in zip(numbers, slots_BTKD, strict=True):
                found[number] = {array_name("slots"): slots_TKD.contiguous().numpy().astype("<f4").tobytes()}
        return Made(found)


def slot_layout(clips: int, frames: int, slots: int, slot_dim: int) -> FeatureLayout:
    """Return the shape of a store of slots."""
    return FeatureLayout(clips, slot_dim, (frames, slots), mirrored=False, kind="slots", number="<f4")
