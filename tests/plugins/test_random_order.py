"""The random-order decoder against torch's own blocks, arranged as in DIAS."""

from math import prod
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import DecoderContext, MaskedWithTarget, Sampler, Slots, TargetShape
from slotlab.plugins.decoders.random_order import RandomOrder, RandomOrderConfig
from slotlab.registry import ComponentError

SIZE, CHANNELS, DIM, SLOTS, HEADS, LAYERS = (4, 5), 6, 5, 4, 2, 3
TOKENS = prod(SIZE)
CONTEXT = DecoderContext(slot_dim=DIM, target=TargetShape(CHANNELS, SIZE))
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(context: DecoderContext = CONTEXT, **settings: Any) -> RandomOrder:
    config = RandomOrderConfig(**{"layers": LAYERS, "heads": HEADS, **settings})
    with torch.random.fork_rng():
        torch.manual_seed(3)
        decoder = RandomOrder(config, context).double()
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return decoder


TARGET, SOME = noise(2, CHANNELS, *SIZE, seed=1), Slots(noise(2, SLOTS, DIM, seed=2))


def transcribed(
    weights: dict[str, Tensor], slots: Tensor, target: Tensor, shown: Tensor
) -> tuple[Tensor, Tensor]:
    """`shown` (B, N); the norm before the first self-attention comes before its residual branches off."""
    layer = nn.TransformerDecoderLayer(
        CHANNELS,
        HEADS,
        4 * CHANNELS,
        dropout=0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
        bias=False,
    )
    decoder, theirs = nn.TransformerDecoder(layer, LAYERS).double(), {}
    for i in range(LAYERS):
        ours = f"blocks.blocks.{i}"
        for attention, name in (("attend_tokens", "self_attn"), ("attend_slots", "multihead_attn")):
            joint = [weights[f"{ours}.{attention}.to_{letter}.weight"] for letter in "qkv"]
            theirs[f"layers.{i}.{name}.in_proj_weight"] = torch.cat(joint)
            theirs[f"layers.{i}.{name}.out_proj.weight"] = weights[f"{ours}.{attention}.to_out.weight"]
        names = {"norm1": "norm_tokens", "norm2": "norm_cross", "norm3": "norm_mlp"}
        names |= {"linear1": "mlp.0", "linear2": "mlp.2"}
        theirs |= {f"layers.{i}.{a}.weight": weights[f"{ours}.{b}.weight"] for a, b in names.items()}
    decoder.layers[0].norm1 = nn.Identity()
    norm = theirs.pop("layers.0.norm1.weight")
    seen: list[Tensor] = []
    last = decoder.layers[-1].multihead_attn
    last.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "need_weights": True}), with_kwargs=True
    )
    last.register_forward_hook(lambda _, args, output: seen.append(output[1]))

    def projected(x: Tensor, name: str) -> Tensor:
        x = x @ weights[f"{name}.0.weight"].T
        return nn.functional.layer_norm(
            x, (CHANNELS,), weights[f"{name}.1.weight"], weights[f"{name}.1.bias"]
        )

    tokens = projected(target.flatten(2).transpose(1, 2), "read_target")
    rows = [
        torch.stack([tokens[b, n] if shown[b, n] else weights["hidden_C"] for n in range(TOKENS)])
        for b in range(len(tokens))
    ]
    x = nn.functional.layer_norm(torch.stack(rows) + weights["position_NC"], (CHANNELS,), norm)
    prediction = torch.func.functional_call(decoder, theirs, (x, projected(slots, "read_slots")))
    return prediction.transpose(1, 2).view(target.shape), seen[0].transpose(1, 2).view(-1, SLOTS, *SIZE)


def test_forward_and_gradients_are_torchs() -> None:
    decoder, vectors = build(any_share=1.0), noise(2, SLOTS, DIM, seed=2).requires_grad_()
    shown = decoder.shown(TARGET.flatten(2).transpose(1, 2), Generator().manual_seed(4))
    assert 0 < shown.sum() < 2 * TOKENS
    found = decoder(Slots(vectors), target_BCHW=TARGET, generator=Generator().manual_seed(4))
    weights = dict(decoder.named_parameters())
    prediction, masks = transcribed(weights, vectors, TARGET, shown)
    torch.testing.assert_close(found.prediction_BCHW, prediction, **EXACT)
    torch.testing.assert_close(found.masks_BKHW, masks, **EXACT)
    learned, factors = [vectors, *weights.values()], (noise(*prediction.shape), noise(*masks.shape))
    first, second = (
        torch.autograd.grad(sum((x * f).sum() for x, f in zip(made, factors, strict=True)), learned)  # type: ignore[arg-type]
        for made in ((found.prediction_BCHW, found.masks_BKHW), (prediction, masks))
    )
    assert all(gradient.abs().max() > 0 for gradient in first)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_outside_of_training_masks_see_the_target_and_predictions_do_not() -> None:
    decoder = build().eval()
    weights, vectors = dict(decoder.named_parameters()), SOME.vectors_BKD
    everything, nothing = (torch.full((2, TOKENS), shown) for shown in (True, False))
    told, blind = (transcribed(weights, vectors, TARGET, shown) for shown in (everything, nothing))
    found, made = decoder(SOME, target_BCHW=TARGET), decoder.sample(SOME)
    assert isinstance(decoder, Sampler)
    torch.testing.assert_close(found.masks_BKHW, told[1], **EXACT)
    torch.testing.assert_close(made.masks_BKHW, blind[1], **EXACT)
    for one in (found, made):
        torch.testing.assert_close(one.prediction_BCHW, blind[0], **EXACT)
    assert (told[1] - blind[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({"any_share": 1.0}, set(range(TOKENS - 1))),
        ({"any_share": 0.0, "few": 0.5}, {9}),
        ({"any_share": 0.0, "few": 0.01}, {0}),
    ],
)
def test_how_much_is_shown(settings: dict[str, float], counts: set[int]) -> None:
    decoder = build(**settings)
    shown = decoder.shown(torch.zeros(2000, TOKENS, CHANNELS), Generator().manual_seed(0))
    assert set(shown.sum(dim=1).tolist()) == counts
    often = shown.double().mean(dim=0)
    assert (often - sum(counts) / len(counts) / TOKENS).abs().max() < 0.06  # no position is preferred


def test_a_tenth_of_256_positions_is_24_as_in_the_authors_code() -> None:
    decoder = build(any_share=0.0)
    assert set(decoder.shown(torch.zeros(3, 256, CHANNELS), None).sum(dim=1).tolist()) == {24}


def test_half_of_the_images_are_shown_any_share() -> None:
    shown = build().shown(torch.zeros(4000, 256, CHANNELS), Generator().manual_seed(0))
    assert (shown.sum(dim=1) == 24).double().mean().item() == pytest.approx(0.5 + 0.5 / 255, abs=0.02)


def test_no_gradient_goes_to_the_target() -> None:
    target = TARGET.clone().requires_grad_()
    build()(SOME, target_BCHW=target).prediction_BCHW.sum().backward()
    assert target.grad is None


def test_initial_weights_are_torchs() -> None:
    context = DecoderContext(slot_dim=32, target=TargetShape(48, (16, 16)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = dict(RandomOrder(RandomOrderConfig(), context).named_parameters())
    assert [name for name in weights if "blocks" in name and name.endswith("bias")] == []
    for name, parameter in weights.items():
        if ".blocks." in name:
            assert torch.equal(parameter, weights[name.replace(name.split(".")[2], "0", 1)])
    bounds = {"blocks.blocks.0.attend_slots.to_v": (6 / 192) ** 0.5, "read_slots.0": 32**-0.5}
    for name, bound in bounds.items():
        assert weights[f"{name}.weight"].abs().max().item() == pytest.approx(bound, rel=0.01)
    assert weights["position_NC"].std().item() == pytest.approx(0.8796, rel=0.02)  # cut off at 2
    assert weights["position_NC"].abs().max() <= 2
    assert weights["hidden_C"].std().item() == pytest.approx(48**-0.5, rel=0.3)


@pytest.mark.parametrize(("evaluate_with", "told"), [("target", True), ("own", False)])
def test_masks_are_measured_with_the_target_as_the_papers_do(evaluate_with: str, told: bool) -> None:
    decoder = build(evaluate_with=evaluate_with)
    assert isinstance(decoder, MaskedWithTarget)
    assert decoder.masks_with_target is told
    assert build().masks_with_target


def test_refusals() -> None:
    with pytest.raises(ComponentError) as error:
        build(heads=4)
    text = "4 heads cannot share 6 channels; take one of [1, 2, 3, 6]"
    assert (str(error.value), error.value.field) == (text, "heads")
    with pytest.raises(ComponentError) as error:
        build()(SOME)
    assert str(error.value) == "is taught with the target and needs it; `sample` does without"
