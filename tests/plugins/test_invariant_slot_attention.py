"""Invariant slot attention, the poses of slots, and the decoder that follows them.

`plain` is written from the description of Biza et al. 2023: eigenvectors of covariances by `eigh`, loops over
slots. It and the plain decoder share only weights with the components.
"""

from math import cos, pi, sin
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    DecoderContext,
    GroupingContext,
    InitializerContext,
    PositionContext,
    Slots,
    TargetShape,
)
from slotlab.framework.model.pose import coordinates, main_angle, rotation
from slotlab.framework.plugin_loading.discovery import load_registry
from slotlab.plugins.groupings.invariant_slot_attention import (
    InvariantSlotAttention,
    InvariantSlotAttentionConfig,
)
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
REGISTRY = load_registry()
GRID, SLOTS, WIDTH, TOKEN_WIDTH = (3, 5), 3, 8, 6
CONTEXT = GroupingContext(slot_dim=WIDTH, token_dim=TOKEN_WIDTH, grid=GRID)
VARIANTS: dict[str, dict[str, Any]] = {
    "translation": {"scales": False},
    "translation and scale": {},
    "scales of a narrow range": {"min_scale": 0.3, "max_scale": 0.6},
    "keys alone": {"values": False},
    "rotation by 45": {"rotations": "45"},
    "rotation by 90": {"rotations": "90", "iterations": 2},
    "rotation without scale": {"rotations": "45", "scales": False},
}


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=Generator().manual_seed(seed))


def built(context: GroupingContext = CONTEXT, **settings: Any) -> InvariantSlotAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = InvariantSlotAttention(InvariantSlotAttentionConfig(**settings), context).double()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * noise(*parameter.shape, seed=index))
    return module


def posed_slots(batch: int = 2) -> Slots:
    position, scale = noise(batch, SLOTS, 2, seed=1) * 0.5, noise(batch, SLOTS, 2, seed=2).abs() * 0.3
    turn = rotation(noise(batch, SLOTS, seed=3) * 0.3)
    extras = {"position": position, "scale": scale, "rotation": turn, "other": noise(batch, SLOTS, seed=4)}
    return Slots(noise(batch, SLOTS, WIDTH, seed=5).requires_grad_(), extras)


# --- plain -------------------------------------------------------------------------------


def layer_norm(x: Tensor, norm: nn.LayerNorm, eps: float) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * norm.weight + norm.bias


def mlp(x: Tensor, layers: nn.Sequential, eps: float) -> Tensor:
    norm, first, _, second = cast("list[Any]", layers)
    inner = (layer_norm(x, norm, eps) @ first.weight.T + first.bias).clamp(min=0)
    found: Tensor = inner @ second.weight.T + second.bias
    return found


def places() -> list[tuple[float, float]]:
    rows, columns = GRID
    return [(2 * r / (rows - 1) - 1, 2 * c / (columns - 1) - 1) for r in range(rows) for c in range(columns)]


def axes(weights: Tensor, x: Tensor, y: Tensor, limit: str) -> tuple[Tensor, Tensor]:
    """The two axes of a slot in (x, y): eigenvectors, by the paper's rules for their order and signs."""
    xy = torch.stack([x, y])
    covariance = (weights * xy) @ xy.T
    _, vectors = torch.linalg.eigh(covariance)
    longest, shortest = vectors[:, 1], vectors[:, 0]
    longest, shortest = longest * longest[1].sign(), shortest * shortest[1].sign()  # both point up
    if limit == "45" and longest[0].abs() < shortest[0].abs():
        longest, shortest = shortest, longest
    return longest * longest[0].sign(), shortest


def plain(module: InvariantSlotAttention, tokens: Tensor, slots: Slots, **settings: Any) -> dict[str, Tensor]:
    s = InvariantSlotAttentionConfig(**settings)
    eps = s.layer_norm_eps
    grid_y, grid_x = torch.tensor(places(), dtype=torch.float64).T
    found: dict[str, list[Tensor]] = {
        "slots": [],
        "attention": [],
        "position": [],
        "scale": [],
        "rotation": [],
    }
    for image in range(len(tokens)):
        t = layer_norm(tokens[image], module.norm_tokens, eps)
        k, v = t @ module.to_k.weight.T, t @ module.to_v.weight.T
        state = slots.vectors_BKD[image]
        position = slots.extras["position"][image].clamp(-1, 1)
        scale = slots.extras["scale"][image].clamp(s.min_scale, s.max_scale)
        turns = [(m[:, 0], m[:, 1]) for m in slots.extras["rotation"][image]]
        for number in range(s.iterations + 1):
            logits, values = [], []
            for j in range(SLOTS):
                dy, dx = grid_y - position[j, 0], grid_x - position[j, 1]
                if s.rotations != "none":
                    first, second = turns[j]
                    dx, dy = first[0] * dx + first[1] * dy, second[0] * dx + second[1] * dy
                if s.scales:
                    dy, dx = dy / scale[j, 0] / s.scales_factor, dx / scale[j, 1] / s.scales_factor
                code = torch.stack([dy, dx], dim=1) @ module.to_code.weight.T + module.to_code.bias
                query = layer_norm(state[j], module.norm_slots, eps) @ module.to_q.weight.T
                logits.append(mlp(k + code, module.grid_mlp, eps) @ query / WIDTH**0.5)
                values.append(mlp(v + code, module.grid_mlp, eps) if s.values else v)
            attention = torch.stack(logits).softmax(dim=0)
            weights = attention / (attention.sum(dim=1, keepdim=True) + s.epsilon)
            position = torch.stack([weights @ grid_y, weights @ grid_x], dim=1)
            spreads, turns = [], []
            for j in range(SLOTS):
                dy, dx = grid_y - position[j, 0], grid_x - position[j, 1]
                if s.rotations != "none":
                    first, second = axes(weights[j], dx, dy, s.rotations)
                    turns.append((first, second))
                    dx, dy = first[0] * dx + first[1] * dy, second[0] * dx + second[1] * dy
                spreads.append(
                    torch.stack(
                        [(weights[j] + s.epsilon) @ dy.square(), (weights[j] + s.epsilon) @ dx.square()]
                    )
                )
            scale = torch.stack(spreads).sqrt().clamp(s.min_scale, s.max_scale)
            if number < s.iterations:
                updates = torch.stack([weights[j] @ values[j] for j in range(SLOTS)])
                state = module.gru(updates, state)
                state = state + mlp(state, module.mlp, eps)
        found["slots"].append(state)
        found["attention"].append(attention)
        found["position"].append(position)
        if s.scales:
            found["scale"].append(scale)
        if s.rotations != "none":
            found["rotation"].append(torch.stack([torch.stack(pair, dim=1) for pair in turns]))
    return {name: torch.stack(parts) for name, parts in found.items() if parts}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_variant_computes_what_was_published(name: str) -> None:
    module, slots = built(**VARIANTS[name]), posed_slots()
    tokens = noise(2, 15, TOKEN_WIDTH, seed=6).requires_grad_()
    grouped = module(tokens, slots)
    expected = plain(module, tokens, slots, **VARIANTS[name])
    extras = grouped.slots.extras
    found = {"slots": grouped.slots.vectors_BKD, "attention": grouped.attention_BKN, **extras}
    inputs = {**dict(module.named_parameters()), "tokens": tokens, "initial": slots.vectors_BKD}
    reached: set[str] = set()
    for part, value in expected.items():
        assert found[part].shape == value.shape, part
        assert (found[part] - value).abs().max() < TOLERANCE, part
        pair = [
            torch.autograd.grad(
                (x * noise(*x.shape, seed=9)).sum(),
                list(inputs.values()),
                retain_graph=True,
                allow_unused=True,
            )
            for x in (found[part], value)
        ]
        for label, mine, theirs in zip(inputs, *pair, strict=True):
            assert (mine is None) == (theirs is None), label
            if theirs is not None and theirs.any():
                assert (mine - theirs).abs().max() < 10 * TOLERANCE, (part, label)
                reached.add(label)
    assert reached == set(inputs)
    assert torch.equal(extras["other"], slots.extras["other"])
    assert set(extras) == {"other"} | set(expected) - {
        "slots",
        "attention",
    }  # nothing of the first pose is left


def test_a_trace_has_every_round() -> None:
    context = GroupingContext(slot_dim=WIDTH, token_dim=TOKEN_WIDTH, grid=GRID, traced=True)
    grouped = built(context)(noise(2, 15, TOKEN_WIDTH, seed=6), posed_slots())
    assert grouped.trace is not None
    assert grouped.trace.attention_BTKN.shape == (2, 4, SLOTS, 15)
    assert torch.equal(grouped.trace.logits_BKN.softmax(dim=1), grouped.attention_BKN)
    assert torch.equal(grouped.trace.attention_BTKN[:, -1], grouped.attention_BKN)
    assert built()(noise(2, 15, TOKEN_WIDTH, seed=6), posed_slots()).trace is None


def test_slots_without_a_pose_start_in_the_middle() -> None:
    settings: dict[str, Any] = {"rotations": "45", "first_scale": 0.3}
    module, tokens, vectors = built(**settings), noise(2, 15, TOKEN_WIDTH, seed=6), posed_slots().vectors_BKD
    shape = (2, SLOTS, 2)
    identity = torch.eye(2, dtype=torch.float64).expand(2, SLOTS, 2, 2)
    extras = {
        "position": vectors.new_zeros(shape),
        "scale": vectors.new_full(shape, 0.3),
        "rotation": identity,
    }
    bare, given = module(tokens, Slots(vectors)), module(tokens, Slots(vectors, extras))
    assert torch.equal(bare.slots.vectors_BKD, given.slots.vectors_BKD)
    assert torch.equal(bare.slots.extras["rotation"], given.slots.extras["rotation"])


def test_a_first_pose_outside_the_picture_or_its_scales_starts_at_the_edge() -> None:
    """Learned poses may wander off; the first round still looks at the picture, from -1 to 1."""
    module, tokens, slots = built(), noise(2, 15, TOKEN_WIDTH, seed=6), posed_slots()
    far = {"position": 5 * slots.extras["position"], "scale": 9 * slots.extras["scale"] - 1}
    near = {"position": far["position"].clamp(-1, 1), "scale": far["scale"].clamp(0.001, 2.0)}
    assert all((far[name] != near[name]).any() for name in far)
    one, other = (module(tokens, Slots(slots.vectors_BKD, extras)) for extras in (far, near))
    assert torch.equal(one.slots.vectors_BKD, other.slots.vectors_BKD)
    assert torch.equal(one.attention_BKN, other.attention_BKN)


@pytest.mark.parametrize(
    ("settings", "size", "angle"),
    [({"scales": False}, 1.0, 0.0), ({}, 0.6, 0.0), ({"rotations": "90"}, 0.6, 0.05)],
)
def test_a_scene_that_is_moved_scaled_and_turned_has_the_same_slots(
    settings: dict[str, Any], size: float, angle: float
) -> None:
    """The paper's claim: vectors stay, and frames go along."""
    module, slots, tokens = built(**settings), posed_slots(), noise(2, 15, TOKEN_WIDTH, seed=6)
    matrix = torch.tensor([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]], dtype=torch.float64)
    shift = torch.tensor([0.1, -0.05], dtype=torch.float64)

    def moved(yx: Tensor) -> Tensor:
        return size * (yx.flip(-1) @ matrix.T).flip(-1) + shift

    here = module(tokens, slots)
    position, scale, turn = (slots.extras[name] for name in ("position", "scale", "rotation"))
    extras = {"position": moved(position), "scale": size * scale, "rotation": matrix @ turn}
    module.coordinates_N2 = moved(module.coordinates_N2)
    there = module(tokens, Slots(slots.vectors_BKD, extras))
    torch.testing.assert_close(there.slots.vectors_BKD, here.slots.vectors_BKD, rtol=0, atol=1e-6)
    torch.testing.assert_close(there.attention_BKN, here.attention_BKN, rtol=0, atol=1e-6)
    expected = moved(here.slots.extras["position"])
    torch.testing.assert_close(there.slots.extras["position"], expected, rtol=0, atol=1e-6)
    if "rotations" not in settings:
        return
    lines = [
        x.mT[..., :, None] * x.mT[..., None, :]
        for x in (there.slots.extras["rotation"], matrix @ here.slots.extras["rotation"])
    ]
    torch.testing.assert_close(*lines, rtol=0, atol=1e-6)  # axes have no head and tail


@pytest.mark.parametrize("name", list(VARIANTS))
def test_slots_have_no_order_and_images_do_not_mix(name: str) -> None:
    module, slots, tokens = built(**VARIANTS[name]).eval(), posed_slots(), noise(2, 15, TOKEN_WIDTH, seed=6)
    order = torch.tensor([2, 0, 1])
    base, moved = module(tokens, slots).slots, module(tokens, slots.select(order)).slots
    torch.testing.assert_close(moved.vectors_BKD, base.vectors_BKD[:, order])
    for part, extra in base.extras.items():
        torch.testing.assert_close(moved.extras[part], extra[:, order])
    one = Slots(slots.vectors_BKD[1:], {part: extra[1:] for part, extra in slots.extras.items()})
    torch.testing.assert_close(module(tokens[1:], one).slots.vectors_BKD, base.vectors_BKD[1:])


def test_tokens_matter_with_their_places() -> None:
    module, slots, tokens = built(), posed_slots(), noise(2, 15, TOKEN_WIDTH, seed=6)
    order = torch.randperm(15, generator=Generator().manual_seed(0))
    base, moved = module(tokens, slots), module(tokens[:, order], slots)
    assert not torch.allclose(base.slots.vectors_BKD, moved.slots.vectors_BKD)
    module.coordinates_N2 = module.coordinates_N2[order]
    torch.testing.assert_close(module(tokens[:, order], slots).slots.vectors_BKD, base.slots.vectors_BKD)


# --- poses -------------------------------------------------------------------------------


def test_angles_of_bars() -> None:
    grid = coordinates((41, 41)).double()
    y, x = grid.T

    def angle(degrees: float, *, quarter: bool) -> float:
        radians = degrees * pi / 180
        along, across = x * cos(radians) + y * sin(radians), y * cos(radians) - x * sin(radians)
        weights = torch.exp(-along.square() / 0.05 - across.square() / 0.005)
        found = main_angle(grid[None, None], (weights / weights.sum())[None, None], quarter=quarter)
        return float(found) * 180 / pi

    for degrees in (-80.0, -50.0, -30.0, 10.0, 44.0, 46.0, 89.0):
        folded = degrees - 90 if degrees > 45 else degrees + 90 if degrees < -45 else degrees
        assert angle(degrees, quarter=False) == pytest.approx(degrees, abs=1e-4)
        assert angle(degrees, quarter=True) == pytest.approx(folded, abs=1e-4)
    assert angle(0, quarter=False) == angle(0, quarter=True) == 0
    assert angle(90, quarter=True) == pytest.approx(0, abs=1e-9)
    assert angle(90, quarter=False) == pytest.approx(-90, abs=1e-9)


def test_gradients_of_angles_are_finite_where_no_axis_is_the_longest() -> None:
    grid = coordinates((5, 5)).double()[None, None]
    for weights in (torch.full((1, 1, 25), 0.04), torch.zeros(1, 1, 25)):
        weights = weights.double().requires_grad_()
        for quarter in (True, False):
            (gradient,) = torch.autograd.grad(main_angle(grid, weights, quarter=quarter).sum(), weights)
            assert not gradient.any()


def make(kind: str, name: str, context: Any, **settings: Any) -> Any:
    item = REGISTRY.find(kind, name)
    assert item is not None
    config = item.component.config.model_validate(settings, context={"registry": REGISTRY})
    return item.component.build(config, context)


STARTS = InitializerContext(num_slots=5, slot_dim=4, token_dim=3)


def test_drawn_poses_are_those_of_the_paper() -> None:
    posed = make("initializer", "posed", STARTS, slots="gaussian")
    slots = posed(torch.zeros(4, 7, 3), 3000, generator=Generator().manual_seed(0))
    position, scale, turn = (slots.extras[name] for name in ("position", "scale", "rotation"))
    assert position.shape == scale.shape == (4, 3000, 2)
    assert position.abs().max() <= 1
    assert position.std() == pytest.approx(3**-0.5, rel=0.02)
    assert scale.mean() == pytest.approx(0.1, abs=0.005)
    assert scale.std() == pytest.approx(0.1, rel=0.05)
    angle = torch.atan2(turn[..., 1, 0], turn[..., 0, 0])
    assert angle.abs().max() <= pi / 4
    assert angle.std() == pytest.approx(pi / 4 * 3**-0.5, rel=0.03)
    torch.testing.assert_close(turn @ turn.mT, torch.eye(2).expand_as(turn))
    again = posed(torch.zeros(4, 7, 3), 3000, generator=Generator().manual_seed(0))
    assert torch.equal(again.extras["scale"], scale)


def test_learned_poses_are_the_same_for_every_image() -> None:
    posed = make("initializer", "posed", STARTS, learned=True, scale_std=0.01)
    assert posed.fixed_num_slots
    slots = posed(torch.zeros(2, 7, 3), None, generator=Generator().manual_seed(0))
    assert all(torch.equal(extra[0], extra[1]) for extra in slots.extras.values())
    sum(extra.square().sum() + extra.sum() for extra in slots.extras.values()).backward()
    assert all(p.grad is not None and p.grad.any() for n, p in posed.named_parameters() if "slots" not in n)
    mixed = make("initializer", "posed", STARTS, slots="gaussian", learned=True)
    with pytest.raises(ComponentError, match=r"^5 learned poses cannot become 6$"):
        mixed(torch.zeros(2, 7, 3), 6, generator=Generator().manual_seed(0))
    assert not make("initializer", "posed", STARTS, slots="gaussian").fixed_num_slots


# --- the position code and the decoder ---------------------------------------------------


@pytest.mark.parametrize("parts", [("position",), ("position", "scale"), ("position", "scale", "rotation")])
def test_a_decoder_follows_the_poses(parts: tuple[str, ...]) -> None:
    context = DecoderContext(slot_dim=WIDTH, target=TargetShape(3, (10, 10)))
    code = {"name": "centered_grid", "relative": True, "scales_factor": 2.0}
    settings: dict[str, Any] = {"broadcast_size": 5, "channels": [6], "position": code}
    decoder = make("decoder", "spatial_broadcast", context, **settings).double()
    slots = posed_slots()
    slots = Slots(slots.vectors_BKD, {name: slots.extras[name] for name in parts})
    decoded = decoder(slots)
    painted = []
    for image, j in ((i, j) for i in range(2) for j in range(SLOTS)):
        canvas = torch.zeros(WIDTH, 5, 5, dtype=torch.float64)
        for row in range(5):
            for column in range(5):
                dy, dx = slots.extras["position"][image, j] * -1
                dy, dx = dy + row / 2 - 1, dx + column / 2 - 1
                if "rotation" in parts:
                    (a, b), (c, d) = slots.extras["rotation"][image, j]
                    dx, dy = a * dx + c * dy, b * dx + d * dy
                if "scale" in parts:
                    scale = slots.extras["scale"][image, j]
                    dy, dx = dy / scale[0] / 2, dx / scale[1] / 2
                linear = decoder.position.project
                canvas[:, row, column] = (
                    slots.vectors_BKD[image, j] + linear.weight @ torch.stack([dy, dx]) + linear.bias
                )
        painted.append(canvas)
    up, _, last = decoder.layers
    features = nn.functional.conv_transpose2d(torch.stack(painted), up.weight, up.bias, 2, 2, 1).clamp(min=0)
    maps = nn.functional.conv2d(features, last.weight, last.bias).reshape(2, SLOTS, 4, 10, 10)
    masks = maps[:, :, 3:].softmax(dim=1)
    expected = (masks * maps[:, :, :3]).sum(dim=1)
    assert (decoded.prediction_BCHW - expected).abs().max() < TOLERANCE
    named = [slots.vectors_BKD, *decoder.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad(decoded.prediction_BCHW.square().sum(), named, retain_graph=True),
        torch.autograd.grad(expected.square().sum(), named),
        strict=True,
    ):
        assert theirs.any()
        assert (mine - theirs).abs().max() < 10 * TOLERANCE


def test_a_plain_centered_grid_is_that_of_a_pose_in_the_middle() -> None:
    context = PositionContext(grid=(3, 5), dim=WIDTH)
    code = make("position", "centered_grid", context)
    features = torch.randn(2 * SLOTS, WIDTH, 3, 5, generator=Generator().manual_seed(0))
    middle = Slots(torch.zeros(2, SLOTS, WIDTH), {"position": torch.zeros(2, SLOTS, 2)})
    torch.testing.assert_close(code(features), code.follow(features, middle))
    weight, bias = code.project.weight, code.project.bias
    torch.testing.assert_close(
        code(features)[1, :, 0, 4], features[1, :, 0, 4] + weight @ torch.tensor([-1.0, 1.0]) + bias
    )


def test_relative_codes_need_poses() -> None:
    code = make("position", "centered_grid", PositionContext(grid=(3, 5), dim=WIDTH), relative=True)
    features = torch.zeros(SLOTS, WIDTH, 3, 5)
    with pytest.raises(
        ComponentError, match=r"^relative coordinates are those of slots, and here are none"
    ) as raised:
        code(features)
    assert raised.value.field == "relative"
    with pytest.raises(ComponentError, match=r"^the slots have no pose; take the grouping") as raised:
        code.follow(features, Slots(torch.zeros(1, SLOTS, WIDTH)))
    assert raised.value.field == "relative"


def test_scales_that_no_slot_can_have_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"^must be at most max_scale, 2, and is 3$") as raised:
        built(min_scale=3)
    assert raised.value.field == "min_scale"


def test_the_number_of_weights_is_pinned() -> None:
    """q, k, v 3 D^2; LN 2D + 2D; code 3D; grid MLP 2D + 4D^2 + 3D; GRU 6D^2 + 6D; MLP as the grid's; D = 64."""
    context = GroupingContext(slot_dim=64, token_dim=64, grid=(16, 16))
    module = InvariantSlotAttention(InvariantSlotAttentionConfig(rotations="45"), context)
    assert sum(p.numel() for p in module.parameters()) == 17 * 64**2 + 23 * 64 == 71104
