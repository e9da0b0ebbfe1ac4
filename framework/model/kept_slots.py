"""Masks of slots of which some are dropped."""

from torch import Tensor

EPSILON = 1e-5
"""Added to the sum of the kept slots' masks."""


def kept(masks_BKxx: Tensor, keep_BK: Tensor | None) -> Tensor:
    """Return masks without the dropped slots, which get 0; the others are divided by their sum.

    The sum over slots is then s / (s + 1e-5), s being the kept slots' share before: 0 where all are dropped.
    Gradients reach the keep weights of dropped slots too. Source: Fan et al. 2024 (AdaSlot), section 3.3.

    Args:
        masks_BKxx: (B, K, ...), sums to one over slots.
        keep_BK: floats in [0, 1]; None if all slots are kept, which returns the masks themselves.
    """
    if keep_BK is None:
        return masks_BKxx
    keep_BKxx = keep_BK.reshape(*keep_BK.shape, *(1,) * (masks_BKxx.dim() - 2)).to(masks_BKxx.dtype)
    masks_BKxx = masks_BKxx * keep_BKxx
    return masks_BKxx / (masks_BKxx.sum(dim=1, keepdim=True) + EPSILON)
