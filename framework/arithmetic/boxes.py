"""Boxes of segments, and how many true ones are found."""

import torch
from torch import Tensor


def tight_boxes(labels_HW: Tensor, names: list[int]) -> Tensor:
    """Return the boxes of labels that are in a picture, float64 (N, 4): left, top, right, bottom.

    These are the first and the last column and row of its pixels, as in torchvision: a segment that is one
    pixel wide has no area.
    """
    found = []
    for name in names:
        y_M, x_M = (labels_HW == name).nonzero(as_tuple=True)
        found.append(torch.stack([x_M.min(), y_M.min(), x_M.max(), y_M.max()]))
    return torch.stack(found).double() if found else torch.zeros(0, 4, dtype=torch.float64)


def box_iou(first_N4: Tensor, second_M4: Tensor) -> Tensor:
    """Return intersection over union of each pair of boxes, (N, M) in [0, 1]; 0 for two without area."""
    low_NM2 = torch.maximum(first_N4[:, None, :2], second_M4[None, :, :2])
    high_NM2 = torch.minimum(first_N4[:, None, 2:], second_M4[None, :, 2:])
    both_NM = (high_NM2 - low_NM2).clamp(min=0).prod(dim=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(dim=1) for one in (first_N4, second_M4)]
    union_NM = areas[0][:, None] + areas[1][None, :] - both_NM
    return torch.where(union_NM > 0, both_NM / union_NM, torch.zeros_like(both_NM))


def part_recalled(iou_NM: Tensor, threshold: float) -> float:
    """Return the part of N true boxes whose best of M boxes reaches `threshold` and is free; NaN for N = 0.

    True boxes choose in their order, and each asks for its best box alone: one that is taken is lost to it.
    """
    if not len(iou_NM):
        return float("nan")
    taken: set[int] = set()
    if iou_NM.shape[1]:
        best_N, choice_N = iou_NM.max(dim=1)
        for best, choice in zip(best_N.tolist(), choice_N.tolist(), strict=True):
            if best >= threshold:
                taken.add(choice)
    return len(taken) / len(iou_NM)
