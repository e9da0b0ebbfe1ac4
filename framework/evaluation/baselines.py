"""Trivial segmentations without training data, which a model must beat.

Each takes images (B, 3, H, W), float, and a number of segments K and returns int64
labels (B, H, W) from 0 to at most K-1.
"""

from collections.abc import Callable, Mapping
from math import isqrt

import torch
from torch import Tensor

Baseline = Callable[[Tensor, int], Tensor]


def one_segment(images_BCHW: Tensor, num_segments: int) -> Tensor:
    """All pixels in one segment."""
    batch, _, rows, columns = images_BCHW.shape
    return torch.zeros(batch, rows, columns, dtype=torch.int64, device=images_BCHW.device)


def position_grid(images_BCHW: Tensor, num_segments: int) -> Tensor:
    """The image cut into a grid of at most K equal tiles, as square as possible."""
    batch, _, rows, columns = images_BCHW.shape
    down = isqrt(num_segments)
    across = num_segments // down
    y_H = torch.arange(rows, device=images_BCHW.device) * down // rows
    x_W = torch.arange(columns, device=images_BCHW.device) * across // columns
    return (y_H[:, None] * across + x_W[None, :]).expand(batch, -1, -1).contiguous()


def color_kmeans(images_BCHW: Tensor, num_segments: int) -> Tensor:
    """k-means (scikit-learn, seeded) on each pixel's color and position, both scaled to [0, 1]."""
    from sklearn.cluster import KMeans

    _, _, rows, columns = images_BCHW.shape
    y_HW, x_HW = torch.meshgrid(torch.linspace(0, 1, rows), torch.linspace(0, 1, columns), indexing="ij")
    place_N2 = torch.stack([y_HW, x_HW], dim=-1).flatten(0, 1)
    labels = []
    for image_CHW in images_BCHW.float().cpu():
        low, high = image_CHW.min(), image_CHW.max()
        color_N3 = ((image_CHW - low) / (high - low).clamp(min=1e-6)).flatten(1).T
        features_N5 = torch.cat([color_N3, place_N2], dim=1).numpy()
        found = KMeans(num_segments, n_init=1, random_state=0).fit_predict(features_N5)
        labels.append(torch.from_numpy(found).long().view(rows, columns))
    return torch.stack(labels).to(images_BCHW.device)


BASELINES: Mapping[str, Baseline] = {
    "one_segment": one_segment,
    "position_grid": position_grid,
    "color_kmeans": color_kmeans,
}
