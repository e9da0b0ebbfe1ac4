"""The autoregressive decoder against torch's own blocks (DINOSAUR) and a transcription of SLATE's (SPOT)."""

from math import prod
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import DecoderContext, MaskedWithTarget, Sampler, Slots, TargetShape
from slotlab.framework.model.patch_orders import nine_orders
from slotlab.plugins.decoders.autoregressive import Autoregressive, AutoregressiveConfig
from slotlab.registry import ComponentError

SIZE, CHANNELS, DIM, SLOTS, HEADS, LAYERS = (3, 4), 6, 5, 4, 2, 3
TOKENS = prod(SIZE)
CONTEXT = DecoderContext(slot_dim=DIM, target=TargetShape(CHANNELS, SIZE))
EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}
KINDS = ("pre_norm", "slate")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(blocks: str, context: DecoderContext = CONTEXT, **settings: Any) -> Autoregressive:
    """Return a decoder none of whose weights is at a special value, such as a bias of 0."""
    config = AutoregressiveConfig(blocks=blocks, **{"layers": LAYERS, "heads": HEADS, **settings})  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        decoder = Autoregressive(config, context).double()
        with torch.no_grad():
            for parameter in decoder.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return decoder


TARGET, SOME = noise(2, CHANNELS, *SIZE, seed=1), Slots(noise(2, SLOTS, DIM, seed=2))


def normed(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centered = x - x.mean(dim=-1, keepdim=True)
    deviation = (centered.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centered / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def same_gradients(made: tuple[Tensor, ...], expected: tuple[Tensor, ...], learned: list[Tensor]) -> None:
    factors = [noise(*tensor.shape, seed=20 + i) for i, tensor in enumerate(made)]
    totals = [sum((x * f).sum() for x, f in zip(each, factors, strict=True)) for each in (made, expected)]
    first, second = (torch.autograd.grad(total, learned) for total in totals)  # type: ignore[arg-type]
    # A shift of all keys changes no attention: their biases' gradients are 0.
    assert sum(bool(gradient.abs().max() < 1e-12) for gradient in first) <= 2 * LAYERS
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


# --- DINOSAUR ----------------------------------------------------------------------------


def torchs_decoder(weights: dict[str, Tensor]) -> tuple[nn.TransformerDecoder, dict[str, Tensor]]:
    """Return torch's decoder and its weights, which are made of ours and share their gradients."""
    layer = nn.TransformerDecoderLayer(
        CHANNELS, HEADS, 4 * CHANNELS, dropout=0, activation="relu", batch_first=True, norm_first=True
    )
    found = {}
    for i in range(LAYERS):
        ours, theirs = f"blocks.blocks.{i}", f"layers.{i}"
        for attention, name in (("attend_tokens", "self_attn"), ("attend_slots", "multihead_attn")):
            for what in ("weight", "bias"):
                maps = [weights[f"{ours}.{attention}.to_{letter}.{what}"] for letter in "qkv"]
                found[f"{theirs}.{name}.in_proj_{what}"] = torch.cat(maps)
                found[f"{theirs}.{name}.out_proj.{what}"] = weights[f"{ours}.{attention}.to_out.{what}"]
        names = {"norm1": "norm_tokens", "norm2": "norm_cross", "norm3": "norm_mlp"}
        names |= {"linear1": "mlp.0", "linear2": "mlp.2"}
        for what in ("weight", "bias"):
            found |= {f"{theirs}.{a}.{what}": weights[f"{ours}.{b}.{what}"] for a, b in names.items()}
    return nn.TransformerDecoder(layer, LAYERS).double(), found


def dinosaur(weights: dict[str, Tensor], slots: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    tokens = target.flatten(2).transpose(1, 2)
    first = weights["first_RC"].expand(len(tokens), 1, CHANNELS)
    inputs = torch.cat((first, tokens[:, :-1]), dim=1) @ weights["read_target.0.weight"].T
    memory = normed(slots @ weights["read_slots.0.weight"].T, weights, "read_slots.1")
    decoder, theirs = torchs_decoder(weights)
    seen: list[Tensor] = []
    last = decoder.layers[-1].multihead_attn
    last.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "need_weights": True}), with_kwargs=True
    )
    last.register_forward_hook(lambda _, args, output: seen.append(output[1]))
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS, dtype=torch.float64)
    called = (normed(inputs, weights, "read_target.1"), memory, mask)
    prediction = torch.func.functional_call(decoder, theirs, called)
    return prediction.transpose(1, 2).view(target.shape), seen[0].transpose(1, 2).view(-1, SLOTS, *SIZE)


def test_dinosaurs_forward_and_gradients_are_torchs() -> None:
    decoder, vectors = build("pre_norm"), noise(2, SLOTS, DIM, seed=2).requires_grad_()
    found = decoder(Slots(vectors), target_BCHW=TARGET)
    weights = dict(decoder.named_parameters())
    prediction, masks = dinosaur(weights, vectors, TARGET)
    torch.testing.assert_close(found.prediction_BCHW, prediction, **EXACT)
    torch.testing.assert_close(found.masks_BKHW, masks, **EXACT)
    made = (found.prediction_BCHW, found.masks_BKHW)
    same_gradients(made, (prediction, masks), [vectors, *weights.values()])


# --- SPOT --------------------------------------------------------------------------------


def attend(
    weights: dict[str, Tensor], name: str, x: Tensor, memory: Tensor, causal: bool, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention head by head; x and memory without the batch."""
    q, k, v = (
        y @ weights[f"{name}.to_{letter}.weight"].T
        for letter, y in zip("qkv", (x, memory, memory), strict=True)
    )
    mixed, total = [], torch.zeros(len(x), len(memory), dtype=x.dtype)
    for part in torch.arange(x.shape[1]).chunk(HEADS):
        logits = q[:, part] @ k[:, part].T / len(part) ** 0.5
        if causal:
            later = torch.arange(len(memory)) > torch.arange(len(x))[:, None]
            logits = logits.masked_fill(later, -torch.inf)
        weight = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        if keep is not None:
            weight = weight * keep / ((weight * keep).sum(dim=1, keepdim=True) + 1e-5)
        total = total + weight
        mixed.append(weight @ v[:, part])
    return torch.cat(mixed, dim=1) @ weights[f"{name}.to_out.weight"].T, total


def spot(
    weights: dict[str, Tensor], slots: Tensor, target: Tensor, index: int, keep: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One image, in one of the nine orders."""
    order = nine_orders(SIZE)[index].tolist()
    pixels = [target[:, n // SIZE[1], n % SIZE[1]] for n in order]
    x = torch.stack([weights["first_RC"][index], *pixels[:-1]]) @ weights["read_target.0.weight"].T
    x = normed(x, weights, "read_target.1")
    memory = normed(slots @ weights["read_slots.0.weight"].T, weights, "read_slots.1")
    for i in range(LAYERS):
        block = f"blocks.blocks.{i}"
        y = normed(x, weights, f"{block}.norm_tokens")
        x = y if i == 0 else x
        x = x + attend(weights, f"{block}.attend_tokens", y, y, True, None)[0]
        y, mask = attend(
            weights, f"{block}.attend_slots", normed(x, weights, f"{block}.norm_cross"), memory, False, keep
        )
        x = x + y
        y = normed(x, weights, f"{block}.norm_mlp") @ weights[f"{block}.mlp.0.weight"].T
        y = (y + weights[f"{block}.mlp.0.bias"]).clamp(min=0)
        x = x + y @ weights[f"{block}.mlp.2.weight"].T + weights[f"{block}.mlp.2.bias"]
    x = normed(x, weights, "blocks.norm")
    mask = mask / HEADS if keep is not None else mask / mask.sum(dim=1, keepdim=True)
    back = [order.index(n) for n in range(TOKENS)]
    prediction, masks = (torch.stack([made[i] for i in back]).T for made in (x, mask))
    return prediction.view(-1, *SIZE), masks.view(-1, *SIZE)


@pytest.mark.parametrize("index", range(9))
def test_spots_forward_and_gradients_in_each_order(index: int) -> None:
    decoder, vectors = build("slate", orders="nine"), noise(2, SLOTS, DIM, seed=2).requires_grad_()
    seed = next(
        s for s in range(200) if int(torch.randint(9, (1,), generator=Generator().manual_seed(s))) == index
    )
    found = decoder(Slots(vectors), target_BCHW=TARGET, generator=Generator().manual_seed(seed))
    weights = dict(decoder.named_parameters())
    images = [spot(weights, vectors[b], TARGET[b], index) for b in range(2)]
    expected = tuple(torch.stack(each) for each in zip(*images, strict=True))
    torch.testing.assert_close(found.prediction_BCHW, expected[0], **EXACT)
    torch.testing.assert_close(found.masks_BKHW, expected[1], **EXACT)
    same_gradients((found.prediction_BCHW, found.masks_BKHW), expected, [vectors, *weights.values()])


@pytest.mark.parametrize(("evaluate", "orders"), [("standard", range(1)), ("all", range(9))])
def test_spots_evaluation(evaluate: str, orders: range) -> None:
    decoder = build("slate", orders="nine", evaluate=evaluate).eval()
    found = decoder(SOME, target_BCHW=TARGET)
    weights = dict(decoder.named_parameters())
    made = [spot(weights, SOME.vectors_BKD[1], TARGET[1], index) for index in orders]
    prediction, masks = (torch.stack(each).mean(dim=0) for each in zip(*made, strict=True))
    torch.testing.assert_close(found.prediction_BCHW[1], prediction, **EXACT)
    torch.testing.assert_close(found.masks_BKHW[1], masks, **EXACT)


def test_dropped_slots_are_left_out_of_every_attention() -> None:
    decoder = build("slate", orders="nine").eval()
    keep = torch.tensor([[1, 0, 1, 0.5], [0, 1, 1, 1]], dtype=torch.float64)
    found = decoder(Slots(SOME.vectors_BKD, {"keep": keep}), target_BCHW=TARGET)
    weights = dict(decoder.named_parameters())
    for b in range(2):
        prediction, masks = spot(weights, SOME.vectors_BKD[b], TARGET[b], 0, keep[b])
        torch.testing.assert_close(found.prediction_BCHW[b], prediction, **EXACT)
        torch.testing.assert_close(found.masks_BKHW[b], masks, **EXACT)


# --- orders ------------------------------------------------------------------------------


def test_the_nine_orders_of_a_grid() -> None:
    """On 2 x 3 positions, 0 1 2 above 3 4 5, written by hand; the spiral on a square too."""
    assert nine_orders((2, 3)).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [2, 5, 1, 4, 0, 3],
        [2, 1, 0, 5, 4, 3],
        [5, 2, 4, 1, 3, 0],
        [5, 4, 3, 2, 1, 0],
        [3, 0, 4, 1, 5, 2],
        [3, 4, 5, 0, 1, 2],
        [1, 0, 3, 4, 5, 2],
    ]
    assert nine_orders((3, 3))[8].tolist() == [4, 1, 0, 3, 6, 7, 8, 5, 2]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (14, 14), (5, 8)])
def test_each_order_visits_each_position_once(size: tuple[int, int]) -> None:
    orders = nine_orders(size)
    assert orders.shape == (9, prod(size))
    assert torch.equal(orders.sort(dim=1).values, torch.arange(prod(size)).expand(9, -1))


@pytest.mark.parametrize("blocks", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_a_position_sees_the_target_before_it_alone(blocks: str, seed: int) -> None:
    decoder = build(blocks, orders="nine")
    index = int(torch.randint(9, (1,), generator=Generator().manual_seed(seed)))
    order = nine_orders(SIZE)[index].tolist()
    plain = decoder(SOME, target_BCHW=TARGET, generator=Generator().manual_seed(seed))
    for step in (0, 4, TOKENS - 1):
        changed = TARGET.clone()
        changed.flatten(2)[:, :, order[step]] += 1
        found = decoder(SOME, target_BCHW=changed, generator=Generator().manual_seed(seed))
        for a, b in ((found.prediction_BCHW, plain.prediction_BCHW), (found.masks_BKHW, plain.masks_BKHW)):
            differs = ((a - b).abs().amax(dim=(0, 1)) > 1e-12).flatten()[order]
            assert differs.tolist() == [place > step for place in range(TOKENS)]


@pytest.mark.parametrize(
    ("settings", "training", "draws"),
    [
        ({"orders": "nine"}, True, True),
        ({"orders": "nine"}, False, False),
        ({"orders": "nine", "evaluate": "all"}, False, False),
        ({"orders": "nine", "evaluate": "random"}, False, True),
        ({}, True, False),
    ],
)
def test_an_order_is_drawn_only_where_there_is_a_choice(
    settings: dict[str, str], training: bool, draws: bool
) -> None:
    decoder, stream = build("slate", **settings).train(training), Generator().manual_seed(0)
    before = stream.get_state()
    decoder(SOME, target_BCHW=TARGET, generator=stream)
    assert torch.equal(stream.get_state(), before) is not draws


# --- without the target ------------------------------------------------------------------


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize("evaluate", ["standard", "random"])
@pytest.mark.parametrize("blocks", KINDS)
def test_sample_is_teaching_with_its_own_predictions(blocks: str, evaluate: str, width: int | None) -> None:
    decoder = build(blocks, orders="nine", evaluate=evaluate, width=width).eval()
    assert isinstance(decoder, Sampler)
    made = decoder.sample(SOME, generator=Generator().manual_seed(5))
    taught = decoder(SOME, target_BCHW=made.prediction_BCHW, generator=Generator().manual_seed(5))
    torch.testing.assert_close(made.prediction_BCHW, taught.prediction_BCHW, **EXACT)
    torch.testing.assert_close(made.masks_BKHW, taught.masks_BKHW, **EXACT)
    other = decoder(SOME, target_BCHW=TARGET, generator=Generator().manual_seed(5))
    assert (made.prediction_BCHW - other.prediction_BCHW).abs().max() > 0.01


def test_sampling_in_all_orders_is_the_mean() -> None:
    decoder = build("slate", orders="nine", evaluate="all").eval()
    weights, single = decoder.state_dict(), []
    for index in range(9):
        one = build("slate").eval()
        one.load_state_dict({**weights, "first_RC": weights["first_RC"][index : index + 1]})
        one.orders_RN = nine_orders(SIZE)[index : index + 1]
        single.append(one.sample(SOME))
    made = decoder.sample(SOME)
    for name in ("prediction_BCHW", "masks_BKHW"):
        expected = torch.stack([getattr(one, name) for one in single]).mean(dim=0)
        torch.testing.assert_close(getattr(made, name), expected, **EXACT)


def test_forward_needs_the_target() -> None:
    with pytest.raises(ComponentError) as error:
        build("slate")(SOME)
    assert str(error.value) == "is taught with the target and needs it; `sample` does without"


def test_no_gradient_goes_to_the_target() -> None:
    target = TARGET.clone().requires_grad_()
    build("pre_norm")(SOME, target_BCHW=target).prediction_BCHW.sum().backward()
    assert target.grad is None


@pytest.mark.parametrize(("evaluate_with", "told"), [("target", True), ("own", False)])
def test_masks_are_measured_with_the_target_as_the_papers_do(evaluate_with: str, told: bool) -> None:
    decoder = build("slate", evaluate_with=evaluate_with)
    assert isinstance(decoder, MaskedWithTarget)
    assert decoder.masks_with_target is told
    assert build("slate").masks_with_target


# --- sizes and initial weights -----------------------------------------------------------

COCO = DecoderContext(slot_dim=256, target=TargetShape(768, (14, 14)))


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"blocks": "pre_norm"}, 38_597_376),
        ({"blocks": "slate", "heads": 6, "orders": "nine"}, 38_580_480),
    ],
)
def test_the_number_of_parameters_is_the_papers(settings: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        decoder = Autoregressive(AutoregressiveConfig(**settings), COCO)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == count


def fresh(blocks: str, width: int = 48) -> dict[str, Tensor]:
    context = DecoderContext(slot_dim=32, target=TargetShape(width, (4, 4)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = AutoregressiveConfig(blocks=blocks, heads=4, orders="nine")  # type: ignore[arg-type]
        return dict(Autoregressive(config, context).named_parameters())


def bound(weight: Tensor) -> float:
    """Return the largest absolute value, which is near the bound of a uniform distribution."""
    return weight.abs().max().item()


def test_dinosaurs_initial_weights_are_torchs() -> None:
    weights, width = fresh("pre_norm"), 48
    for name, parameter in weights.items():
        if ".blocks." in name:
            assert torch.equal(parameter, weights[name.replace(name.split(".")[2], "0", 1)])
    block = "blocks.blocks.0"
    for attention in ("attend_tokens", "attend_slots"):
        assert all((weights[f"{block}.{attention}.to_{x}.bias"] == 0).all() for x in ("q", "k", "v", "out"))
        joint = torch.cat([weights[f"{block}.{attention}.to_{x}.weight"] for x in "qkv"])
        assert bound(joint) == pytest.approx((6 / (4 * width)) ** 0.5, rel=0.01)
        assert bound(weights[f"{block}.{attention}.to_out.weight"]) == pytest.approx(width**-0.5, rel=0.01)
    assert bound(weights[f"{block}.mlp.2.weight"]) == pytest.approx((4 * width) ** -0.5, rel=0.01)
    assert weights["first_RC"].std().item() == pytest.approx(width**-0.5, rel=0.1)


def test_spots_initial_weights_are_slates() -> None:
    weights, width, gain = fresh("slate"), 48, 12**-0.5
    for i in range(4):
        block = f"blocks.blocks.{i}"
        for attention in ("attend_tokens", "attend_slots"):
            for letter in "qkv":
                found = bound(weights[f"{block}.{attention}.to_{letter}.weight"])
                assert found == pytest.approx((6 / (2 * width)) ** 0.5, rel=0.01)
            found = bound(weights[f"{block}.{attention}.to_out.weight"])
            assert found == pytest.approx(gain * (6 / (2 * width)) ** 0.5, rel=0.01)
            assert f"{block}.{attention}.to_q.bias" not in weights
        assert bound(weights[f"{block}.mlp.0.weight"]) == pytest.approx((6 / width) ** 0.5, rel=0.01)
        assert bound(weights[f"{block}.mlp.2.weight"]) == pytest.approx(
            gain * (6 / (5 * width)) ** 0.5, rel=0.01
        )
        assert all((weights[f"{block}.mlp.{layer}.bias"] == 0).all() for layer in (0, 2))
    assert weights["first_RC"].std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "text", "field"),
    [
        ({"heads": 4}, "4 heads cannot share a width of 6; take one of [1, 2, 3, 6]", "heads"),
        ({"heads": 4, "width": 10}, "4 heads cannot share a width of 10; take one of [1, 2, 5, 10]", "heads"),
        (
            {"evaluate": "all"},
            "'all' chooses among orders, and there is one; write 'orders: nine', or 'standard'",
            "evaluate",
        ),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], text: str, field: str) -> None:
    with pytest.raises(ComponentError) as error:
        build("slate", **settings)
    assert (str(error.value), error.value.field) == (text, field)
