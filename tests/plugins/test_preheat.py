"""The preheating loss: what it is, what it teaches, and what it needs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import (
    AuxiliaryContext,
    Decoded,
    Grouped,
    GroupingContext,
    InitializerContext,
    ModelOutput,
    Slots,
)
from slotlab.plugins.auxiliaries.preheat import Preheat, PreheatConfig
from slotlab.plugins.groupings.slot_attention import SlotAttention, SlotAttentionConfig
from slotlab.plugins.initializers.preheated import PreheatedConfig, PreheatedInitializer
from slotlab.registry import ComponentError

CONTEXT = AuxiliaryContext(image_size=(8, 8), num_slots=4, slot_dim=8, token_dim=6, grid=(3, 4))


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def parts() -> tuple[PreheatedInitializer, SlotAttention]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        starts = InitializerContext(num_slots=4, slot_dim=8, token_dim=6)
        initializer = PreheatedInitializer(PreheatedConfig(), starts).double()
        groups = GroupingContext(slot_dim=8, token_dim=6, grid=(3, 4))
        return initializer, SlotAttention(SlotAttentionConfig(truncate="bi_level"), groups).double()


def output(tokens: Tensor, initial: Slots, grouped: Grouped) -> ModelOutput:
    images = torch.zeros(2, 3, 8, 8)
    return ModelOutput(
        images_BCHW=images,
        features_BCHW=images,
        tokens_BND=tokens,
        initial=initial,
        grouped=grouped,
        decoded=Decoded(images),
        target_BCHW=images,
        grid=(3, 4),
    )


def passed() -> tuple[PreheatedInitializer, SlotAttention, ModelOutput]:
    initializer, grouping = parts()
    tokens = noise(2, 12, 6, seed=0).requires_grad_()
    initial = initializer(tokens, None, generator=Generator().manual_seed(1))
    return initializer, grouping, output(tokens, initial, grouping(tokens, initial))


def test_it_is_the_mean_squared_difference() -> None:
    _, _, found = passed()
    losses = Preheat(PreheatConfig(), CONTEXT)(found)
    wanted = found.grouped.slots.vectors_BKD.detach()
    differences: list[float] = (found.initial.extras["preheated"] - wanted).flatten().tolist()
    expected = sum(d**2 for d in differences) / (2 * 4 * 8)
    assert losses.total.shape == ()
    assert losses.total.item() == pytest.approx(expected, rel=1e-12)
    same = Slots(wanted, {"preheated": wanted})
    assert Preheat(PreheatConfig(), CONTEXT)(replace(found, initial=same)).total == 0
    assert not Preheat.traced
    assert PreheatConfig().weight == 100


def test_only_the_preheating_layer_learns_from_it() -> None:
    initializer, grouping, found = passed()
    Preheat(PreheatConfig(), CONTEXT)(found).total.backward()  # type: ignore[no-untyped-call]
    learned = {name for name, p in initializer.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {name for name, _ in initializer.named_parameters()} - {"log_noise_D"}
    assert all(p.grad is None for p in grouping.parameters())
    assert found.tokens_BND.grad is None


def test_steps_down_it_bring_the_first_slots_near_the_last() -> None:
    initializer, _, found = passed()
    optimizer: Any = torch.optim.Adam(initializer.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        initial = initializer(found.tokens_BND, None, generator=Generator().manual_seed(1))
        loss = Preheat(PreheatConfig(), CONTEXT)(replace(found, initial=initial)).total
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_slots_that_are_not_preheated_are_refused() -> None:
    _, _, found = passed()
    bare = replace(found, initial=Slots(found.initial.vectors_BKD))
    with pytest.raises(
        ComponentError, match=r"^the initial slots are not preheated; take the initializer 'preheated'$"
    ):
        Preheat(PreheatConfig(), CONTEXT)(bare)
