"""Convert images from the spec's value range to what a network's weights were trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalization(nn.Module):
    """Images (B, C, H, W) of a value range to (image in [0, 1] - mean) / std, per channel.

    The result does not depend on the value range. Its buffers are not saved with the weights.
    """

    scale_C11: Tensor
    shift_C11: Tensor

    def __init__(self, value_range: tuple[float, float], mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        low, high = value_range
        mean_C, std_C = (torch.tensor(list(values), dtype=torch.float64) for values in (mean, std))
        scale_C = 1 / ((high - low) * std_C)
        shift_C = -low * scale_C - mean_C / std_C
        self.register_buffer("scale_C11", scale_C.float()[:, None, None], persistent=False)
        self.register_buffer("shift_C11", shift_C.float()[:, None, None], persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return normalized images."""
        return images_BCHW * self.scale_C11 + self.shift_C11
