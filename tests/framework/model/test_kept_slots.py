"""Masks without dropped slots: AdaSlot's formula, and nothing at all where every slot is kept."""

import torch
from torch import Tensor

from slotlab.framework.model.kept_slots import kept


def masks(*shape: int) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=stream, dtype=torch.float64).softmax(dim=1)


def test_without_keep_weights_masks_stay_as_they_are_to_the_bit() -> None:
    given = masks(2, 4, 3, 5)
    assert kept(given, None) is given


def test_the_kept_slots_share_each_position() -> None:
    given, keep = masks(2, 4, 6), torch.tensor([[1.0, 0, 1, 0.5], [0, 0, 0, 0]]).double()
    found = kept(given, keep)
    for k in range(4):
        for n in range(6):
            total = sum(float(given[0, j, n] * keep[0, j]) for j in range(4))
            expected = float(given[0, k, n] * keep[0, k]) / (total + 1e-5)
            assert abs(float(found[0, k, n]) - expected) < 1e-12
    assert torch.equal(found[1], torch.zeros(4, 6).double())


def test_a_dropped_slot_may_be_learned_to_be_kept() -> None:
    keep = torch.tensor([[1.0, 0, 1]]).double().requires_grad_()
    kept(masks(1, 3, 4), keep)[:, 1].sum().backward()
    assert keep.grad is not None
    assert keep.grad[0, 1] > 0
    assert keep.grad.isfinite().all()
