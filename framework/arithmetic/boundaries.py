"""Boundaries of segments, and how well two sets of them agree."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def boundary_map(labels_BHW: Tensor, scored_BHW: Tensor | None = None) -> Tensor:
    """Mark the pixels whose right or lower neighbor has another label: bool of shape (B, H, W).

    Pixels where `scored_BHW` (bool) is False have no boundary, nor have their neighbors towards them: as at
    the image's border.
    """
    across_BHW = labels_BHW[:, :, :-1] != labels_BHW[:, :, 1:]
    down_BHW = labels_BHW[:, :-1] != labels_BHW[:, 1:]
    if scored_BHW is not None:
        across_BHW &= scored_BHW[:, :, :-1] & scored_BHW[:, :, 1:]
        down_BHW &= scored_BHW[:, :-1] & scored_BHW[:, 1:]
    marked_BHW = torch.zeros_like(labels_BHW, dtype=torch.bool)
    marked_BHW[:, :, :-1] |= across_BHW
    marked_BHW[:, :-1] |= down_BHW
    return marked_BHW


def dilate(marked_BHW: Tensor, radius: int) -> Tensor:
    """Mark all pixels within `radius` pixels (Euclidean distance) of a marked one: bool (B, H, W)."""
    height, width = marked_BHW.shape[1:]
    padded = F.pad(marked_BHW, (radius, radius, radius, radius))
    near_BHW = torch.zeros_like(marked_BHW)
    for down in range(-radius, radius + 1):
        reach = math.isqrt(radius**2 - down**2)
        for right in range(-reach, reach + 1):
            top, left = radius + down, radius + right
            near_BHW |= padded[:, top : top + height, left : left + width]
    return near_BHW


def boundary_f_measure(
    true_BHW: Tensor, predicted_BHW: Tensor, radius: int, scored_BHW: Tensor | None = None
) -> Tensor:
    """Harmonic mean of boundary precision and recall, with a tolerance of `radius` pixels.

    Precision is the fraction of predicted boundary pixels within `radius` of a true one, recall the
    fraction of true ones within `radius` of a predicted one. 1 where neither has a boundary, 0 where
    only one has. Only pixels that are `scored_BHW` (bool; None for all) have boundaries.

    Returns:
        float64 of shape (B,) in [0, 1]; NaN for images without a scored pixel.
    """
    true_BHW, predicted_BHW = (boundary_map(one, scored_BHW) for one in (true_BHW, predicted_BHW))
    in_true_B = true_BHW.sum(dim=(1, 2)).double()
    in_predicted_B = predicted_BHW.sum(dim=(1, 2)).double()
    hit_B = (predicted_BHW & dilate(true_BHW, radius)).sum(dim=(1, 2)).double()
    found_B = (true_BHW & dilate(predicted_BHW, radius)).sum(dim=(1, 2)).double()
    precision_B, recall_B = hit_B / in_predicted_B, found_B / in_true_B
    f_B = 2 * precision_B * recall_B / (precision_B + recall_B)
    f_B = torch.where((hit_B == 0) | (found_B == 0), torch.zeros_like(f_B), f_B)
    f_B = torch.where((in_true_B == 0) & (in_predicted_B == 0), torch.ones_like(f_B), f_B)
    return f_B if scored_BHW is None else f_B.masked_fill(~scored_BHW.any(dim=(1, 2)), torch.nan)
