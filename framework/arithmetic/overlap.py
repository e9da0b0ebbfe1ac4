"""How well segments overlap, from counts of pixels: IoU, Dice, cosine, best overlap, covering.

All functions take a contingency table (see `contingency`), whose rows are true segments and
columns predicted ones. Segments without pixels have no overlap with anything.
"""

import torch
from torch import Tensor

from slotlab.framework.arithmetic.sums import sum_in_order


def true_sizes(counts_BTP: Tensor) -> Tensor:
    """Return the pixels of each true segment, (B, T)."""
    return counts_BTP.sum(dim=2)


def predicted_sizes(counts_BTP: Tensor) -> Tensor:
    """Return the pixels of each predicted segment, (B, P)."""
    return counts_BTP.sum(dim=1)


def iou(counts_BTP: Tensor) -> Tensor:
    """Intersection over union of each pair of segments, (B, T, P) in [0, 1]."""
    both = true_sizes(counts_BTP)[:, :, None] + predicted_sizes(counts_BTP)[:, None, :]
    return _ratio(counts_BTP, both - counts_BTP)


def dice(counts_BTP: Tensor) -> Tensor:
    """Twice the intersection over the sum of the sizes, (B, T, P) in [0, 1]."""
    both = true_sizes(counts_BTP)[:, :, None] + predicted_sizes(counts_BTP)[:, None, :]
    return _ratio(2 * counts_BTP, both)


def cosine(counts_BTP: Tensor) -> Tensor:
    """Cosine of each pair of masks seen as vectors, (B, T, P) in [0, 1]."""
    product = true_sizes(counts_BTP)[:, :, None] * predicted_sizes(counts_BTP)[:, None, :]
    return _ratio(counts_BTP, product.sqrt())


def best_iou(counts_BTP: Tensor) -> Tensor:
    """Return the largest IoU of each true segment with any predicted one, (B, T)."""
    return iou(counts_BTP).amax(dim=2)


def mean_over(values_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Weighted mean over segments, (B,); NaN where all weights are 0."""
    return sum_in_order(values_BT * weights_BT) / sum_in_order(weights_BT)


def mean_best_iou(counts_BTP: Tensor, *, first: int) -> Tensor:
    """Mean over true segments of the largest IoU with any predicted one.

    Args:
        counts_BTP: float64 of shape (B, T, P).
        first: the least true label that counts: 0 with the background, 1 without.

    Returns:
        float64 of shape (B,) in [0, 1]; NaN where no true segment counts.
    """
    there_BT = (true_sizes(counts_BTP) > 0).double()
    return mean_over(best_iou(counts_BTP)[:, first:], there_BT[:, first:])


def covering(counts_BTP: Tensor, *, first: int) -> Tensor:
    """Mean over true segments of the largest IoU with any predicted one, weighted by their sizes.

    Source: Arbelaez et al. 2011, equation 8. Arguments and result as for `mean_best_iou`.
    """
    return mean_over(best_iou(counts_BTP)[:, first:], true_sizes(counts_BTP)[:, first:])


def objects_there(counts_BTP: Tensor) -> Tensor:
    """Count the true segments with pixels, without the background: float64 of shape (B,)."""
    return (true_sizes(counts_BTP)[:, 1:] > 0).sum(dim=1).double()


def part_found(counts_BTP: Tensor, threshold: float) -> Tensor:
    """Return the fraction of true objects whose largest IoU is `threshold` or more, (B,); NaN without any."""
    found_BT = best_iou(counts_BTP)[:, 1:] >= threshold
    return found_BT.sum(dim=1).double() / objects_there(counts_BTP)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))
