"""Slot stability: how often an object keeps its slot from one frame to the next.

For each true object that is seen in two neighboring frames of a clip: 1 if the slot with most of its pixels
is the same in both, else 0; the mean over all such pairs. Of slots with equally many pixels the first counts.

* Source: our own definition.
* Pixels ignored: those of true label 0, and void.
* Range: [0, 1], higher is better. NaN for single images, and where no object is seen in two neighboring
  frames. A slot that holds the whole picture is perfectly stable: read it beside `video_fg_ari`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import MASKS, NoSettings
from slotlab.registry import Component, hookimpl


@dataclass(frozen=True)
class SlotStability:
    """The metric (see `contracts.MeasuresClips`)."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = MASKS
    of_clips = True

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (clips,)."""
        counts_BSP = outcome.counts_BTP[:, 1:]  # S true objects, P slots
        images, objects, slots = counts_BSP.shape
        clips = images // outcome.frames
        if objects == 0 or slots == 0:
            return torch.full((clips,), torch.nan, dtype=torch.float64, device=counts_BSP.device)
        counts_CTSP = counts_BSP.reshape(clips, outcome.frames, objects, slots)
        seen_CTS = counts_CTSP.sum(3) > 0
        slot_CTS = counts_CTSP.argmax(3)
        both_CTS = seen_CTS[:, 1:] & seen_CTS[:, :-1]
        kept_CTS = both_CTS & (slot_CTS[:, 1:] == slot_CTS[:, :-1])
        return kept_CTS.sum((1, 2)).double() / both_CTS.sum((1, 2)).double()


def build(config: NoSettings, context: MetricContext) -> SlotStability:
    """Build the metric."""
    return SlotStability()


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `slot_stability`."""
    yield Component(
        name="slot_stability",
        config=NoSettings,
        build=build,
        summary="how often an object keeps its slot from frame to frame",
    )
