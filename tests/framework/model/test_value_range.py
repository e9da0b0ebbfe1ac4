import pytest
import torch

from slotlab.framework.model.value_range import SIGNED, UNIT, rescale

X = torch.tensor([0.0, 0.25, 1.0, 1.5], dtype=torch.float64)


def test_ranges() -> None:
    assert rescale(X, UNIT, SIGNED).tolist() == [-1, -0.5, 1, 2]
    assert rescale(2 * X - 1, SIGNED, UNIT).tolist() == pytest.approx(X.tolist())
    assert rescale(X, UNIT, UNIT) is X
