"""Sums whose order of additions is fixed, so that a row never depends on its batch.

torch's own reductions split their work by the shape of the whole tensor and the number of
threads. Here only elementwise additions are used: the same bits in any batch.
"""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

CACHED, MOST = 1 << 17, 1 << 24
"""Values processed at a time: on a CPU as many as stay in a core's cache, elsewhere a bound on memory."""


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function that treats each image alone to a few images at a time.

    Args:
        function: tensors of some images to a tensor of shape (images,).
        tensors: of shape (B, ...), the largest first.
    """
    images = max(1, (CACHED if tensors[0].device.type == "cpu" else MOST) // tensors[0][0].numel())
    starts = range(0, len(tensors[0]), images)
    return torch.cat([function(*(t[start : start + images] for t in tensors)) for start in starts])


def sum_of_each(values_BN: Tensor) -> Tensor:
    """Sum the second half onto the first until one value is left.

    Args:
        values_BN: of shape (B, ...); whatever follows the first axis is summed.

    Returns:
        shape (B,), of the dtype of the values; an error of about log2(N) units of the last place.
    """
    left_BN = values_BN.flatten(1)
    if left_BN.shape[1] == 0:
        return left_BN.new_zeros(len(left_BN))
    while (length := left_BN.shape[1]) > 1:
        half = length // 2
        sums_BN = left_BN[:, :half] + left_BN[:, half : 2 * half]
        left_BN = sums_BN if length % 2 == 0 else torch.cat([sums_BN, left_BN[:, -1:]], dim=1)
    return left_BN[:, 0]


def mean_of_each(values_BN: Tensor) -> Tensor:
    """Mean over all but the first axis, by `sum_of_each`; NaN for no values."""
    return sum_of_each(values_BN) / values_BN[0].numel()


def sum_in_order(values_BK: Tensor) -> Tensor:
    """Sum over the last axis from left to right: zeros that a batch adds at the end change nothing."""
    return reduce(torch.add, values_BK.unbind(-1), values_BK.new_zeros(values_BK.shape[:-1]))
