"""Variants of slot attention against plain transcriptions of what was published under its name.

`Plain` is written from descriptions of SLATE, STEVE, VideoSAUR, BO-QSA, SPOT and LSD, with one loop over heads and
keys and values that are computed. Only the weights are shared.
"""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import Grouped, GroupingContext, Slots
from slotlab.plugins.groupings.slot_attention import SlotAttention, SlotAttentionConfig
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
BATCH, TOKENS, SLOTS, WIDTH, TOKEN_WIDTH = 2, 12, 4, 8, 6
CONTEXT = GroupingContext(slot_dim=WIDTH, token_dim=TOKEN_WIDTH, grid=(3, 4))
TRACED = GroupingContext(slot_dim=WIDTH, token_dim=TOKEN_WIDTH, grid=(3, 4), traced=True)
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "one iteration": {"iterations": 1},
    "keras": {"layer_norm_eps": 1e-3},
    "slotdiffusion": {"epsilon": 1e-6},
    "slate": {"heads": 4},
    "steve": {"iterations": 2, "mlp_last": False},
    "videosaur": {"hidden_state": "normalized", "mlp_dim": 32},
    "boqsa": {"epsilon": 1.0, "epsilon_to": "sum", "truncate": "bi_level"},
    "genera1z": {"epsilon": 1e-5, "epsilon_to": "sum", "activation": "gelu", "truncate": "bi_level"},
    "spot": {"truncate": "bi_level", "heads": 2, "mlp_dim": 32},
    "fixed point": {"truncate": "fixed_point"},
    "implicit": {"truncate": "implicit", "heads": 2},
    "adaslot": {"attention_dim": 2 * WIDTH, "mlp_dim": 16},
    "wide heads": {"attention_dim": 6, "heads": 2},
    "lsd": {"heads": 2, "scale_by": "slot", "readout": True, "mlp_dim": 8},
}


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def built(context: GroupingContext = CONTEXT, **settings: Any) -> SlotAttention:
    """Slot attention whose weights are all random, the norms' too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SlotAttention(SlotAttentionConfig(**settings), context).double()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * noise(*parameter.shape, seed=index))
    return module


def normalized(x: Tensor, weights: nn.LayerNorm, eps: float) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * weights.weight + weights.bias


def gated(cell: nn.GRUCell, x: Tensor, h: Tensor) -> Tensor:
    """A GRU's update, from its three gates."""
    xr, xz, xn = (x @ cell.weight_ih.T + cell.bias_ih).chunk(3, dim=-1)
    hr, hz, hn = (h @ cell.weight_hh.T + cell.bias_hh).chunk(3, dim=-1)
    reset, keep = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - keep) * torch.tanh(xn + reset * hn) + keep * h


class Plain:
    """One variant, with another module's weights."""

    def __init__(self, weights: SlotAttention, **settings: Any):
        self.w: Any = weights
        self.s = SlotAttentionConfig(**settings)

    def step(self, tokens: Tensor, slots: Tensor, *, last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return the slots, each head's attention (B, H, K, N) and its logits."""
        w, s, eps = self.w, self.s, self.s.layer_norm_eps
        tokens, normal = normalized(tokens, w.norm_tokens, eps), normalized(slots, w.norm_slots, eps)
        keys, values, queries = tokens @ w.to_k.weight.T, tokens @ w.to_v.weight.T, normal @ w.to_q.weight.T
        size = (s.attention_dim or WIDTH) // s.heads
        scale = (WIDTH if s.scale_by == "slot" else size) ** -0.5
        parts = [slice(h * size, (h + 1) * size) for h in range(s.heads)]
        logits = torch.stack([queries[..., p] @ keys[..., p].mT * scale for p in parts], dim=1)
        together = logits.exp().sum(dim=(1, 2), keepdim=True)
        attention = logits.exp() / together
        updates = []
        for h, part in enumerate(parts):
            mean = attention[:, h]
            if s.epsilon_to == "weights":
                mean = (mean + s.epsilon) / (mean + s.epsilon).sum(dim=-1, keepdim=True)
            else:
                mean = mean / (mean.sum(dim=-1, keepdim=True) + s.epsilon)
            updates.append(mean @ values[..., part])
        hidden = normal if s.hidden_state == "normalized" else slots
        slots = gated(w.gru, torch.cat(updates, dim=-1), hidden)
        if s.mlp_last or not last:
            norm, first, _, second = w.mlp
            inner = normalized(slots, norm, eps) @ first.weight.T + first.bias
            inner = nn.functional.gelu(inner) if s.activation == "gelu" else inner.clamp(min=0)
            slots = slots + inner @ second.weight.T + second.bias
        return slots, attention, logits

    def __call__(self, tokens: Tensor, initial: Tensor) -> dict[str, Tensor]:
        slots, every = initial, []
        rounds = self.s.iterations + (self.s.truncate == "implicit")
        for number in range(rounds):
            last = number == rounds - 1
            if last and self.s.truncate == "bi_level":
                slots = slots.detach() + initial - initial.detach()
            elif last and self.s.truncate != "none":
                slots = slots.detach()
            slots, attention, logits = self.step(tokens, slots, last=last)
            every.append(attention.sum(dim=1))
        if self.s.readout:
            norm, linear = self.w.readout
            slots = normalized(slots, norm, self.s.layer_norm_eps) @ linear.weight.T + linear.bias
        summed = logits.exp().sum(dim=1).log()
        return {"slots": slots, "attention": every[-1], "every": torch.stack(every), "logits": summed}


def inputs() -> tuple[Tensor, Tensor]:
    tokens, initial = noise(BATCH, TOKENS, TOKEN_WIDTH, seed=100), noise(BATCH, SLOTS, WIDTH, seed=101)
    return tokens.requires_grad_(), initial.requires_grad_()


def gradients(value: Tensor, module: nn.Module, *others: Tensor) -> dict[str, Tensor | None]:
    """Gradients of a fixed random sum."""
    named = {**dict(module.named_parameters()), **{f"input {i}": other for i, other in enumerate(others)}}
    found = torch.autograd.grad(
        (value * noise(*value.shape, seed=9)).sum(),
        list(named.values()),
        allow_unused=True,
        retain_graph=True,
    )
    return dict(zip(named, found, strict=True))


def agree(mine: dict[str, Tensor | None], theirs: dict[str, Tensor | None]) -> None:
    for name, expected in theirs.items():
        found = mine[name]
        if expected is None:
            assert found is None or not found.any(), name
        else:
            assert found is not None, name
            assert expected.any(), f"{name} has no gradient, so nothing was compared"
            assert (found - expected).abs().max() < TOLERANCE, name


@pytest.mark.parametrize("context", [CONTEXT, TRACED], ids=["plain", "traced"])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_variant_computes_what_was_published(name: str, context: GroupingContext) -> None:
    module, (tokens, initial) = built(context, **VARIANTS[name]), inputs()
    grouped: Grouped = module(tokens, Slots(initial))
    plain = Plain(module, **VARIANTS[name])(tokens, initial)
    assert (grouped.slots.vectors_BKD - plain["slots"]).abs().max() < TOLERANCE
    assert (grouped.attention_BKN - plain["attention"]).abs().max() < TOLERANCE
    agree(
        gradients(grouped.slots.vectors_BKD, module, tokens, initial),
        gradients(plain["slots"], module, tokens, initial),
    )


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_trace_has_all_attention_and_its_gradients(name: str) -> None:
    module, (tokens, initial) = built(TRACED, **VARIANTS[name]), inputs()
    trace = module(tokens, Slots(initial)).trace
    assert trace is not None
    plain = Plain(module, **VARIANTS[name])(tokens, initial)
    for found, expected in (
        (trace.attention_BTKN, plain["every"].transpose(0, 1)),
        (trace.logits_BKN, plain["logits"]),
    ):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < TOLERANCE
        agree(gradients(found, module, tokens, initial), gradients(expected, module, tokens, initial))
    last = module(tokens, Slots(initial)).attention_BKN
    torch.testing.assert_close(trace.logits_BKN.softmax(dim=1), last)
    assert torch.equal(trace.attention_BTKN[:, -1], last)


def test_there_is_no_trace_unless_it_is_asked_for() -> None:
    tokens, initial = inputs()
    assert built()(tokens, Slots(initial)).trace is None
    trace = built(TRACED, iterations=0)(tokens, Slots(initial)).trace
    assert trace is not None
    assert trace.attention_BTKN.shape == (BATCH, 1, SLOTS, TOKENS)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_slots_have_no_order_and_keep_what_belongs_to_them(name: str) -> None:
    module, (tokens, initial) = built(**VARIANTS[name]).eval(), inputs()
    slots, order = Slots(initial, {"pose": noise(BATCH, SLOTS, 2, seed=7)}), torch.tensor([2, 0, 3, 1])
    plain, moved = module(tokens, slots), module(tokens, slots.select(order))
    torch.testing.assert_close(moved.slots.vectors_BKD, plain.slots.vectors_BKD[:, order])
    torch.testing.assert_close(moved.attention_BKN, plain.attention_BKN[:, order])
    assert torch.equal(moved.slots.extras["pose"], slots.extras["pose"][:, order])
    alone = module(tokens[1:], Slots(initial[1:]))
    torch.testing.assert_close(alone.slots.vectors_BKD, plain.slots.vectors_BKD[1:])


# --- truncated gradients -----------------------------------------------------------------


def test_what_is_computed_is_the_same_wherever_gradients_stop() -> None:
    tokens, initial = inputs()
    whole = built(iterations=3)(tokens, Slots(initial)).slots.vectors_BKD
    for truncate, iterations in (("fixed_point", 3), ("bi_level", 3), ("implicit", 2)):
        cut = built(iterations=iterations, truncate=truncate)(tokens, Slots(initial)).slots.vectors_BKD
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("truncate", "learns"), [("fixed_point", False), ("implicit", False), ("bi_level", True)]
)
def test_initial_slots_learn_only_by_bi_level(truncate: Any, learns: bool) -> None:
    module, (tokens, initial) = built(truncate=truncate), inputs()
    found = gradients(module(tokens, Slots(initial)).slots.vectors_BKD, module, initial)["input 0"]
    assert (found is not None) == learns


def contraction() -> SlotAttention:
    """Slot attention that converges: its GRU forgets and its MLP is small."""
    module = built(truncate="implicit", iterations=100)
    with torch.no_grad():
        for parameter in module.mlp.parameters():
            parameter.mul_(0.1)
        module.gru.weight_hh *= 0.1
        module.gru.bias_ih[WIDTH : 2 * WIDTH] -= 1
    return module


def test_implicit_gradients_are_the_first_term_of_the_fixed_points() -> None:
    """By the implicit function theorem ds/dw is (I - J)^-1 df/dw, of which I df/dw is the first term."""
    module, (tokens, initial) = contraction(), inputs()
    tokens, initial = tokens[:1].detach(), initial[:1]
    found = module(tokens, Slots(initial)).slots.vectors_BKD
    plain, point = Plain(module, iterations=1), found.detach()

    def step(slots: Tensor) -> Tensor:
        return plain.step(tokens, slots, last=True)[0]

    assert (step(point) - point).abs().max() < 1e-12, "not a fixed point"
    direction = noise(*found.shape, seed=9)
    jacobian: Any = torch.autograd.functional.jacobian(step, point)  # type: ignore[no-untyped-call]
    size = point.numel()
    inverse = torch.linalg.inv(torch.eye(size, dtype=torch.float64) - jacobian.reshape(size, size))
    weight = module.to_v.weight

    def pulled(vector: Tensor) -> Tensor:
        return torch.autograd.grad((step(point) * vector).sum(), weight)[0]

    (first,) = torch.autograd.grad((found * direction).sum(), weight, retain_graph=True)
    assert (first - pulled(direction)).abs().max() < TOLERANCE
    whole = pulled((direction.flatten() @ inverse).reshape(direction.shape))
    unrolled = built(iterations=100)
    unrolled.load_state_dict(module.state_dict())
    through = unrolled(tokens, Slots(initial)).slots.vectors_BKD
    (all_the_way,) = torch.autograd.grad((through * direction).sum(), unrolled.to_v.weight)
    torch.testing.assert_close(whole, all_the_way, rtol=1e-6, atol=1e-9)
    assert (first - whole).abs().max() > 1e-3, "the terms that are left out should matter here"
    assert torch.nn.functional.cosine_similarity(first.flatten(), whole.flatten(), dim=0) > 0.5


# --- the MLP that is skipped -------------------------------------------------------------


def test_a_dropped_path_is_an_images_own_and_exact_in_the_mean() -> None:
    settings: dict[str, Any] = {"iterations": 1, "drop_path": 0.25}
    module, batch = built(**settings), 400
    tokens = noise(1, TOKENS, TOKEN_WIDTH, seed=100).expand(batch, -1, -1)
    slots = Slots(noise(1, SLOTS, WIDTH, seed=101).expand(batch, -1, -1))
    with torch.no_grad():
        found = module(tokens, slots, generator=Generator().manual_seed(0)).slots.vectors_BKD
        again = module(tokens, slots, generator=Generator().manual_seed(0)).slots.vectors_BKD
        kept = module.eval()(tokens[:1], Slots(slots.vectors_BKD[:1])).slots.vectors_BKD
        without = built(iterations=1, mlp_last=False)(
            tokens[:1], Slots(slots.vectors_BKD[:1])
        ).slots.vectors_BKD
    assert torch.equal(found, again)
    dropped = (found - without).abs().amax(dim=(1, 2)) < TOLERANCE
    full = (found - without - (kept - without) / 0.75).abs().amax(dim=(1, 2)) < TOLERANCE
    assert bool((dropped ^ full).all())
    assert 60 < int(dropped.sum()) < 140


# --- settings that do not fit ------------------------------------------------------------


def test_heads_divide_the_width() -> None:
    with pytest.raises(ComponentError, match=r"^3 heads do not divide the slots' width 8$") as raised:
        built(heads=3)
    assert raised.value.field == "heads"


def test_nothing_to_truncate() -> None:
    with pytest.raises(ComponentError, match=r"^with 0 iterations there is no gradient to cut") as raised:
        built(iterations=0, truncate="bi_level")
    assert raised.value.field == "truncate"


def test_an_mlp_that_nothing_trains_is_warned_of() -> None:
    assert SlotAttentionConfig(mlp_last=False).cautions() == []
    assert SlotAttentionConfig(truncate="implicit").cautions() == []
    (text,) = SlotAttentionConfig(mlp_last=False, truncate="bi_level").cautions()
    assert text == "'truncate: bi_level' without 'mlp_last' leaves the MLP as it was drawn"
    module, (tokens, initial) = built(mlp_last=False, truncate="bi_level"), inputs()
    found = gradients(module(tokens, Slots(initial)).slots.vectors_BKD, module)
    assert {name.split(".")[0] for name, gradient in found.items() if gradient is None} == {"mlp"}
