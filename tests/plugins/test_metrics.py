"""ARI and FG-ARI against scikit-learn and by hand; the mean squared error by hand."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score  # noqa: TID253
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.plugins.metrics.ari import ARI, ARIConfig
from slotlab.plugins.metrics.fg_ari import ForegroundARI, ForegroundARIConfig
from slotlab.plugins.metrics.mse import MSE, MSEConfig

CONTEXT = MetricContext(value_range=(-1.0, 1.0))
ari = ARI(ARIConfig(), CONTEXT)
fg_ari = ForegroundARI(ForegroundARIConfig(), CONTEXT)
mse = MSE(MSEConfig(), CONTEXT)


def outcome(true: Any, predicted: Any) -> Outcome:
    true_BHW, predicted_BHW = torch.as_tensor(true), torch.as_tensor(predicted)
    images = torch.zeros(len(true_BHW), 3, *true_BHW.shape[1:])
    return Outcome(images_BCHW=images, true_BHW=true_BHW, predicted_BHW=predicted_BHW)


def sklearn_ari(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    if true.size == 0:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on many labels in small images
        return float(adjusted_rand_score(true.ravel(), predicted.ravel()))


def check(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
    """Compare a batch with scikit-learn, image by image."""
    found, foreground = ari(outcome(true, predicted)), fg_ari(outcome(true, predicted))
    for i, (t, p) in enumerate(zip(true, predicted, strict=True)):
        np.testing.assert_allclose(found[i].item(), sklearn_ari(t, p), rtol=0, atol=1e-12)
        expected = sklearn_ari(t[t > 0], p[t > 0])
        np.testing.assert_allclose(foreground[i].item(), expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("seed", range(20))
def test_random_pairs_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (60, int(rng.integers(1, 12)), int(rng.integers(1, 12)))
    true, predicted = np.empty(shape, np.int64), np.empty(shape, np.int64)
    for i in range(len(true)):
        true[i] = rng.integers(0, rng.integers(1, 13), shape[1:])
        noise = rng.integers(0, rng.integers(1, 13), shape[1:])
        predicted[i] = np.where(rng.random(shape[1:]) < rng.random(), true[i], noise)
    true[0], predicted[1], true[2] = 0, 3, 5
    check(true, predicted)


def test_whole_images_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 7, (4, 8, 8)).repeat(16, axis=1).repeat(16, axis=2)
    predicted = np.where(rng.random(blocks.shape) < 0.7, blocks, rng.integers(0, 11, blocks.shape))
    check(blocks, predicted)


labels = st.lists(st.integers(0, 4), min_size=1, max_size=9)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_small_degenerate_pairs_equal_scikit_learn(data: Any) -> None:
    true = data.draw(labels)
    predicted = data.draw(st.lists(st.integers(0, 4), min_size=len(true), max_size=len(true)))
    check(np.array(true)[None, None], np.array(predicted)[None, None])


def test_symmetric_in_both_segmentations() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.integers(0, 5, (20, 6, 6)), rng.integers(0, 4, (20, 6, 6))
    torch.testing.assert_close(ari(outcome(true, predicted)), ari(outcome(predicted, true)))


# --- by hand -----------------------------------------------------------------------------


def value(metric: Any, true: list[int], predicted: list[int]) -> float:
    found: Tensor = metric(outcome([[true]], [[predicted]]))
    return found.item()


def test_ari_by_hand() -> None:
    # Of 6 pairs of pixels 2 are together in both, 2 expected by chance: 1 (0 0), 1 (1 1); (2*2)/6 = 2/3.
    assert value(ari, [0, 0, 1, 1], [0, 0, 1, 1]) == 1.0
    # Together in truth: 2 pairs; in the prediction: 1; in both: 1; by chance 2*1/6 = 1/3.
    assert value(ari, [0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    # Together in both: none; by chance 2*2/6.
    assert value(ari, [0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx((0 - 2 / 3) / (2 - 2 / 3))
    assert value(ari, [0, 0, 0, 0], [0, 0, 0, 0]) == 1.0
    assert value(ari, [0, 0, 0, 0], [0, 1, 2, 3]) == 0.0
    assert value(ari, [0, 1, 2, 3], [3, 2, 1, 0]) == 1.0
    assert value(ari, [0], [4]) == 1.0


def test_fg_ari_by_hand() -> None:
    # The two background pixels are left out; what the prediction says there does not matter.
    assert value(fg_ari, [0, 0, 1, 1, 2, 2], [1, 2, 0, 0, 3, 3]) == 1.0
    assert value(fg_ari, [0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 1, 2]) == pytest.approx((1 - 1 / 3) / (1.5 - 1 / 3))
    assert value(fg_ari, [0, 1, 1, 1], [2, 0, 0, 0]) == 1.0  # one object in one segment
    assert value(fg_ari, [0, 1, 1, 1], [0, 0, 0, 1]) == 0.0  # one object in two
    assert math.isnan(value(fg_ari, [0, 0, 0], [0, 1, 2]))


def test_the_mean_squared_error_by_hand() -> None:
    images = torch.tensor([[[[0.0, 1.0]]], [[[-1.0, 0.5]]]])
    reconstructions = torch.tensor([[[[0.5, 1.0]]], [[[1.0, -0.5]]]])
    pair = Outcome(
        images_BCHW=images, true_BHW=None, predicted_BHW=None, reconstructions_BCHW=reconstructions
    )
    assert mse(pair).tolist() == [0.125, 2.5]


def test_the_mean_squared_error_has_no_upper_bound() -> None:
    images = torch.zeros(1, 3, 2, 2)
    pair = Outcome(images_BCHW=images, true_BHW=None, predicted_BHW=None, reconstructions_BCHW=images + 10)
    assert mse.bounds[0] <= mse(pair).item() <= mse.bounds[1]
