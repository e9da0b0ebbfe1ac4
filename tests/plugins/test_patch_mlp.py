"""The patch MLP against a plain transcription of DINOSAUR's decoder and FT-DINOSAUR's top-k decoding."""

from math import prod
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import DecoderContext, Grouped, Guided, Slots, TargetShape
from slotlab.plugins.decoders.patch_mlp import PatchMLP, PatchMLPConfig
from slotlab.registry import ComponentError

SIZE, CHANNELS, DIM, SLOTS = (3, 5), 7, 6, 4
TOKENS = prod(SIZE)
CONTEXT = DecoderContext(slot_dim=DIM, target=TargetShape(CHANNELS, SIZE), num_slots=SLOTS, grid=SIZE)
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(context: DecoderContext = CONTEXT, **settings: Any) -> PatchMLP:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return PatchMLP(PatchMLPConfig(**{"hidden": (9, 8), **settings}), context).double()


def grouped(slots: Slots, seed: int = 4, tokens: int = TOKENS) -> Grouped:
    number = slots.vectors_BKD.shape[1]
    return Grouped(slots, noise(len(slots.vectors_BKD), number, tokens, seed=seed).softmax(dim=1))


def transcribed(
    weights: dict[str, Tensor], slots: Tensor, attention: Tensor | None, top_k: int, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Image by image and position by position: the prediction (B, C, H, W) and the masks (B, K, H, W)."""
    linears = sorted({int(name.split(".")[1]) for name in weights if name.startswith("mlp")})
    predictions, masks = [], []
    for b in range(len(slots)):
        for n in range(TOKENS):
            outputs = []
            for slot in slots[b]:
                x = slot + weights["position_ND"][n]
                for index in linears:
                    x = weights[f"mlp.{index}.weight"] @ x + weights[f"mlp.{index}.bias"]
                    x = x if index == linears[-1] else x.clamp(min=0)
                outputs.append(x)
            parts, logits = torch.stack(outputs).split([CHANNELS, 1], dim=1)
            logits = logits[:, 0]
            if attention is not None:
                best = sorted(range(SLOTS), key=lambda k, b=b, n=n: -float(attention[b, k, n]))[:top_k]
                unseen = torch.tensor([k not in best for k in range(SLOTS)])
                logits = logits.masked_fill(unseen, -torch.inf)
            mask = logits.exp() / logits.exp().sum()
            if keep is not None:
                mask = mask * keep[b] / ((mask * keep[b]).sum() + 1e-5)
            predictions.append((mask[:, None] * parts).sum(dim=0))
            masks.append(mask)
    shape = (len(slots), *SIZE, -1)
    return tuple(torch.stack(each).view(shape).permute(0, 3, 1, 2) for each in (predictions, masks))  # type: ignore[return-value]


@pytest.mark.parametrize("keeps", [False, True], ids=["all", "kept"])
@pytest.mark.parametrize("top_k", [None, 1, 3, SLOTS])
def test_forward_and_gradients_are_the_papers(top_k: int | None, keeps: bool) -> None:
    decoder = build(top_k=top_k)
    vectors = noise(2, SLOTS, DIM).requires_grad_()
    keep = (
        torch.tensor([[1.0, 0, 1, 0.5], [1, 1, 0, 1]], dtype=torch.float64).requires_grad_()
        if keeps
        else None
    )
    slots = Slots(vectors, {} if keep is None else {"keep": keep})
    guide = {} if top_k is None else {"grouped": grouped(slots)}
    found = decoder(slots, **guide)
    weights = dict(decoder.named_parameters())
    attention = guide["grouped"].attention_BKN if guide else None
    prediction, masks = transcribed(weights, vectors, attention, top_k or SLOTS, keep)
    torch.testing.assert_close(found.prediction_BCHW, prediction, **EXACT)
    torch.testing.assert_close(found.masks_BKHW, masks, **EXACT)
    learned = [vectors, *weights.values(), *([] if keep is None else [keep])]
    factors = noise(*prediction.shape, seed=8), noise(*masks.shape, seed=9)
    first, second = (
        torch.autograd.grad(sum((x * f).sum() for x, f in zip(made, factors, strict=True)), learned)  # type: ignore[arg-type]
        for made in ((found.prediction_BCHW, found.masks_BKHW), (prediction, masks))
    )
    assert all(gradient.abs().max() > 0 for gradient in first)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_parts_mix_to_the_prediction() -> None:
    found = build()(Slots(noise(2, SLOTS, DIM)))
    mixed = (found.masks_BKHW[:, :, None] * found.parts_BKCHW).sum(dim=1)
    torch.testing.assert_close(mixed, found.prediction_BCHW, **EXACT)


@pytest.mark.parametrize("training", [True, False])
def test_top_k_is_the_same_in_training_and_evaluation(training: bool) -> None:
    decoder, slots = build(top_k=2).train(training), Slots(noise(2, SLOTS, DIM))
    guide = grouped(slots)
    found = decoder(slots, grouped=guide)
    assert found.parts_BKCHW is None
    chosen = found.masks_BKHW.flatten(2) > 0
    least = guide.attention_BKN.sort(dim=1, descending=True).values[:, 1:2]
    assert torch.equal(chosen, guide.attention_BKN >= least)


def test_the_choice_has_no_gradient() -> None:
    decoder, slots = build(top_k=2), Slots(noise(2, SLOTS, DIM).requires_grad_())
    logits = noise(2, SLOTS, TOKENS).requires_grad_()
    decoder(slots, grouped=Grouped(slots, logits.softmax(dim=1))).prediction_BCHW.sum().backward()
    assert logits.grad is None
    assert slots.vectors_BKD.grad is not None


def test_guided_order_of_slots_and_slots_fewer_than_top_k() -> None:
    decoder, slots, order = build(top_k=3), Slots(noise(2, SLOTS, DIM)), torch.tensor([2, 0, 3, 1])
    guide = grouped(slots)
    moved = Grouped(slots.select(order), guide.attention_BKN[:, order])
    plain, permuted = decoder(slots, grouped=guide), decoder(moved.slots, grouped=moved)
    torch.testing.assert_close(permuted.masks_BKHW, plain.masks_BKHW[:, order], **EXACT)
    torch.testing.assert_close(permuted.prediction_BCHW, plain.prediction_BCHW, **EXACT)
    few = slots.select(torch.tensor([0, 1]))
    found = decoder(few, grouped=grouped(few))
    torch.testing.assert_close(found.prediction_BCHW, build()(few).prediction_BCHW, **EXACT)


def test_guided_only_with_top_k() -> None:
    assert isinstance(build(), Guided)
    assert not build().guided
    assert build(top_k=2).guided


def test_slots_without_a_grouping_are_refused() -> None:
    with pytest.raises(ComponentError) as error:
        build(top_k=2)(Slots(noise(2, SLOTS, DIM)))
    assert (str(error.value), error.value.field) == (
        (
            "chooses slots by their attention, and these slots have none: they come from no image; "
            "only a decoder without it can decode them"
        ),
        "top_k",
    )


def test_attention_elsewhere_than_the_target_is_refused() -> None:
    slots = Slots(noise(2, SLOTS, DIM))
    with pytest.raises(ComponentError) as error:
        build(top_k=2)(slots, grouped=grouped(slots, tokens=16))
    text = "chooses by attention at 15 positions, and it is given at 16"
    assert (str(error.value), error.value.field) == (text, "top_k")
    with pytest.raises(ComponentError) as error:
        build(DecoderContext(slot_dim=DIM, target=CONTEXT.target, grid=(5, 3)), top_k=2)
    text = "chooses by attention on the tokens' grid (5, 3), and the target's is (3, 5)"
    full = f"{text}; take an objective on the tokens' grid, or null for all"
    assert (str(error.value), error.value.field) == (full, "top_k")


def test_more_than_all_slots_are_refused() -> None:
    with pytest.raises(ComponentError) as error:
        build(top_k=5)
    assert (str(error.value), error.value.field) == (
        "cannot choose 5 of 4 slots; take fewer, or null for all",
        "top_k",
    )


@pytest.mark.parametrize(("std", "expected"), [(0.02, 0.02), (0.5, 0.5), (None, 64**-0.5)])
def test_initial_positions_and_biases(std: float | None, expected: float) -> None:
    context = DecoderContext(slot_dim=64, target=TargetShape(3, (16, 16)))
    decoder = build(context, position_std=std)
    assert decoder.position_ND.std().item() == pytest.approx(expected, rel=0.02)
    assert all((p == 0).all() for name, p in decoder.named_parameters() if name.endswith("bias"))


def test_the_number_of_parameters_is_the_papers() -> None:
    """COCO with ViT-B/16, and MOVi-C with ViT-S/8."""
    counts = []
    for dim, channels, side, width in ((256, 768, 14, 2048), (128, 384, 28, 1024)):
        with torch.device("meta"):
            context = DecoderContext(slot_dim=dim, target=TargetShape(channels, (side, side)))
            decoder = PatchMLP(PatchMLPConfig(hidden=(width,) * 3), context)
        counts.append(sum(parameter.numel() for parameter in decoder.parameters()))
    assert counts == [10_544_897, 2_726_273]
