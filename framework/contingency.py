"""Counts of pixels by true and predicted segment, for a batch of label maps at once."""

import torch
from torch import Tensor


def contingency(true_BHW: Tensor, predicted_BHW: Tensor, weights_BHW: Tensor | None = None) -> Tensor:
    """Count the pixels that have true label t and predicted label p.

    Args:
        true_BHW: int64 labels from 0.
        predicted_BHW: int64 labels from 0, of the same shape.
        weights_BHW: bool, False for pixels to leave out; None to count all.

    Returns:
        float64 counts of shape (B, T, P), T and P being one more than the largest labels.
    """
    num_true = int(true_BHW.max()) + 1
    num_predicted = int(predicted_BHW.max()) + 1
    batch = true_BHW.shape[0]
    offset_B11 = torch.arange(batch, device=true_BHW.device)[:, None, None] * num_true
    cell_BHW = (offset_B11 + true_BHW) * num_predicted + predicted_BHW
    cells = cell_BHW.flatten() if weights_BHW is None else cell_BHW[weights_BHW]
    counts = torch.bincount(cells, minlength=batch * num_true * num_predicted)
    return counts.double().view(batch, num_true, num_predicted)


def adjusted_rand_index(counts_BTP: Tensor) -> Tensor:
    """Adjusted Rand index of contingency tables, as scikit-learn computes it.

    Source: Hubert and Arabie 1985, in the pair-counting form. 1.0 where no pair of pixels
    is in disagreement (which includes tables with a single segment on both sides), NaN for
    tables without pixels.

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
