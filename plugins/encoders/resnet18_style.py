"""The full-resolution "ResNet18-style" encoder: 5x5 kernels, stride 1, eight blocks.

Source: H. Goyal, "COL775: Slot Attention" (2024), encoder section. Not torchvision's
ResNet-18: nothing is strided or pooled, and every convolution has a bias.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

from annotated_types import Len
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import EncoderContext
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class ResNet18StyleConfig(ComponentConfig):
    """Settings of the ResNet18-style encoder."""

    stem: PositiveInt = 16
    """Channels of the first convolution."""
    blocks: Annotated[tuple[PositiveInt, ...], Len(1)] = (16, 16, 32, 32, 32, 64, 64, 64)
    """Channels of each residual block."""
    kernel_size: PositiveInt = 5
    """Side of every kernel in pixels; odd."""


class _ResidualBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the input, ReLU. The skip is a conv-BN where the width changes."""

    def __init__(self, width_in: int, width: int, kernel_size: int):
        super().__init__()
        pad = kernel_size // 2
        self.conv1 = nn.Conv2d(width_in, width, kernel_size, padding=pad)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size, padding=pad)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip: nn.Module = nn.Identity()
        if width_in != width:
            self.skip = nn.Sequential(
                nn.Conv2d(width_in, width, kernel_size, padding=pad), nn.BatchNorm2d(width)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features of the same size."""
        # In place: the output of a norm is not needed again, and allocating large tensors takes time.
        y_BCHW = F.relu(self.norm1(self.conv1(x_BCHW)), inplace=True)
        return F.relu(self.norm2(self.conv2(y_BCHW)).add_(self.skip(x_BCHW)), inplace=True)


class ResNet18StyleEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, H, W)."""

    def __init__(self, config: ResNet18StyleConfig, context: EncoderContext):
        super().__init__()
        if config.kernel_size % 2 == 0:
            raise ComponentError(f"must be odd, not {config.kernel_size}", field="kernel_size")
        self.stem = nn.Sequential(
            nn.Conv2d(
                context.image_channels, config.stem, config.kernel_size, padding=config.kernel_size // 2
            ),
            nn.BatchNorm2d(config.stem),
            nn.ReLU(inplace=True),
        )
        widths = (config.stem, *config.blocks)
        self.blocks = nn.Sequential(*(_ResidualBlock(*pair, config.kernel_size) for pair in pairwise(widths)))
        self.channels = widths[-1]
        self.grid = context.image_size

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the last block."""
        features_BCHW: Tensor = self.blocks(self.stem(images_BCHW))
        return features_BCHW


@hookimpl
def slotlab_encoders() -> Iterable[Component[ResNet18StyleConfig]]:
    """Provide `resnet18_style`."""
    yield Component(
        name="resnet18_style",
        config=ResNet18StyleConfig,
        build=ResNet18StyleEncoder,
        summary="eight full-resolution residual blocks of 5x5 convolutions",
    )
