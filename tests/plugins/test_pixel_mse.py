"""The two pixel losses: a mean over everything, and a sum over channels and pixels of each image."""

import pytest
import torch

from slotlab.framework.contracts import Decoded, ObjectiveContext
from slotlab.plugins.objectives.pixel_mse import PixelMSE, PixelMSEConfig

CONTEXT = ObjectiveContext(image_size=(4, 6), feature_channels=2, grid=(2, 3))


@pytest.mark.parametrize("batch", [1, 5])
def test_the_loss_is_what_its_name_says(batch: int) -> None:
    stream = torch.Generator().manual_seed(batch)
    prediction, target = (
        torch.randn(batch, 3, 4, 6, generator=stream, dtype=torch.float64) for _ in range(2)
    )
    squares = (prediction - target).square()
    found = {
        reduction: PixelMSE(PixelMSEConfig(reduction=reduction), CONTEXT)
        .loss(Decoded(prediction), target)
        .total
        for reduction in ("mean", "sum")
    }
    torch.testing.assert_close(found["mean"], squares.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(found["sum"], squares.sum() / batch, rtol=1e-12, atol=0)
