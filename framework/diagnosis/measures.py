"""What masks show of how slots fail: a few numbers of a run's masks on the images of an evaluation.

Axes: B images, K slots, H and W. None of the numbers depends on the order of slots but `dead`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from slotlab.framework.arithmetic.contingency import adjusted_rand_index, contingency

USED = 0.01
"""A slot holds nothing of an image where its mask is the largest on less than this part of the pixels."""
SEEN = 4
"""Objects on fewer pixels are not looked at."""


@dataclass(frozen=True, kw_only=True)
class MaskMeasures:
    """Means over images; None where the data has no true masks, or there is nothing to measure."""

    images: int
    slots: int
    certainty: float
    """How far the largest mask of a pixel is above an even share of all slots: 0 even, 1 one slot alone."""
    largest: float
    """The part of the pixels that the largest segment has."""
    largest_true: float | None
    """The same of the true segments."""
    sameness: float | None
    """The adjusted Rand index of the segmentations of an image and of the next one: 1 if the image does not
    matter. None for a single image."""
    used: float
    """How many slots hold something."""
    dead: int
    """How many slots hold nothing in any image."""
    ari: float | None = None
    ground: float | None = None
    """The part of the ground that its largest slot has."""
    ground_slots: float | None = None
    """Over how many slots the ground is spread: the exponential of the entropy of their parts."""
    objects: float | None = None
    """The part of an object that its largest slot has."""
    merged: float | None = None
    """The part of the objects whose largest slot is also that of another object."""
    lost: float | None = None
    """The part of the objects whose largest slot is also that of the ground."""


def measure_masks(masks_BKHW: Tensor, labels_BHW: Tensor, true_BHW: Tensor | None) -> MaskMeasures:
    """Measure masks.

    Args:
        masks_BKHW: soft masks, float, which sum to 1 over slots.
        labels_BHW: int64, the slot with the largest mask.
        true_BHW: int64, 0 the ground, objects from 1 on, -1 where nobody knows; None without ground truth.
    """
    images, slots = masks_BKHW.shape[:2]
    parts_BK = _parts(labels_BHW, slots)
    largest_B1 = masks_BKHW.double().amax(dim=1).flatten(1).mean(dim=1)
    known = {} if true_BHW is None else _against(true_BHW, labels_BHW)
    return MaskMeasures(
        images=images,
        slots=slots,
        certainty=1.0 if slots == 1 else float((largest_B1.mean() - 1 / slots) / (1 - 1 / slots)),
        largest=float(parts_BK.amax(dim=1).mean()),
        largest_true=None if true_BHW is None else _largest(true_BHW),
        sameness=_sameness(labels_BHW),
        used=float((parts_BK >= USED).sum(dim=1).double().mean()),
        dead=int((~(parts_BK >= USED).any(dim=0)).sum()),
        **known,
    )


def _parts(labels_BHW: Tensor, number: int) -> Tensor:
    # The part of the pixels that each label has, float64 (B, number).
    counts_BK = torch.stack([(labels_BHW == label).flatten(1).sum(dim=1) for label in range(number)], dim=1)
    return counts_BK.double() / labels_BHW[0].numel()


def _largest(true_BHW: Tensor) -> float:
    counts_BT = contingency(true_BHW, torch.zeros_like(true_BHW)).sum(dim=2)
    return float((counts_BT.amax(dim=1) / counts_BT.sum(dim=1).clamp(min=1)).mean())


def _sameness(labels_BHW: Tensor) -> float | None:
    if len(labels_BHW) < 2:
        return None
    return float(adjusted_rand_index(contingency(labels_BHW, labels_BHW.roll(1, dims=0))).mean())


def _against(true_BHW: Tensor, labels_BHW: Tensor) -> dict[str, float | None]:
    counts_BTP = contingency(true_BHW, labels_BHW)
    size_BT = counts_BTP.sum(dim=2)
    share_BTP = counts_BTP / size_BT.clamp(min=1)[..., None]
    main_BT = counts_BTP.argmax(dim=2)
    grounds_B = size_BT[:, 0] > 0
    seen_BO = size_BT[:, 1:] >= SEEN
    same_BOO = main_BT[:, 1:, None] == main_BT[:, None, 1:]
    same_BOO &= seen_BO[:, :, None] & seen_BO[:, None, :] & ~torch.eye(seen_BO.shape[1], dtype=torch.bool)
    lost_BO = (main_BT[:, 1:] == main_BT[:, :1]) & grounds_B[:, None]
    return {
        "ari": float(adjusted_rand_index(counts_BTP).mean()),
        "ground": _mean(share_BTP[:, 0].amax(dim=1)[grounds_B]),
        "ground_slots": _mean(_spread(share_BTP[:, 0])[grounds_B]),
        "objects": _mean(share_BTP[:, 1:].amax(dim=2)[seen_BO]),
        "merged": _mean(same_BOO.any(dim=2)[seen_BO].double()),
        "lost": _mean(lost_BO[seen_BO].double()),
    }


def _spread(share_BP: Tensor) -> Tensor:
    spread_B: Tensor = torch.special.entr(share_BP).sum(dim=1).exp()
    return spread_B


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if values.numel() else None
