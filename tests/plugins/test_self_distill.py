"""Self-distillation is the cross-entropy of DIAS's code, and teaches the first iteration alone."""

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import (
    AuxiliaryContext,
    Decoded,
    Grouped,
    GroupingContext,
    GroupingTrace,
    ModelOutput,
    Slots,
)
from slotlab.plugins.auxiliaries.self_distill import SelfDistill, SelfDistillConfig
from slotlab.plugins.groupings.slot_attention import SlotAttention, SlotAttentionConfig
from slotlab.registry import ComponentError

CONTEXT = AuxiliaryContext(image_size=(8, 8), num_slots=4, slot_dim=8, token_dim=6, grid=(3, 4))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def output(attention_BTKN: Tensor) -> ModelOutput:
    images, slots = torch.zeros(2, 3, 8, 8), Slots(torch.zeros(2, 4, 8))
    last = attention_BTKN[:, -1]
    return ModelOutput(
        images_BCHW=images,
        features_BCHW=images,
        tokens_BND=torch.zeros(2, 12, 6),
        initial=slots,
        grouped=Grouped(slots, last, GroupingTrace(last.log(), attention_BTKN)),
        decoded=Decoded(images),
        target_BCHW=images,
        grid=(3, 4),
    )


def loss(attention_BTKN: Tensor, compare: str = "softmax") -> Tensor:
    config = SelfDistillConfig.model_validate({"compare": compare})
    return SelfDistill(config, CONTEXT)(output(attention_BTKN)).total


def plainly(first: Tensor, last: Tensor, compare: str) -> Tensor:
    """The mean over images and tokens of -sum_k last_k log q_k; q is the softmax of the first attention."""
    total = first.new_zeros(())
    for b in range(first.shape[0]):
        for n in range(first.shape[2]):
            q = first[b, :, n]
            if compare == "softmax":
                q = q.exp() / q.exp().sum()
            total = total - sum(last[b, k, n].item() * q[k].log() for k in range(first.shape[1]))
    return total / (first.shape[0] * first.shape[2])


@pytest.mark.parametrize("compare", ["softmax", "attention"])
def test_loss_and_gradient_are_the_formulas(compare: str) -> None:
    attention = noise(2, 3, 4, 12, seed=0).softmax(dim=2).requires_grad_()
    found, expected = loss(attention, compare), plainly(attention[:, 0], attention[:, 2], compare)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    (ours,) = torch.autograd.grad(found, attention)
    (plain,) = torch.autograd.grad(expected, attention)
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    assert torch.equal(ours[:, 1:], torch.zeros(2, 2, 4, 12).double()), "the last iteration is the teacher"
    assert ours[:, 0].abs().sum() > 0


def test_attention_compared_as_it_is_learns_no_more_when_both_are_equal() -> None:
    """Of two distributions the cross-entropy is least where they are the same; not so of a second softmax."""
    one = noise(2, 1, 4, 12, seed=0).softmax(dim=2)
    logits = one.log().requires_grad_()
    both = torch.cat([logits.softmax(dim=2), one], dim=1)
    (gradient,) = torch.autograd.grad(loss(both, "attention"), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    both = torch.cat([logits.softmax(dim=2), one], dim=1)
    (gradient,) = torch.autograd.grad(loss(both, "softmax"), logits)
    assert gradient.abs().max() > 1e-4


def test_no_attention_at_all_is_no_infinite_loss() -> None:
    hard = torch.eye(4).double()[:, [0, 1, 2, 3] * 3].expand(2, 1, 4, 12)
    found = loss(torch.cat([hard, hard.roll(1, dims=2)], dim=1), "attention")
    assert found.isfinite()


@pytest.mark.parametrize("truncate", ["none", "bi_level"])
def test_it_teaches_the_queries_of_the_first_iteration(truncate: str) -> None:
    torch.manual_seed(0)
    context = GroupingContext(slot_dim=8, token_dim=6, grid=(3, 4), traced=True)
    config = SlotAttentionConfig.model_validate({"truncate": truncate})
    grouping = SlotAttention(config, context).double()
    initial = noise(2, 4, 8, seed=1).requires_grad_()
    grouped = grouping(noise(2, 12, 6, seed=2), Slots(initial))
    assert grouped.trace is not None
    loss(grouped.trace.attention_BTKN).backward()
    assert initial.grad is not None
    assert initial.grad.abs().sum() > 0


def test_one_iteration_has_nothing_to_learn_from_itself() -> None:
    text = "the grouping makes one iteration, which has nothing to learn from itself"
    with pytest.raises(ComponentError, match=f"^{text}$"):
        loss(noise(2, 1, 4, 12, seed=0).softmax(dim=2))
