"""The U-Net against `UNet2DConditionModel` of the library diffusers, with the weights of ours."""

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from slotlab.framework.model.diffusion.unet import UNet, UNetSizes
from slotlab.framework.model.diffusion.unet_blocks import PositionCode

BLOCK = {"norm1": "norm1", "conv1": "conv1", "read_time": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
BLOCK |= {"skip": "conv_shortcut"}
INNER = {"norm_self": "norm1", "norm_slots": "norm2", "norm_mlp": "norm3", "mlp.read": "ff.net.0.proj"}
INNER |= {"mlp.out": "ff.net.2"}
for _ours, _theirs in (("attend_self", "attn1"), ("attend_slots", "attn2")):
    INNER |= {f"{_ours}.to_{letter}": f"{_theirs}.to_{letter}" for letter in "qkv"}
    INNER[f"{_ours}.to_out"] = f"{_theirs}.to_out.0"
TRANSFORMER = {"norm": "norm", "read": "proj_in", "write": "proj_out"}
TRANSFORMER |= {ours: f"transformer_blocks.0.{theirs}" for ours, theirs in INNER.items()}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed), dtype=torch.float64)


def names(sizes: UNetSizes) -> dict[str, str]:
    """Return the names in diffusers by those of ours, without `.weight` and `.bias`."""
    found = {"time.first": "time_embedding.linear_1", "time.second": "time_embedding.linear_2"}
    found |= {"read": "conv_in", "norm": "conv_norm_out", "write": "conv_out"}

    def add(ours: str, theirs: str, parts: dict[str, str]) -> None:
        found.update({f"{ours}.{a}": f"{theirs}.{b}" for a, b in parts.items()})

    for level in range(len(sizes.multipliers)):
        for way, more in (("down", 0), ("up", 1)):
            for stage in range(sizes.blocks + more):
                at = f"{way}.{level}.stages.{stage}"
                add(f"{at}.block", f"{way}_blocks.{level}.resnets.{stage}", BLOCK)
                add(f"{at}.transformer", f"{way}_blocks.{level}.attentions.{stage}", TRANSFORMER)
        found[f"down.{level}.down"] = f"down_blocks.{level}.downsamplers.0.conv"
        found[f"up.{level}.up.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    add("middle.0", "mid_block.resnets.0", BLOCK)
    add("middle.1", "mid_block.attentions.0", TRANSFORMER)
    add("middle.2", "mid_block.resnets.1", BLOCK)
    return found


def theirs(sizes: UNetSizes) -> Any:
    diffusers = pytest.importorskip("diffusers")
    attends = [factor in sizes.attention_at for factor in sizes.factors]
    widths = [sizes.width * by for by in sizes.multipliers]
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        in_channels=sizes.channels,
        out_channels=sizes.channels,
        down_block_types=tuple("CrossAttnDownBlock2D" if one else "DownBlock2D" for one in attends),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=tuple("CrossAttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)),
        block_out_channels=tuple(widths),
        layers_per_block=sizes.blocks,
        cross_attention_dim=sizes.slot_dim,
        attention_head_dim=tuple(sizes.heads or width // sizes.head_width for width in widths),  # of heads
        transformer_layers_per_block=1,
        dropout=0.1,
        norm_num_groups=sizes.groups,
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
        downsample_padding=1,
        use_linear_projection=False,
        act_fn="silu",
    ).eval()


LSD: dict[str, Any] = {"head_width": 3, "heads": 2, "positions": True, "zero_init": False}
SIZES = [
    {"width": 8, "multipliers": (1, 2, 3), "blocks": 2, "attention_at": (2, 4), "head_width": 4, "groups": 4},
    {"width": 16, "multipliers": (1, 2), "blocks": 1, "attention_at": (1, 2), "head_width": 8, "groups": 8},
    {"width": 8, "multipliers": (1, 2, 2), "blocks": 2, "attention_at": (1, 2), "groups": 4, **LSD},
]


def placed(rows: int, columns: int, projection: nn.Linear, x: Tensor) -> Tensor:
    """LSD's cartesian position embedding of flattened features, by its 1x1 convolution over a grid."""
    ends = (torch.linspace(0, 1, number + 1, dtype=torch.float64) for number in (rows, columns))
    y, x_ = torch.meshgrid(*(0.5 * (one[:-1] + one[1:]) for one in ends), indexing="ij")
    grid = torch.stack((y, x_, 1 - y, 1 - x_))[None]
    weight = projection.weight[:, :, None, None]
    return x + nn.functional.conv2d(grid, weight, projection.bias).flatten(2).transpose(1, 2)


def place(other: Any, codes: dict[str, PositionCode], ratio: float) -> None:
    """Have attentions get their first argument with a position code added; rows are `ratio` times columns."""
    for name, code in codes.items():

        def before(
            module: nn.Module, arguments: tuple[Tensor, ...], code: PositionCode = code
        ) -> tuple[Any, ...]:
            rows = math.isqrt(round(arguments[0].shape[1] * ratio))
            given = placed(rows, arguments[0].shape[1] // rows, code.project, arguments[0])
            return given, *arguments[1:]

        other.get_submodule(name).register_forward_pre_hook(before)


@pytest.mark.parametrize("chosen", SIZES, ids=["slotdiffusion", "small", "lsd"])
def test_forward_and_gradients_are_those_of_diffusers(chosen: dict[str, Any]) -> None:
    sizes = UNetSizes(channels=3, slot_dim=5, **chosen)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet, other = UNet(sizes).double(), theirs(sizes).double()
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
    mapping, weights, codes = names(sizes), {}, {}
    for name, part in unet.named_modules():
        if isinstance(part, PositionCode):
            stem, _, what = name.rpartition(".place_")
            codes[mapping[f"{stem}.norm_{what}"].replace("norm", "attn")] = part
    for name, parameter in unet.named_parameters():
        stem, _, what = name.rpartition(".")
        if ".place_" not in name:
            weights[f"{mapping[stem]}.{what}"] = parameter.detach()
    other.load_state_dict(weights, strict=True)
    assert len(codes) == (2 * (2 * 2 + 2 * 3 + 1) if sizes.positions else 0)
    place(other, codes, 8 / 12)
    # Their sinusoid is computed in float32, by which alone the two would differ in the seventh digit.
    other.time_proj.forward = lambda steps: exact_sinusoid(steps, sizes.width)
    x, slots = noise(2, 3, 8, 12, seed=1).requires_grad_(), noise(2, 4, 5, seed=2).requires_grad_()
    steps = torch.tensor([3, 870])
    made, expected = unet(x, steps, slots), other(x, steps, slots).sample
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9)
    factor = noise(2, 3, 8, 12, seed=3)
    inputs = [x, slots]
    first, second = (torch.autograd.grad((y * factor).sum(), inputs) for y in (made, expected))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def exact_sinusoid(steps: Tensor, width: int) -> Tensor:
    diffusers = pytest.importorskip("diffusers")
    exponent = torch.arange(width // 2, dtype=torch.float64) / (width // 2)
    angles = steps.double()[:, None] * 10000**-exponent
    code = torch.cat((angles.cos(), angles.sin()), dim=1)
    proj = diffusers.models.embeddings.Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(proj(steps).double(), code, rtol=0, atol=1e-3)
    return code


@pytest.mark.parametrize(("slot_dim", "number"), [(192, 134_243_331), (256, 135_046_147)])
def test_diffusers_unet_of_slotdiffusions_sizes_has_the_pinned_number(slot_dim: int, number: int) -> None:
    sizes = UNetSizes(
        channels=3,
        slot_dim=slot_dim,
        width=128,
        multipliers=(1, 2, 3, 4),
        blocks=2,
        attention_at=(2, 4, 8),
        head_width=32,
        groups=32,
    )
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        other = theirs(sizes)
    assert sum(parameter.numel() for parameter in other.parameters()) == number


def test_lsds_unet_has_as_many_weights_as_diffusers_and_its_positions() -> None:
    pytest.importorskip("diffusers")
    sizes = UNetSizes(
        channels=4,
        slot_dim=192,
        width=192,
        multipliers=(1, 2, 4, 4),
        blocks=2,
        attention_at=(1, 2, 4),
        groups=24,
        **{**LSD, "heads": 24},
    )
    with torch.device("meta"):
        ours, other = (sum(one.numel() for one in part.parameters()) for part in (UNet(sizes), theirs(sizes)))
    widths = [192] * 5 + [384] * 5 + [768] * 5 + [768]  # of the transformers, each with two codes
    assert ours - other == sum(2 * (4 * width + width) for width in widths)
    assert (ours, other) == (305_588_932, 305_514_052)
