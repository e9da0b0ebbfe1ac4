"""Adaptive slots and their price: parity with the formulas, decisions and their noise, models that use them."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import (
    AuxiliaryContext,
    Decoded,
    Found,
    Grouped,
    GroupingContext,
    ModelOutput,
    Reconstruction,
    Slots,
)
from slotlab.framework.model.masks import labels_of, masks_at
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.plugins.auxiliaries.sparsity import Sparsity, SparsityConfig
from slotlab.plugins.groupings.adaptive_slots import AdaptiveSlots, AdaptiveSlotsConfig
from slotlab.registry import ComponentError

REGISTRY = load_registry()
CONTEXT = GroupingContext(slot_dim=8, token_dim=6, grid=(3, 5))


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def stream(seed: int = 1) -> Generator:
    return Generator().manual_seed(seed)


def adaptive(inner: dict[str, Any] | None = None, **settings: Any) -> AdaptiveSlots:
    data = {"grouping": {"name": "slot_attention", **(inner or {})}, **settings}
    config = AdaptiveSlotsConfig.model_validate(data, context={"registry": REGISTRY})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AdaptiveSlots(config, CONTEXT).double()


def plainly(module: AdaptiveSlots, vectors_BKD: Tensor, gumbel_BK2: Tensor, tau: float) -> Tensor:
    """AdaSlot's decision, written from the paper: norm, two layers, hard one-hot minus soft plus soft."""
    weights = {name: p for name, p in module.named_parameters() if name.startswith("score")}
    mean, var = vectors_BKD.mean(-1, keepdim=True), vectors_BKD.var(-1, keepdim=True, unbiased=False)
    x = (vectors_BKD - mean) / (var + 1e-5).sqrt() * weights["score.0.weight"] + weights["score.0.bias"]
    x = (x @ weights["score.1.weight"].T + weights["score.1.bias"]).clamp(min=0)
    logits = x @ weights["score.3.weight"].T + weights["score.3.bias"]
    soft = torch.exp((logits + gumbel_BK2) / tau)
    soft = soft / soft.sum(-1, keepdim=True)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return (hard - soft.detach() + soft)[..., 1]


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_decisions_and_their_gradients_are_the_papers(tau: float) -> None:
    module, tokens = adaptive(temperature=tau), noise(3, 15, 6)
    vectors = noise(3, 4, 8, seed=6)
    grouped = module(tokens, Slots(vectors), generator=stream())
    keep = grouped.slots.keep_BK
    assert keep is not None
    gumbel = -torch.empty(3, 4, 2, dtype=torch.float64).exponential_(generator=stream()).log()
    expected = plainly(module, module.grouping(tokens, Slots(vectors)).slots.vectors_BKD, gumbel, tau)
    torch.testing.assert_close(keep, expected, rtol=1e-9, atol=1e-9)
    assert 0 < keep.sum() < 12
    price = noise(3, 4, seed=7)
    for found in (keep, expected):
        module.zero_grad()
        (found * price).sum().backward()
        gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        if found is keep:
            first = gradients
    assert any(name.startswith("grouping") for name in first), "slots learn which of them are worth keeping"
    assert gradients.keys() == first.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(first[name], gradient, rtol=1e-9, atol=1e-9)


def test_what_the_inner_grouping_finds_stays_as_it_is() -> None:
    module, tokens = adaptive(), noise(2, 15, 6)
    slots = Slots(noise(2, 4, 8, seed=6), {"weight": noise(2, 4, seed=7)})
    plain, found = module.grouping(tokens, slots), module(tokens, slots, generator=stream())
    assert torch.equal(found.slots.vectors_BKD, plain.slots.vectors_BKD)
    assert torch.equal(found.attention_BKN, plain.attention_BKN)
    assert torch.equal(found.slots.extras["weight"], slots.extras["weight"])


def test_a_slot_is_kept_as_often_as_its_logits_say() -> None:
    module = adaptive()
    logits = torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]).expand(20_000, 2, 2)
    shares = module.decide(logits, stream()).mean(dim=0)
    expected = torch.sigmoid(torch.tensor([1.0, -2.0]))
    torch.testing.assert_close(shares, expected, rtol=0, atol=0.015)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_decisions_are_exactly_zero_or_one(dtype: torch.dtype) -> None:
    logits = (3 * noise(50, 40, 2)).to(dtype)
    keep = adaptive().decide(logits, stream())
    assert set(keep.unique().tolist()) == {0.0, 1.0}


def test_in_evaluation_decisions_are_drawn_or_the_most_likely_ones() -> None:
    tokens, slots = noise(8, 15, 6), Slots(noise(8, 4, 8, seed=6))

    def decisions(module: AdaptiveSlots, seed: int) -> Tensor:
        keep: Tensor = module(tokens, slots, generator=stream(seed)).slots.keep_BK
        return keep

    drawn, likely = adaptive().eval(), adaptive(evaluate="most_likely").eval()
    assert torch.equal(decisions(drawn, 1), decisions(drawn, 1))
    assert not torch.equal(decisions(drawn, 1), decisions(drawn, 2))
    assert torch.equal(decisions(likely, 1), decisions(likely, 2))
    logits = likely.score(likely.grouping(tokens, slots).slots.vectors_BKD)
    assert torch.equal(decisions(likely, 1), logits.argmax(dim=2).double())
    untouched = stream()
    likely(tokens, slots, generator=untouched)
    assert torch.equal(untouched.get_state(), stream().get_state()), "nothing is drawn"
    assert not torch.equal(decisions(likely.train(), 1), decisions(likely, 2))


def test_a_slot_that_was_dropped_before_stays_dropped() -> None:
    before = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, 1]]).double()
    slots = Slots(noise(2, 4, 8, seed=6), {"keep": before})
    keep = adaptive()(noise(2, 15, 6), slots, generator=stream(3)).slots.keep_BK
    assert torch.equal(keep[before == 0], torch.zeros(2).double())
    assert keep.sum() > 0


def test_mistakes_of_the_inner_grouping_are_shown_at_its_setting() -> None:
    with pytest.raises(
        ComponentError, match=r"^slot_attention: 3 heads do not divide the slots' width 8$"
    ) as e:
        adaptive({"heads": 3})
    assert e.value.field == "grouping"


def test_no_pixel_belongs_to_a_dropped_slot() -> None:
    masks, keep = torch.zeros(2, 3, 1, 4), torch.tensor([[0.0, 1, 0], [0, 0, 0]])
    masks[0, 1, 0, 0] = 1  # the other three pixels are left to nobody
    grouped = Slots(torch.zeros(2, 3, 8), {"keep": keep})
    made = Reconstruction(Found(grouped, masks), Decoded(torch.zeros(2, 3, 1, 4), masks), None)
    assert labels_of(masks, made).tolist() == [[[1, 1, 1, 1]], [[0, 0, 0, 0]]]
    attention = masks_at(made, "attention", (1, 4))
    assert attention is not None
    assert torch.equal(attention[:, 0], torch.zeros(2, 1, 4))


# --- the price ---------------------------------------------------------------------------


def output(keep: Tensor | None) -> ModelOutput:
    slots = Slots(torch.zeros(2, 3, 8), {} if keep is None else {"keep": keep})
    images = torch.zeros(2, 3, 8, 8)
    return ModelOutput(
        images_BCHW=images,
        features_BCHW=images,
        tokens_BND=torch.zeros(2, 64, 8),
        initial=slots,
        grouped=Grouped(slots, torch.zeros(2, 3, 64)),
        decoded=Decoded(images),
        target_BCHW=images,
        grid=(8, 8),
    )


def sparsity() -> Sparsity:
    images = AuxiliaryContext(image_size=(8, 8), num_slots=3, slot_dim=8, token_dim=8, grid=(8, 8))
    return Sparsity(SparsityConfig(), images)


def test_the_price_is_the_mean_keep_weight() -> None:
    keep = torch.tensor([[1.0, 0, 1], [0, 0, 1]], requires_grad=True)
    losses = sparsity()(output(keep))
    assert losses.total.item() == 0.5
    assert losses.terms["slots"].item() == 1.5
    losses.total.backward()
    assert keep.grad is not None
    assert torch.equal(keep.grad, torch.full((2, 3), 1 / 6))


def test_a_price_without_a_choice_is_refused() -> None:
    text = "the grouping drops no slots; take one that does, such as 'adaptive_slots'"
    with pytest.raises(ComponentError, match=f"^{text}$"):
        sparsity()(output(None))
