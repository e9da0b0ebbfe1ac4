"""A ResNet of basic blocks with group norm: no pooling, 3x3 kernels, stages that halve the map.

Source: He et al. 2016, with what object-centric models changed: SlotDiffusion's ResNet-18 (Wu et al. 2023,
code: group norm of 32 groups, 3x3 stem of stride 1, no max-pool, no fourth stage; the defaults), and the
ResNet-34 of Biza et al. 2023 (`blocks: [3, 4, 6, 3]`, `padding: same`, `group_norm_eps: 1e-6`,
`residual_init: zeros`, `weight_init: lecun`).
"""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import EncoderContext
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class ResNetGroupNormConfig(ComponentConfig):
    """Settings of a ResNet with group norm."""

    blocks: Annotated[tuple[PositiveInt, ...], Len(1, 8)] = (2, 2, 2)
    """Residual blocks of each stage; the first block of each stage but the first has stride 2."""
    width: PositiveInt = 64
    """Channels of the stem and the first stage; each later stage has twice as many."""
    groups: PositiveInt = 32
    """Groups of the norms; they divide the width."""
    stem: Literal["small", "imagenet"] = "small"
    """The first convolution: 3x3 of stride 1, or 7x7 of stride 2 with a max-pool, so that the map's sides
    are a quarter as long."""
    padding: Literal["symmetric", "same"] = "symmetric"
    """How layers of stride 2 pad sides of even length: by a pixel on both ends, as torch does, or on the last
    alone, as TensorFlow and Flax do."""
    group_norm_eps: PositiveFloat = 1e-5
    """Epsilon of the norms; Flax's default is 1e-6."""
    weight_init: Literal["kaiming", "lecun"] = "kaiming"
    """How kernels start: normal of variance 2 / fan-out, or, as in Flax, normal of variance 1 / fan-in, cut
    at two deviations."""
    residual_init: Literal["ones", "zeros"] = "ones"
    """The weights of each block's last norm at the start; with `zeros` a block begins as the identity."""


class _Convolution(nn.Conv2d):
    """A convolution without bias whose output has size / stride, rounded up."""

    def __init__(self, width_in: int, width: int, size: int, stride: int, config: ResNetGroupNormConfig):
        self.same = config.padding == "same"
        super().__init__(width_in, width, size, stride, 0 if self.same else size // 2, bias=False)
        if config.weight_init == "kaiming":
            nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        else:
            deviation = (width_in * size**2) ** -0.5 / UNCUT
            nn.init.trunc_normal_(self.weight, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features of the size / stride, rounded up."""
        if self.same:
            x_BCHW = padded_same(x_BCHW, self.kernel_size[0], self.stride[0])
        return super().forward(x_BCHW)


UNCUT = 0.87962566103423978
"""The deviation of a standard normal distribution that is cut at two deviations."""


def padded_same(x_BCHW: Tensor, size: int, stride: int) -> Tensor:
    """Pad as TensorFlow's `SAME` does: what does not divide by two goes to the last rows and columns."""
    pads: list[int] = []
    for side in reversed(x_BCHW.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x_BCHW, pads)


class _MaxPool(nn.MaxPool2d):
    """Halves a map that is not negative, so that padding with zeros changes no maximum."""

    def __init__(self, config: ResNetGroupNormConfig):
        self.same = config.padding == "same"
        super().__init__(3, 2, 0 if self.same else 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the largest of each 3x3 values."""
        return super().forward(padded_same(x_BCHW, 3, 2) if self.same else x_BCHW)  # type: ignore[no-any-return]


def _norm(width: int, config: ResNetGroupNormConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.groups, width, eps=config.group_norm_eps)


class _Block(nn.Module):
    """conv-GN-ReLU-conv-GN, plus the input, ReLU. The skip is a 1x1 conv-GN where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int, config: ResNetGroupNormConfig):
        super().__init__()
        self.conv1 = _Convolution(width_in, width, 3, stride, config)
        self.norm1 = _norm(width, config)
        self.conv2 = _Convolution(width, width, 3, 1, config)
        self.norm2 = _norm(width, config)
        if config.residual_init == "zeros":
            nn.init.zeros_(self.norm2.weight)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.skip = nn.Sequential(_Convolution(width_in, width, 1, stride, config), _norm(width, config))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features of the size / stride."""
        y_BCHW = F.relu(self.norm1(self.conv1(x_BCHW)), inplace=True)
        return F.relu(self.norm2(self.conv2(y_BCHW)).add_(self.skip(x_BCHW)), inplace=True)


class ResNetGroupNormEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, *grid), the last stage's output."""

    def __init__(self, config: ResNetGroupNormConfig, context: EncoderContext):
        super().__init__()
        if config.width % config.groups:
            text = f"{config.groups} groups do not divide the width {config.width}"
            raise ComponentError(text, field="groups")
        large = config.stem == "imagenet"
        size, stride = (7, 2) if large else (3, 1)
        self.stem = nn.Sequential(
            _Convolution(context.image_channels, config.width, size, stride, config),
            _norm(config.width, config),
            nn.ReLU(inplace=True),
            *([_MaxPool(config)] if large else []),
        )
        blocks: list[nn.Module] = []
        width = config.width
        strides = [4 if large else 1]
        for stage, number in enumerate(config.blocks):
            for index in range(number):
                halves = stage > 0 and index == 0
                blocks.append(_Block(width, width * (1 + halves), 1 + halves, config))
                width *= 1 + halves
                strides.append(1 + halves)
        self.blocks = nn.Sequential(*blocks)
        self.channels = width
        rows, columns = (-(-side // prod(strides)) for side in context.image_size)
        self.grid = (rows, columns)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the last block."""
        features_BCHW: Tensor = self.blocks(self.stem(images_BCHW))
        return features_BCHW


@hookimpl
def slotlab_encoders() -> Iterable[Component[ResNetGroupNormConfig]]:
    """Provide `resnet_group_norm`."""
    yield Component(
        name="resnet_group_norm",
        config=ResNetGroupNormConfig,
        build=ResNetGroupNormEncoder,
        summary="a ResNet of basic blocks with group norm and a small stem",
    )
