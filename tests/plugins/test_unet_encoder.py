"""The U-Net encoder against `UNet2DModel` of the library diffusers, of which LSD builds it."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import EncoderContext
from slotlab.plugins.encoders.unet import UNetConfig, UNetEncoder
from slotlab.registry import ComponentError

EXACT: dict[str, float] = {"rtol": 0, "atol": 1e-9}
SMALL: dict[str, Any] = {
    "stride": 2,
    "width": 8,
    "multipliers": (1, 1, 2, 4),
    "norm_groups": 4,
    "head_width": 4,
    "channels": 6,
}
PARTS: list[tuple[dict[str, Any], tuple[int, int]]] = [
    (SMALL, (32, 48)),
    ({**SMALL, "multipliers": (1, 3), "blocks": 2, "stride": 4}, (32, 24)),
    ({**SMALL, "multipliers": (1,), "stride": 1}, (5, 7)),
]
BLOCK = {"norm1": "norm1", "conv1": "conv1", "read_time": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
BLOCK |= {"skip": "conv_shortcut"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def build(size: tuple[int, int], **settings: Any) -> UNetEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNetEncoder(UNetConfig(**settings), EncoderContext(image_size=size)).double()


def theirs(config: UNetConfig) -> Any:
    diffusers = pytest.importorskip("diffusers")
    levels = len(config.multipliers)
    return diffusers.UNet2DModel(
        in_channels=config.width,
        out_channels=config.channels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        block_out_channels=tuple(config.width * by for by in config.multipliers),
        layers_per_block=config.blocks,
        attention_head_dim=config.head_width,
        norm_num_groups=config.norm_groups,
        norm_eps=1e-5,
    ).eval()


def names(config: UNetConfig) -> dict[str, str]:
    """Return the names in diffusers by those of ours, without `.weight` and `.bias`."""
    found = {"time.first": "time_embedding.linear_1", "time.second": "time_embedding.linear_2"}
    found |= {"read": "conv_in", "norm": "conv_norm_out", "write": "conv_out"}
    for level in range(len(config.multipliers)):
        for way, more in (("down", 0), ("up", 1)):
            for stage in range(config.blocks + more):
                at = f"{way}_blocks.{level}.resnets.{stage}"
                found |= {f"{way}.{level}.stages.{stage}.block.{a}": f"{at}.{b}" for a, b in BLOCK.items()}
        found[f"down.{level}.down"] = f"down_blocks.{level}.downsamplers.0.conv"
        found[f"up.{level}.up.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    for ours, at in (("middle.0", "resnets.0"), ("middle.2", "resnets.1")):
        found |= {f"{ours}.{a}": f"mid_block.{at}.{b}" for a, b in BLOCK.items()}
    found["middle.1.norm"] = "mid_block.attentions.0.group_norm"
    found |= {f"middle.1.attend.to_{x}": f"mid_block.attentions.0.to_{x}" for x in "qkv"}
    return found | {"middle.1.attend.to_out": "mid_block.attentions.0.to_out.0"}


@pytest.mark.parametrize(("settings", "size"), PARTS, ids=["lsd", "two blocks", "one level"])
def test_forward_and_gradients_are_those_of_diffusers(
    settings: dict[str, Any], size: tuple[int, int]
) -> None:
    encoder, mapping = build(size, **settings), names(UNetConfig(**settings))
    with torch.no_grad():
        for parameter in encoder.parameters():  # norms start at special values
            parameter += 0.1 * torch.randn_like(parameter)
    other, weights = theirs(UNetConfig(**settings)).double(), {}
    for name, parameter in encoder.unet.named_parameters():
        stem, _, what = name.rpartition(".")
        weights[f"{mapping[stem]}.{what}"] = parameter
    assert weights.keys() == dict(other.named_parameters()).keys()
    images = noise(2, 3, *size, seed=1).requires_grad_()
    stride = settings["stride"]
    patches = F.unfold(images, stride, stride=stride)  # of each patch, all values in the kernel's order
    read = encoder.stem.weight.flatten(1) @ patches + encoder.stem.bias[:, None]  # type: ignore[index]
    read = read.unflatten(2, encoder.grid)
    made = encoder(images)
    expected = torch.func.functional_call(other, weights, (read, 0)).sample
    assert made.shape == (2, encoder.channels, *encoder.grid)
    torch.testing.assert_close(made, expected, **EXACT)
    factor, learned = noise(*made.shape, seed=2), [images, *encoder.parameters()]
    first, second = (torch.autograd.grad((y * factor).sum(), learned) for y in (made, expected))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    assert all(one.any() for one in first)


def test_the_number_of_weights_is_pinned_and_that_of_diffusers() -> None:
    with torch.device("meta"):
        encoder = UNetEncoder(UNetConfig(), EncoderContext(image_size=(256, 256)))
        other = theirs(UNetConfig())
    assert (encoder.channels, encoder.grid) == (192, (64, 64))
    ours, backbone = (sum(one.numel() for one in part.parameters()) for part in (encoder, other))
    assert ours == backbone + 128 * (3 * 4 * 4 + 1) == 42_571_840


def test_weights_start_as_torch_draws_them_none_at_zero() -> None:
    encoder = build((16, 16), **SMALL)
    drawn = [part for part in encoder.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    assert {type(part) for part in drawn} == {nn.Conv2d, nn.Linear}
    assert all(part.weight.any() for part in drawn)


def test_every_position_has_seen_the_whole_image() -> None:
    encoder, images = build((32, 32), **SMALL), noise(1, 3, 32, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(images)[..., 0, 0].sum(), images)
    assert gradient.abs().amin() > 0


HALVED = (
    "4 levels halve the patches 3 times, and 16x20 do not divide by 8; write fewer multipliers, or take images "
    "of another size"
)


@pytest.mark.parametrize(
    ("settings", "size", "field", "text"),
    [
        (
            {"stride": 3},
            (32, 33),
            "stride",
            "patches of 3 pixels do not fill images of 32x33; take a stride that divides both sides",
        ),
        (
            {"head_width": 3},
            (32, 32),
            "head_width",
            "heads of width 3 do not divide the 32 channels in the middle",
        ),
        (
            {"norm_groups": 3},
            (32, 32),
            "norm_groups",
            "3 groups do not divide the width 8; take one of [1, 2, 4, 8]",
        ),
        (
            {},
            (32, 40),
            "multipliers",
            HALVED,
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    settings: dict[str, Any], size: tuple[int, int], field: str, text: str
) -> None:
    with pytest.raises(ComponentError) as error:
        build(size, **{**SMALL, **settings})
    assert (str(error.value), error.value.field) == (text, field)
