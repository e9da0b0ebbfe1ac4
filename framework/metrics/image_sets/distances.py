"""Distances between two sets of features, in float64. Axes: N and M images, D features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet_distance(features_ND: Floats, real_MD: Floats) -> float:
    """Return the squared Frechet distance of the Gaussians with the sets' means and covariances.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), with covariances over n - 1. At least 0; 0 for
    equal statistics; symmetric. Source: Heusel et al. 2017, equation 6.

    With S = R' R, the last trace is the sum of the singular values of R1 R2', whose squares are the
    eigenvalues of S1 S2. This avoids the square root of a matrix, which is slow and, for the singular
    covariances of few images, unstable.
    """
    difference_D = features_ND.mean(axis=0) - real_MD.mean(axis=0)
    first_RD, second_SD = covariance_root(features_ND), covariance_root(real_MD)
    mixed = np.linalg.svd(first_RD @ second_SD.T, compute_uv=False).sum()
    value = difference_D @ difference_D + (first_RD**2).sum() + (second_SD**2).sum() - 2 * mixed
    return max(float(value), 0.0)  # rounding may give a value just below


def covariance_root(features_ND: Floats) -> Floats:
    """Return R with R' R the covariance (over n - 1), of at most D rows."""
    centered_ND: Floats = (features_ND - features_ND.mean(axis=0)) / np.sqrt(len(features_ND) - 1)
    if len(centered_ND) <= centered_ND.shape[1]:
        return centered_ND
    triangle: Any = np.linalg.qr(centered_ND, mode="r")
    found_DD: Floats = triangle
    return found_DD


def kernel_distances(
    features_ND: Floats, real_MD: Floats, *, subsets: int, subset_size: int, seed: int
) -> Floats:
    """Return the squared maximum mean discrepancy of random subsets, float64 (subsets,).

    Unbiased, so that it may be negative; its expectation is 0 for sets of one distribution. Kernel
    (x.y / D + 1)^3. Source: Binkowski et al. 2018, section 4; subsets are drawn as clean-fid does, by
    numpy's first generator.
    """
    stream = np.random.RandomState(seed)
    size = min(len(features_ND), len(real_MD), subset_size)
    width = features_ND.shape[1]

    def kernel(x_ND: Floats, y_MD: Floats) -> Floats:
        cubed_NM: Floats = (x_ND @ y_MD.T / width + 1) ** 3
        return cubed_NM

    found = np.empty(subsets)
    for number in range(subsets):
        real_SD = real_MD[stream.choice(len(real_MD), size, replace=False)]
        some_SD = features_ND[stream.choice(len(features_ND), size, replace=False)]
        within = sum(k.sum() - np.trace(k) for k in (kernel(real_SD, real_SD), kernel(some_SD, some_SD)))
        between = kernel(real_SD, some_SD).sum()
        found[number] = within / (size * (size - 1)) - 2 * between / size**2
    return found
