"""Trivial segmentations without training data, which a model must beat.

Each takes images (B, 3, H, W), float, a number of segments K and, of clips, how many frames each has; it
returns int64 labels (B, H, W) from 0 to at most K-1, which mean the same in all frames of a clip.
"""

from collections.abc import Callable, Mapping
from math import isqrt

import torch
from torch import Tensor

Baseline = Callable[[Tensor, int, int], Tensor]
MOVED = 0.1
"""A pixel has moved if it differs by so much, of the clip's range of values, from the clip's median."""


def one_segment(images_BCHW: Tensor, num_segments: int, frames: int = 1) -> Tensor:
    """All pixels in one segment."""
    batch, _, rows, columns = images_BCHW.shape
    return torch.zeros(batch, rows, columns, dtype=torch.int64, device=images_BCHW.device)


def position_grid(images_BCHW: Tensor, num_segments: int, frames: int = 1) -> Tensor:
    """The image cut into a grid of at most K equal tiles, as square as possible."""
    batch, _, rows, columns = images_BCHW.shape
    down = isqrt(num_segments)
    across = num_segments // down
    y_H = torch.arange(rows, device=images_BCHW.device) * down // rows
    x_W = torch.arange(columns, device=images_BCHW.device) * across // columns
    return (y_H[:, None] * across + x_W[None, :]).expand(batch, -1, -1).contiguous()


def color_kmeans(images_BCHW: Tensor, num_segments: int, frames: int = 1) -> Tensor:
    """k-means (scikit-learn, seeded) on each pixel's color and position, both scaled to [0, 1].

    The pixels of all frames of a clip are grouped together.
    """
    labels = [
        grouped(features_N5(clip_TCHW), num_segments).view(-1, *clip_TCHW.shape[2:])
        for clip_TCHW in torch.split(images_BCHW.float().cpu(), frames)
    ]
    return torch.cat(labels).to(images_BCHW.device)


def motion(images_BCHW: Tensor, num_segments: int, frames: int = 1) -> Tensor:
    """What differs from the clip's median picture, grouped as by `color_kmeans`; all else is segment 0.

    In a single image nothing moves.
    """
    labels = []
    for clip_TCHW in torch.split(images_BCHW.float().cpu(), frames):
        still_1CHW = clip_TCHW.median(dim=0, keepdim=True).values
        spread = (clip_TCHW.max() - clip_TCHW.min()).clamp(min=1e-6)
        moved_N = ((clip_TCHW - still_1CHW).abs().amax(1) > MOVED * spread).flatten()
        found_N = torch.zeros(len(moved_N), dtype=torch.int64)
        segments = min(num_segments - 1, int(moved_N.sum()))
        if segments > 0:
            found_N[moved_N] = 1 + grouped(features_N5(clip_TCHW)[moved_N], segments)
        labels.append(found_N.view(-1, *clip_TCHW.shape[2:]))
    return torch.cat(labels).to(images_BCHW.device)


def features_N5(clip_TCHW: Tensor) -> Tensor:
    """Return color and place of each pixel of a clip, each in [0, 1], (T x H x W, 5)."""
    frames, _, rows, columns = clip_TCHW.shape
    y_HW, x_HW = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    place_N2 = torch.stack([y_HW, x_HW], dim=-1).flatten(0, 1).repeat(frames, 1)
    low, high = clip_TCHW.min(), clip_TCHW.max()
    color_N3 = ((clip_TCHW - low) / (high - low).clamp(min=1e-6)).movedim(1, 3).flatten(0, 2)
    return torch.cat([color_N3, place_N2], dim=1)


def grouped(points_ND: Tensor, groups: int) -> Tensor:
    """Return the group of each point by k-means (scikit-learn, seeded), int64."""
    from sklearn.cluster import KMeans

    return torch.from_numpy(KMeans(groups, n_init=1, random_state=0).fit_predict(points_ND.numpy())).long()


BASELINES: Mapping[str, Baseline] = {
    "one_segment": one_segment,
    "position_grid": position_grid,
    "color_kmeans": color_kmeans,
    "motion": motion,
}
