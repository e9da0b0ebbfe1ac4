"""The U-Net against a plain transcription of latent diffusion's, under the names of its published weights."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.model.diffusion.unet import UNet, UNetSizes, check_sizes
from slotlab.framework.model.diffusion.unet_blocks import (
    DownLevel,
    Given,
    ResidualBlock,
    Transformer,
    UpLevel,
    ZeroConv,
    sinusoid,
)
from slotlab.framework.model.weight_init import draw_as_keras
from slotlab.registry import ComponentError

EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}
SMALL: dict[str, Any] = {
    "channels": 3,
    "slot_dim": 5,
    "width": 8,
    "multipliers": (1, 2, 3),
    "blocks": 2,
    "attention_at": (2, 4),
    "head_width": 4,
    "groups": 4,
}
PUBLISHED = {
    **SMALL,
    "width": 128,
    "multipliers": (1, 2, 3, 4),
    "attention_at": (2, 4, 8),
    "head_width": 32,
    "groups": 32,
}
OTHERS: list[dict[str, Any]] = [
    {},
    {"blocks": 1},
    {"multipliers": (1,), "attention_at": (1,)},
    {"multipliers": (2, 1), "attention_at": (1, 2)},
    {"multipliers": (1, 1, 1), "attention_at": (), "channels": 4},
]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(**changes: Any) -> UNet:
    """Return a U-Net none of whose weights is at a special value, such as 0."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = UNet(UNetSizes(**{**SMALL, **changes})).double()
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    return unet


X, STEPS, SLOTS = noise(2, 3, 8, 12, seed=1), torch.tensor([3, 870]), noise(2, 4, 5, seed=2)


# --- the transcription -------------------------------------------------------------------

BLOCK = {"norm1": "in_layers.0", "conv1": "in_layers.2", "read_time": "emb_layers.1", "norm2": "out_layers.0"}
BLOCK |= {"conv2": "out_layers.3", "skip": "skip_connection"}
INNER = {"norm_self": "norm1", "norm_slots": "norm2", "norm_mlp": "norm3", "mlp.read": "ff.net.0.proj"}
INNER |= {"mlp.out": "ff.net.2"}
for _ours, _theirs in (("attend_self", "attn1"), ("attend_slots", "attn2")):
    INNER |= {f"{_ours}.to_{letter}": f"{_theirs}.to_{letter}" for letter in "qkv"}
    INNER[f"{_ours}.to_out"] = f"{_theirs}.to_out.0"
TRANSFORMER = {"norm": "norm", "read": "proj_in", "write": "proj_out"}
TRANSFORMER |= {ours: f"transformer_blocks.0.{theirs}" for ours, theirs in INNER.items()}


def published_names(sizes: UNetSizes) -> dict[str, str]:
    """Return the names of the published weights by those of ours, without `.weight` and `.bias`."""
    found = {"time.first": "time_embed.0", "time.second": "time_embed.2", "read": "input_blocks.0.0"}
    found |= {"norm": "out.0", "write": "out.2"}

    def add(ours: str, theirs: str, parts: dict[str, str]) -> None:
        found.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in parts.items()})

    levels = len(sizes.multipliers)
    counter = itertools.count(1)
    for level in range(levels):
        for stage in range(sizes.blocks):
            index = next(counter)
            add(f"down.{level}.stages.{stage}.block", f"input_blocks.{index}.0", BLOCK)
            add(f"down.{level}.stages.{stage}.transformer", f"input_blocks.{index}.1", TRANSFORMER)
        if level < levels - 1:
            found[f"down.{level}.down"] = f"input_blocks.{next(counter)}.0.op"
    add("middle.0", "middle_block.0", BLOCK)
    add("middle.1", "middle_block.1", TRANSFORMER)
    add("middle.2", "middle_block.2", BLOCK)
    counter = itertools.count()
    for position in range(levels):
        attends = 2 ** (levels - 1 - position) in sizes.attention_at
        for stage in range(sizes.blocks + 1):
            index = next(counter)
            add(f"up.{position}.stages.{stage}.block", f"output_blocks.{index}.0", BLOCK)
            add(f"up.{position}.stages.{stage}.transformer", f"output_blocks.{index}.1", TRANSFORMER)
            if stage == sizes.blocks and position < levels - 1:
                found[f"up.{position}.up.conv"] = f"output_blocks.{index}.{1 + attends}.conv"
    return found


def renamed(module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Return parameters by other names; every one has one."""
    found = {}
    for name, parameter in module.named_parameters():
        stem, _, what = name.rpartition(".")
        found[f"{names[stem]}.{what}"] = parameter
    assert len(found) == len(list(module.parameters()))
    return found


class Plain:
    """Latent diffusion's U-Net in elementary operations, from a description of it and its weights by name."""

    def __init__(self, weights: dict[str, Tensor], sizes: UNetSizes):
        self.w, self.sizes = weights, sizes

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{name}.") for key in self.w)

    def linear(self, x: Tensor, name: str) -> Tensor:
        y = torch.einsum("...i,oi->...o", x, self.w[f"{name}.weight"])
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        size = weight.shape[2]
        x = F.pad(x, [size // 2] * 4)
        rows, columns = ((side - size) // stride + 1 for side in x.shape[2:])
        y = torch.zeros(len(x), len(weight), rows, columns, dtype=x.dtype)
        for i, j in itertools.product(range(size), repeat=2):
            seen = x[:, :, i : i + rows * stride : stride, j : j + columns * stride : stride]
            y = y + torch.einsum("bihw,oi->bohw", seen[:, :, :rows, :columns], weight[:, :, i, j])
        return y + self.w[f"{name}.bias"][:, None, None]

    def group_norm(self, x: Tensor, name: str, eps: float) -> Tensor:
        y = x.reshape(len(x), self.sizes.groups, -1)
        y = (y - y.mean(2, keepdim=True)) / (y.var(2, keepdim=True, unbiased=False) + eps).sqrt()
        return (
            y.reshape(x.shape) * self.w[f"{name}.weight"][:, None, None]
            + self.w[f"{name}.bias"][:, None, None]
        )

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        return y * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def silu(self, x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    def embed(self, steps: Tensor) -> Tensor:
        half = self.sizes.width // 2
        angles = torch.stack([steps.double() * math.exp(-math.log(10000) * i / half) for i in range(half)], 1)
        code = torch.cat((angles.cos(), angles.sin()), dim=1)
        return self.linear(self.silu(self.linear(code, "time_embed.0")), "time_embed.2")

    def residual(self, x: Tensor, time: Tensor, name: str) -> Tensor:
        y = self.conv(self.silu(self.group_norm(x, f"{name}.in_layers.0", 1e-5)), f"{name}.in_layers.2")
        y = y + self.linear(self.silu(time), f"{name}.emb_layers.1")[:, :, None, None]
        y = self.conv(self.silu(self.group_norm(y, f"{name}.out_layers.0", 1e-5)), f"{name}.out_layers.3")
        return (self.conv(x, f"{name}.skip_connection") if self.has(f"{name}.skip_connection") else x) + y

    def attention(self, x: Tensor, source: Tensor, name: str) -> Tensor:
        q, k, v = (
            self.linear(x, f"{name}.to_q"),
            self.linear(source, f"{name}.to_k"),
            self.linear(source, f"{name}.to_v"),
        )
        size, mixed = self.sizes.head_width, []
        for i in range(0, q.shape[-1], size):
            scores = (q[..., i : i + size] @ k[..., i : i + size].transpose(1, 2) / math.sqrt(size)).exp()
            mixed.append(scores / scores.sum(-1, keepdim=True) @ v[..., i : i + size])
        return self.linear(torch.cat(mixed, dim=-1), f"{name}.to_out.0")

    def transformer(self, x: Tensor, slots: Tensor, name: str) -> Tensor:
        y = self.conv(self.group_norm(x, f"{name}.norm", 1e-6), f"{name}.proj_in").flatten(2).transpose(1, 2)
        inner = f"{name}.transformer_blocks.0"
        z = self.layer_norm(y, f"{inner}.norm1")
        y = y + self.attention(z, z, f"{inner}.attn1")
        y = y + self.attention(self.layer_norm(y, f"{inner}.norm2"), slots, f"{inner}.attn2")
        value, gate = self.linear(self.layer_norm(y, f"{inner}.norm3"), f"{inner}.ff.net.0.proj").chunk(2, -1)
        gelu = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2
        y = y + self.linear(value * gelu, f"{inner}.ff.net.2")
        return x + self.conv(y.transpose(1, 2).reshape(x.shape), f"{name}.proj_out")

    def stage(self, x: Tensor, time: Tensor, slots: Tensor, name: str) -> Tensor:
        x = self.residual(x, time, f"{name}.0")
        return self.transformer(x, slots, f"{name}.1") if self.has(f"{name}.1.proj_in") else x

    def doubled(self, x: Tensor, name: str) -> Tensor:
        return self.conv(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), f"{name}.conv")

    def __call__(self, x: Tensor, steps: Tensor, slots: Tensor) -> Tensor:
        time = self.embed(steps)
        x = self.conv(x, "input_blocks.0.0")
        kept = [x]
        for i in itertools.count(1):
            if self.has(f"input_blocks.{i}.0.op"):
                x = self.conv(x, f"input_blocks.{i}.0.op", stride=2)
            elif self.has(f"input_blocks.{i}"):
                x = self.stage(x, time, slots, f"input_blocks.{i}")
            else:
                break
            kept.append(x)
        x = self.residual(x, time, "middle_block.0")
        x = self.residual(self.transformer(x, slots, "middle_block.1"), time, "middle_block.2")
        for i in range(len(kept)):
            x = self.stage(torch.cat((x, kept.pop()), dim=1), time, slots, f"output_blocks.{i}")
            for last in (1, 2):
                if self.has(f"output_blocks.{i}.{last}.conv"):
                    x = self.doubled(x, f"output_blocks.{i}.{last}")
        return self.conv(self.silu(self.group_norm(x, "out.0", 1e-5)), "out.2")


def same(made: Tensor, expected: Tensor, learned: list[Tensor]) -> None:
    torch.testing.assert_close(made, expected, **EXACT)
    factor = noise(*made.shape, seed=9)
    first, second = (torch.autograd.grad((x * factor).sum(), learned) for x in (made, expected))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    # A shift of all features within a group changes nothing after its norm.
    assert sum(bool(gradient.abs().max() > 1e-9) for gradient in first) > 0.9 * len(first)


# --- the laws ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_forward_and_gradients_are_the_transcriptions(changes: dict[str, Any]) -> None:
    unet = build(**changes)
    x = noise(2, unet.sizes.channels, 8, 12, seed=1).requires_grad_()
    slots = SLOTS.clone().requires_grad_()
    plain = Plain(renamed(unet, published_names(unet.sizes)), unet.sizes)
    same(unet(x, STEPS, slots), plain(x, STEPS, slots), [x, slots, *unet.parameters()])


def test_every_kind_of_part_is_the_transcriptions() -> None:
    unet = build()
    plain = Plain(renamed(unet, published_names(unet.sizes)), unet.sizes)
    time = noise(2, 32, seed=4)
    given = Given(F.silu(time), SLOTS)
    torch.testing.assert_close(unet.time(STEPS), F.silu(plain.embed(STEPS)), **EXACT)
    level, x = unet.down[1], noise(2, 8, 4, 6, seed=5)
    assert isinstance(level, DownLevel)
    block, transformer = level.stages[0].block, level.stages[0].transformer
    assert isinstance(block, ResidualBlock)
    assert isinstance(transformer, Transformer)
    torch.testing.assert_close(block(x, given), plain.residual(x, time, "input_blocks.4.0"), **EXACT)
    wide = noise(2, 16, 4, 6, seed=6)
    expected = plain.transformer(wide, SLOTS, "input_blocks.4.1")
    torch.testing.assert_close(transformer(wide, given), expected, **EXACT)
    first, second, down = level(x, given)
    torch.testing.assert_close(first, plain.stage(x, time, SLOTS, "input_blocks.4"), **EXACT)
    torch.testing.assert_close(second, plain.stage(first, time, SLOTS, "input_blocks.5"), **EXACT)
    torch.testing.assert_close(down, plain.conv(second, "input_blocks.6.0.op", stride=2), **EXACT)
    level = unet.up[0]
    assert isinstance(level, UpLevel)
    x, saved = noise(2, 24, 2, 3, seed=7), [noise(2, width, 2, 3, seed=8) for width in (16, 24, 24)]
    made, expected = level(x, list(saved), given), x
    for i in range(3):
        expected = torch.cat((expected, saved[2 - i]), dim=1)
        expected = plain.stage(expected, time, SLOTS, f"output_blocks.{i}")
    torch.testing.assert_close(made, plain.doubled(expected, "output_blocks.2.2"), **EXACT)


@pytest.mark.parametrize(("slot_dim", "number"), [(192, 134_243_331), (256, 135_046_147)])
def test_slotdiffusions_unet_has_as_many_parameters_as_the_published_one(slot_dim: int, number: int) -> None:
    with torch.device("meta"):
        unet = UNet(UNetSizes(**{**PUBLISHED, "slot_dim": slot_dim}))
    assert sum(parameter.numel() for parameter in unet.parameters()) == number
    assert sum(isinstance(part, Transformer) for part in unet.modules()) == 16


@pytest.mark.parametrize("draw", [None, draw_as_keras], ids=["torch", "keras"])
def test_at_first_residual_branches_and_the_prediction_are_zero(draw: Any) -> None:
    unet = UNet(UNetSizes(**SMALL)).double()
    if draw is not None:
        draw(unet)
    zero = {name for name, part in unet.named_modules() if isinstance(part, ZeroConv)}
    assert all(not parameter.any() for name in zero for parameter in unet.get_submodule(name).parameters())
    expected = {
        name for name, _ in unet.named_modules() if name.endswith((".conv2", "transformer.write", "write"))
    }
    assert zero == expected
    assert not unet(X, STEPS, SLOTS).any()
    assert all(part.weight.any() for part in unet.modules() if type(part) in (nn.Linear, nn.Conv2d))


def test_the_sinusoid_has_cosines_first() -> None:
    code = sinusoid(torch.tensor([0.0, 2.5]), 6, torch.float64)
    assert code[0].tolist() == [1, 1, 1, 0, 0, 0]
    angles = [2.5, 2.5 * 10000 ** (-1 / 3), 2.5 * 10000 ** (-2 / 3)]
    expected = [math.cos(angle) for angle in angles] + [math.sin(angle) for angle in angles]
    assert code[1].tolist() == pytest.approx(expected, abs=1e-14)


def test_slots_have_no_order_and_may_be_of_any_number() -> None:
    unet, order = build(), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(unet(X, STEPS, SLOTS[:, order]), unet(X, STEPS, SLOTS), **EXACT)
    assert unet(X, STEPS, noise(2, 9, 5)).shape == X.shape
    twice = torch.cat((SLOTS, SLOTS), dim=1)
    torch.testing.assert_close(unet(X, STEPS, twice), unet(X, STEPS, SLOTS), **EXACT)


def test_dropped_slots_are_not_seen() -> None:
    unet, keep = build(), torch.tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]])
    other = torch.where(keep[..., None] == 1, SLOTS, noise(2, 4, 5, seed=7))
    found = unet(X, STEPS, SLOTS, keep)
    torch.testing.assert_close(unet(X, STEPS, other, keep), found, rtol=0, atol=1e-4)  # kept's epsilon
    alone = unet(X[:1], STEPS[:1], SLOTS[:1, [0, 2, 3]])
    torch.testing.assert_close(found[:1], alone, rtol=0, atol=1e-3)
    every_slot = unet(X, STEPS, SLOTS, torch.ones(2, 4))
    torch.testing.assert_close(every_slot, unet(X, STEPS, SLOTS), rtol=0, atol=1e-3)
    assert (found - unet(X, STEPS, SLOTS)).abs().max() > 1e-2


def test_with_all_slots_dropped_nothing_is_read_from_them() -> None:
    unet, none = build(), torch.zeros(2, 4)
    found = unet(X, STEPS, SLOTS, none)
    assert found.isfinite().all()
    assert torch.equal(found, unet(X, STEPS, noise(2, 4, 5, seed=7), none))


def test_images_do_not_mix() -> None:
    unet = build()
    both = unet(X, STEPS, SLOTS)
    torch.testing.assert_close(both[1:], unet(X[1:], STEPS[1:], SLOTS[1:]), **EXACT)


def test_dropout_is_called_once_in_each_residual_block() -> None:
    unet, seen = build(), []

    def drop(x: Tensor) -> Tensor:
        seen.append(x.shape[1])
        return x

    unet(X, STEPS, SLOTS, drop=drop)
    assert seen == [8, 8, 16, 16, 24, 24, 24, 24, 24, 24, 24, 16, 16, 16, 8, 8, 8]


def test_dropout_is_between_the_last_activation_and_convolution_of_a_block() -> None:
    unet, left_out = build(), (noise(2, 24, 2, 3, seed=6) > 0).double()
    block, plain = unet.middle[0], Plain(renamed(unet, published_names(unet.sizes)), unet.sizes)
    x, time, name = noise(2, 24, 2, 3, seed=7), noise(2, 32, seed=4), "middle_block.0"
    y = plain.conv(plain.silu(plain.group_norm(x, f"{name}.in_layers.0", 1e-5)), f"{name}.in_layers.2")
    y = y + plain.linear(plain.silu(time), f"{name}.emb_layers.1")[:, :, None, None]
    y = plain.silu(plain.group_norm(y, f"{name}.out_layers.0", 1e-5)) * left_out
    found = block(x, Given(F.silu(time), SLOTS, drop=lambda y: y * left_out))
    torch.testing.assert_close(found, x + plain.conv(y, f"{name}.out_layers.3"), **EXACT)


HALVED = (
    "3 levels halve the latents 2 times, and 8x6 do not divide by 4; write fewer multipliers, or take images "
    "of another size"
)


@pytest.mark.parametrize(
    ("changes", "size", "field", "text"),
    [
        ({"width": 9}, (8, 8), "width", "half of the time's code are sines: 9 is odd; take an even one"),
        (
            {"width": 12, "groups": 8},
            (8, 8),
            "norm_groups",
            "8 groups do not divide the width 12; take one of [1, 2, 3, 4, 6, 12]",
        ),
        (
            {"attention_at": (2, 3)},
            (8, 8),
            "attention_at",
            "no level is smaller than the latents by 3; there are levels of the factors [1, 2, 4]",
        ),
        (
            {"head_width": 16},
            (8, 8),
            "head_width",
            "heads of width 16 do not divide the 24 channels where there is attention, at the factor 4",
        ),
        (
            {"attention_at": (), "head_width": 16},
            (8, 8),
            "head_width",
            "heads of width 16 do not divide the 24 channels where there is attention, at the factor 4",
        ),
        (
            {},
            (8, 6),
            "multipliers",
            HALVED,
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    changes: dict[str, Any], size: tuple[int, int], field: str, text: str
) -> None:
    with pytest.raises(ComponentError) as error:
        check_sizes(UNetSizes(**{**SMALL, **changes}), size)
    assert (str(error.value), error.value.field) == (text, field)


def test_sizes_that_fit_are_not_refused() -> None:
    check_sizes(UNetSizes(**SMALL), (8, 12))
    check_sizes(UNetSizes(**PUBLISHED), (32, 32))
    check_sizes(UNetSizes(**{**SMALL, "attention_at": (4,), "head_width": 24}), (4, 4))
