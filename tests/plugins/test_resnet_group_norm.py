"""ResNets with group norm against plain transcriptions, and the number of their weights."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import EncoderContext
from slotlab.plugins.encoders.resnet_group_norm import ResNetGroupNormConfig, ResNetGroupNormEncoder
from slotlab.registry import ComponentError

TOLERANCE = 1e-9
CONTEXT = EncoderContext(image_size=(128, 128))
ISA: dict[str, Any] = {
    "blocks": (3, 4, 6, 3),
    "padding": "same",
    "group_norm_eps": 1e-6,
    "residual_init": "zeros",
    "weight_init": "lecun",
}


def built(context: EncoderContext = CONTEXT, **settings: Any) -> ResNetGroupNormEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNetGroupNormEncoder(ResNetGroupNormConfig(**settings), context)


def weights_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_number_of_weights_is_pinned() -> None:
    slotdiffusion, isa = built(), built(**ISA)
    assert (weights_of(slotdiffusion), slotdiffusion.grid, slotdiffusion.channels) == (
        2_775_104,
        (32, 32),
        256,
    )
    assert (weights_of(isa), isa.grid, isa.channels) == (21_276_992, (16, 16), 512)
    imagenet = built(blocks=(2, 2, 2, 2), stem="imagenet")  # torchvision's ResNet-18 without its last layer
    assert (weights_of(imagenet), imagenet.grid) == (11_689_512 - 513_000, (4, 4))


def group_norm(x: Tensor, norm: Any) -> Tensor:
    groups = x.reshape(len(x), norm.num_groups, -1)
    deviation = (groups.var(dim=2, unbiased=False, keepdim=True) + norm.eps).sqrt()
    flat = (groups - groups.mean(dim=2, keepdim=True)) / deviation
    scaled: Tensor = flat.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
    return scaled


def convolve(x: Tensor, layer: Any, stride: int, *, same: bool) -> Tensor:
    """By hand: each output is a sum over a window, which starts where the convention says."""
    size = layer.weight.shape[2]
    rows, columns = (-(-side // stride) for side in x.shape[2:])
    before = []
    for side, out in zip(x.shape[2:], (rows, columns), strict=True):
        needed = max((out - 1) * stride + size - side, 0)
        before.append(needed // 2 if same else size // 2)
    wide = F.pad(x, (before[1], size, before[0], size))
    total = torch.zeros(len(x), len(layer.weight), rows, columns, dtype=x.dtype)
    for r in range(size):
        for c in range(size):
            window = wide[:, :, r : r + stride * rows : stride, c : c + stride * columns : stride]
            total = total + torch.einsum("bihw,oi->bohw", window, layer.weight[:, :, r, c])
    return total


def plain(
    module: ResNetGroupNormEncoder, images: Tensor, strides: list[int], *, same: bool, large: bool
) -> Tensor:
    conv, norm = module.stem[0], module.stem[1]
    x = group_norm(convolve(images, conv, 2 if large else 1, same=same), norm).clamp(min=0)
    if large:
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1) if same else (1, 1, 1, 1)), 3, 2)
    for block, stride in zip(module.blocks, strides, strict=True):
        b: Any = block
        y = group_norm(convolve(x, b.conv1, stride, same=same), b.norm1).clamp(min=0)
        y = group_norm(convolve(y, b.conv2, 1, same=same), b.norm2)
        if not isinstance(b.skip, nn.Identity):
            x = group_norm(convolve(x, b.skip[0], stride, same=same), b.skip[1])
        x = (x + y).clamp(min=0)
    return x


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_features_and_gradients(stem: Any, padding: Any) -> None:
    context = EncoderContext(image_size=(16, 24))
    module = built(context, blocks=(1, 2, 1), width=8, groups=4, stem=stem, padding=padding).double()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            if parameter.dim() == 1:
                draws = torch.randn(
                    parameter.shape, generator=Generator().manual_seed(index), dtype=torch.float64
                )
                parameter.add_(0.1 * draws)
    images = torch.randn(
        2, 3, 16, 24, dtype=torch.float64, generator=Generator().manual_seed(0)
    ).requires_grad_()
    found = module(images)
    expected = plain(module, images, [1, 2, 1, 2], same=padding == "same", large=stem == "imagenet")
    assert found.shape == expected.shape == (2, module.channels, *module.grid)
    assert (found - expected).abs().max() < TOLERANCE
    named = {"images": images, **dict(module.named_parameters())}
    direction = torch.randn(found.shape, generator=Generator().manual_seed(1), dtype=torch.float64)
    pair = [torch.autograd.grad((x * direction).sum(), list(named.values())) for x in (found, expected)]
    for name, mine, theirs in zip(named, *pair, strict=True):
        assert theirs.any(), name
        assert (mine - theirs).abs().max() < 10 * TOLERANCE, name


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_odd_sides_are_rounded_up(padding: Any) -> None:
    module = built(EncoderContext(image_size=(13, 22)), blocks=(1, 1, 1), width=8, groups=4, padding=padding)
    assert module.grid == (4, 6)
    assert module(torch.zeros(1, 3, 13, 22)).shape == (1, 32, 4, 6)


def test_how_weights_start() -> None:
    kaiming: Any = built().blocks[2]
    assert kaiming.conv2.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert kaiming.norm2.weight.min() == 1
    lecun: Any = built(weight_init="lecun", residual_init="zeros", blocks=(1, 1))
    block = lecun.blocks[1]
    assert block.conv2.weight.std().item() == pytest.approx((128 * 9) ** -0.5, rel=0.02)
    assert block.conv2.weight.abs().max() <= 2 * (128 * 9) ** -0.5 / 0.8796
    assert not block.norm2.weight.any()
    assert block.norm1.weight.min() == 1
    fresh = torch.rand(1, 64, 8, 8)
    torch.testing.assert_close(lecun.blocks[0](fresh), fresh)  # a block begins as the identity


def test_groups_divide_the_width() -> None:
    with pytest.raises(ComponentError, match=r"^32 groups do not divide the width 48$") as raised:
        built(width=48)
    assert raised.value.field == "groups"
