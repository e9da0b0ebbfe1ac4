"""Which slot holds each pixel by SlotFormer's rule: the ground is what no slot claims.

Source: the evaluation of SlotFormer (Wu et al. 2023, `postproc_mask` in its code), image by image.
"""

import torch
from torch import Tensor

from slotlab.framework.arithmetic.contingency import contingency
from slotlab.framework.contracts import Outcome

CLAIM = 0.5
"""Pixels whose largest mask is below this are the ground's."""
SOFT_MASKS = frozenset({"true_BHW", "masks_BKHW"})
"""What metrics by this rule need."""


def ruled_labels(
    masks_BKHW: Tensor, keep_BK: Tensor | None = None, scored_BHW: Tensor | None = None
) -> Tensor:
    """Return the slot of each pixel, int64 (B, H, W).

    The ground is the slot whose largest value over all pixels is the least of all slots, the first of equal
    ones; it gets all pixels where no mask reaches `CLAIM`. Other pixels belong to the slot with the largest
    mask. Slots that were dropped (`keep_BK` of 0) are never the ground, and pixels that are not scored (void)
    have no say in which slot it is.
    """
    told_BKHW = masks_BKHW if scored_BHW is None else masks_BKHW * scored_BHW[:, None]
    peaks_BK = told_BKHW.flatten(2).amax(dim=2)
    if keep_BK is not None:
        peaks_BK = peaks_BK.masked_fill(keep_BK == 0, torch.inf)
    ground_B = peaks_BK.argmin(dim=1)
    highest_BHW, labels_BHW = masks_BKHW.max(dim=1)
    return torch.where(highest_BHW < CLAIM, ground_B[:, None, None], labels_BHW)


def ruled_counts(outcome: Outcome) -> Tensor:
    """Return pixel counts by true label and slot of the rule, float64 (B, T, P), without void pixels."""
    assert outcome.true_BHW is not None
    return contingency(outcome.true_BHW, labels_of(outcome))


def labels_of(outcome: Outcome) -> Tensor:
    """Return the labels by the rule of an outcome with soft masks, int64 (B, H, W)."""
    assert outcome.masks_BKHW is not None
    return ruled_labels(outcome.masks_BKHW, outcome.keep_BK, outcome.scored_BHW)
