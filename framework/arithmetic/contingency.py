"""Counts of pixels by true and predicted segment, for a batch of label maps at once."""

import torch
from torch import Tensor

from slotlab.framework.arithmetic.void import VOID
from slotlab.registry import SlotlabError

CHUNK = 1 << 18
"""Pixels that are counted at a time, so that intermediate results stay in a core's cache."""
MOST_CELLS = 1 << 22
"""Most cells of one image's table; larger labels are not numbers of segments."""


def contingency(true_BHW: Tensor, predicted_BHW: Tensor) -> Tensor:
    """Count the pixels that have true label t and predicted label p; those of true label `VOID` are left out.

    Memory beyond the result is a few MiB whatever the size of the batch.

    Args:
        true_BHW: labels from 0, and `VOID`, of any integer type.
        predicted_BHW: labels from 0, of the same shape.

    Returns:
        float64 counts of shape (B, T, P), T and P being one more than the largest labels.

    Raises:
        SlotlabError: for other labels below 0, and for labels too large to be numbers of segments.
    """
    batch = true_BHW.shape[0]
    void, num_true = _labels_of(true_BHW, least=VOID)
    _, num_predicted = _labels_of(predicted_BHW, least=0)
    rows = void + num_true  # void pixels have a row of their own, which is cut off
    cells = rows * num_predicted
    if cells > MOST_CELLS:
        raise SlotlabError(
            f"segment labels go up to {num_true - 1} (true) and {num_predicted - 1} (predicted); "
            "number the segments of each image from 0"
        )
    images = max(1, CHUNK // max(1, true_BHW[0].numel()))
    counts = []
    for start in range(0, batch, images):
        cell = (true_BHW[start : start + images].to(torch.int64) + void) * num_predicted
        cell += predicted_BHW[start : start + images]
        cell += torch.arange(len(cell), device=cell.device)[:, None, None] * cells
        counts.append(torch.bincount(cell.flatten(), minlength=len(cell) * cells))
    return torch.cat(counts).double().view(batch, rows, num_predicted)[:, void:]


def _labels_of(labels_BHW: Tensor, *, least: int) -> tuple[int, int]:
    """Return the number of labels below 0, and of labels from 0 on, which is at least 1."""
    low, high = (int(value) for value in labels_BHW.aminmax())
    if low < least:
        void = " (a true label of -1 is void)" if least == VOID else ""
        raise SlotlabError(f"segment labels start at 0{void}, got {low}")
    return -min(low, 0), max(high, 0) + 1


def adjusted_rand_index(counts_BTP: Tensor) -> Tensor:
    """Adjusted Rand index of contingency tables, as scikit-learn computes it.

    Source: Hubert and Arabie 1985, in the pair-counting form. 1.0 where no pair of pixels
    is in disagreement (which includes tables with a single segment on both sides), NaN for
    tables without pixels.

    Counts of pairs are exact below 9e7 pixels. Their products are rounded, but each is at most
    half of the denominator, so the error stays at a few units of float64's last place.

    Args:
        counts_BTP: float64 of shape (B, T, P).

    Returns:
        float64 of shape (B,), in [-0.5, 1].
    """
    n_B = counts_BTP.sum(dim=(1, 2))
    squares_B = counts_BTP.square().sum(dim=(1, 2))
    together_true_B = counts_BTP.sum(dim=2).square().sum(dim=1)
    together_predicted_B = counts_BTP.sum(dim=1).square().sum(dim=1)
    both_B = squares_B - n_B  # ordered pairs together in both
    only_true_B = together_true_B - squares_B
    only_predicted_B = together_predicted_B - squares_B
    neither_B = n_B.square() - only_true_B - only_predicted_B - squares_B
    left_B = (both_B + only_true_B) * (only_true_B + neither_B)
    right_B = (both_B + only_predicted_B) * (only_predicted_B + neither_B)
    ari_B = 2.0 * (both_B * neither_B - only_true_B * only_predicted_B) / (left_B + right_B)
    ari_B = torch.where((only_true_B == 0) & (only_predicted_B == 0), torch.ones_like(ari_B), ari_B)
    return torch.where(n_B == 0, torch.full_like(ari_B, torch.nan), ari_B)
