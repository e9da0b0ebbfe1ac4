"""One-to-one matching of true and predicted segments, image by image.

The tables are tiny (a dozen segments), so SciPy's solver on the CPU takes microseconds per image.
Only segments with pixels take part, so the padding of a batch's tables changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.arithmetic.overlap import iou, mean_over, predicted_sizes, true_sizes
from slotlab.framework.arithmetic.sums import sum_in_order

NOTHING = -1
"""In place of the partner of a segment that has none."""


def match(scores_BTP: Tensor, rows_BT: Tensor, columns_BP: Tensor) -> Tensor:
    """Match rows to columns so that the sum of scores is the largest.

    Args:
        scores_BTP: float, of shape (B, T, P).
        rows_BT: bool, the rows that take part.
        columns_BP: bool, the columns that take part.

    Returns:
        int64 of shape (B, T): the column of each row, or `NOTHING`.
    """
    from scipy.optimize import linear_sum_assignment

    scores, rows, columns = (t.detach().cpu().numpy() for t in (scores_BTP, rows_BT, columns_BP))
    found = np.full(rows.shape, NOTHING)
    for image in range(len(scores)):
        row, column = rows[image].nonzero()[0], columns[image].nonzero()[0]
        chosen = linear_sum_assignment(scores[image][row[:, None], column], maximize=True)
        found[image, row[chosen[0]]] = column[chosen[1]]
    return torch.from_numpy(found).to(scores_BTP.device)


def of_partner(values_BTP: Tensor, partner_BT: Tensor) -> Tensor:
    """Return each row's value at its partner, (B, T); 0 for rows that have none."""
    taken_BT = values_BTP.gather(2, partner_BT.clamp(min=0).unsqueeze(2)).squeeze(2)
    return torch.where(partner_BT == NOTHING, torch.zeros_like(taken_BT), taken_BT)


def matched_iou(counts_BTP: Tensor, *, first: int) -> Tensor:
    """IoU of each true segment from label `first` on with its match by IoU, (B, T - first)."""
    scores_BTP = iou(counts_BTP)[:, first:]
    rows_BT = true_sizes(counts_BTP)[:, first:] > 0
    return of_partner(scores_BTP, match(scores_BTP, rows_BT, predicted_sizes(counts_BTP) > 0))


def mean_matched_iou(counts_BTP: Tensor, *, first: int) -> Tensor:
    """Mean over true segments with pixels, from label `first` on, of `matched_iou`, (B,); NaN without any."""
    there_BT = true_sizes(counts_BTP)[:, first:] > 0
    return mean_over(matched_iou(counts_BTP, first=first), there_BT.double())


@dataclass(frozen=True)
class OfficialPairs:
    """True and predicted segments as the CLEVRTex evaluator pairs them, all of them K."""

    counts_BKK: Tensor
    """Rows are true labels, columns predicted ones, each side padded with empty segments."""
    partner_BK: Tensor
    """The predicted label paired with each true one; `NOTHING` only for padding of the batch."""
    visible_B: Tensor
    """float64 number of pairs of which at least one side has pixels."""
    grounded_B: Tensor
    """bool, whether the true background has pixels."""


def official_pairs(counts_BTP: Tensor) -> OfficialPairs:
    """Pair segments, empty ones and background included, as `clevrtex_eval.py` does.

    Source: Karazija et al. 2021, `CLEVRTEX_Evaluator.ious_alignment`. An image has as many segments
    on each side, K. Where segments are left over that overlap with nothing they could be paired
    with, SciPy's solver decides by their order which of them get empty partners; the number of
    visible pairs depends on it. For the same decision it gets the same float32 matrix here, except for
    empty segments at its end: the evaluator adds some up to the number of slots, which changes nothing.
    """
    from scipy.optimize import linear_sum_assignment

    true_BT, predicted_BP = true_sizes(counts_BTP) > 0, predicted_sizes(counts_BTP) > 0
    size_B = torch.maximum(_labels(true_BT), _labels(predicted_BP))
    size = max(1, int(size_B.max()))
    counts_BTP = counts_BTP[:, :size, :size]
    padding = (0, size - counts_BTP.shape[2], 0, size - counts_BTP.shape[1])
    counts_BKK = F.pad(counts_BTP, padding)
    scores = iou(counts_BKK.float()).cpu().numpy()
    found = np.full(scores.shape[:2], NOTHING)
    for image, k in enumerate(size_B.tolist()):
        found[image, :k] = linear_sum_assignment(scores[image, :k, :k], maximize=True)[1]
    partner_BK = torch.from_numpy(found).to(counts_BKK.device)
    has_pixels_BKK = (predicted_sizes(counts_BKK) > 0).unsqueeze(1).expand_as(counts_BKK)
    visible_BK = (true_sizes(counts_BKK) > 0) | of_partner(has_pixels_BKK, partner_BK)
    return OfficialPairs(counts_BKK, partner_BK, visible_BK.sum(dim=1).double(), true_BT[:, 0])


def _labels(there_BK: Tensor) -> Tensor:
    """Return one more than the largest label that has pixels, (B,)."""
    numbers_K = torch.arange(1, there_BK.shape[1] + 1, device=there_BK.device)
    return (there_BK * numbers_K).amax(dim=1)


def per_visible_pair(counts_BTP: Tensor, overlap: Callable[[Tensor], Tensor], *, first: int) -> Tensor:
    """Sum overlaps of official pairs over the number of visible pairs less `first`.

    Args:
        counts_BTP: float64 of shape (B, T, P).
        overlap: such as `iou`: a contingency table to the overlap of each pair of segments.
        first: the least true label that counts: 0 with the background, 1 without.

    Returns:
        float64 of shape (B,). NaN where the number is 0; for `first` 1 also where the truth has no
        background: the official formula subtracts its pair all the same.
    """
    pairs = official_pairs(counts_BTP)
    values_BK = of_partner(overlap(pairs.counts_BKK), pairs.partner_BK)
    mean_B = sum_in_order(values_BK[:, first:]) / (pairs.visible_B - first)
    defined_B = (pairs.visible_B > first) & (pairs.grounded_B if first else True)
    return torch.where(defined_B, mean_B, torch.full_like(mean_B, torch.nan))
