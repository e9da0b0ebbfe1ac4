"""Distance of reconstructions from images: squared error, PSNR, SSIM. All in float64."""

import torch
from torch import Tensor

from slotlab.framework.arithmetic.sums import in_chunks, mean_of_each, sum_of_each

WINDOW_RADIUS, WINDOW_SIGMA = 5, 1.5
"""Wang et al. 2004: a Gaussian window of 11 x 11 pixels."""


def sum_of_squares(first_BCHW: Tensor, second_BCHW: Tensor, scale: float = 1.0) -> Tensor:
    """Sum over channels and pixels of the square of `scale` times the difference: float64 of shape (B,)."""

    def sums(first: Tensor, second: Tensor) -> Tensor:
        return sum_of_each(((first.double() - second.double()) * scale).square())

    return in_chunks(sums, first_BCHW, second_BCHW)


def mean_of_squares(first_BCHW: Tensor, second_BCHW: Tensor, scale: float = 1.0) -> Tensor:
    """Mean over channels and pixels of the same square: float64 of shape (B,)."""
    return sum_of_squares(first_BCHW, second_BCHW, scale) / first_BCHW[0].numel()


def sum_of_mean_squares(first_BCHW: Tensor, second_BCHW: Tensor, scale: float = 1.0) -> Tensor:
    """Sum over pixels of the mean over channels of the same square: float64 of shape (B,)."""
    return sum_of_squares(first_BCHW, second_BCHW, scale) / first_BCHW.shape[1]


def peak_signal_to_noise(mse_B: Tensor, span: float) -> Tensor:
    """Return `10 log10(span^2 / mse)` in decibels, (B,); infinite where the error is 0."""
    return 10 * torch.log10(span**2 / mse_B)


def structural_similarity(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    """Mean structural similarity over channels and windows that lie inside the image, on [0, 1].

    Source: Wang et al. 2004, equation 13, with K1 = 0.01, K2 = 0.03 and population variances:
    scikit-image's `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`. Its luminance
    term supposes values that are not negative, so it is not meaningful on [-1, 1].

    Returns:
        float64 of shape (B,) in [-1, 1]; NaN for images smaller than the window.
    """
    if min(first_BCHW.shape[2:]) < 2 * WINDOW_RADIUS + 1:
        return torch.full((len(first_BCHW),), torch.nan, dtype=torch.float64, device=first_BCHW.device)
    return in_chunks(_similarity, first_BCHW, second_BCHW)


def _similarity(first_BCHW: Tensor, second_BCHW: Tensor) -> Tensor:
    first, second = first_BCHW.double(), second_BCHW.double()
    mean_1, mean_2 = _blur(first), _blur(second)
    variance_1 = _blur(first * first) - mean_1 * mean_1
    variance_2 = _blur(second * second) - mean_2 * mean_2
    covariance = _blur(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    below = (mean_1 * mean_1 + mean_2 * mean_2 + c1) * (variance_1 + variance_2 + c2)
    return mean_of_each(above / below)


def _blur(images_BCHW: Tensor) -> Tensor:
    """Weigh by the Gaussian window, at the positions where it fits: (B, C, H - 10, W - 10).

    Shifted sums rather than a convolution, whose last bits depend on the batch.
    """
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    taps = (weights / weights.sum()).tolist()
    for axis in (2, 3):
        length = images_BCHW.shape[axis] - 2 * WINDOW_RADIUS
        blurred = taps[0] * images_BCHW.narrow(axis, 0, length)
        term = torch.empty_like(blurred)
        for start, tap in enumerate(taps[1:], start=1):
            # In two steps: fused multiply-adds round differently at the ends of a row than in its middle.
            blurred += torch.mul(images_BCHW.narrow(axis, start, length), tap, out=term)
        images_BCHW = blurred
    return images_BCHW
