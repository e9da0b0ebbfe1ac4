"""The 4-layer CNN of slot attention: same-size convolutions, ReLU after each.

Source: Locatello et al. 2020, "Object-Centric Learning with Slot Attention", section
E.3 (encoder); 4 x 64 channels, 5x5. SAVi's (Kipf et al. 2022) has 32 channels; those of SlotFormer and STEVE
have no ReLU after the last layer (`last_relu`). Axes as in `slotlab.framework.contracts`.
"""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Len
from pydantic import PositiveInt
from torch import Tensor, nn

from slotlab.framework.contracts import EncoderContext
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class CNNConfig(ComponentConfig):
    """Settings of the convolutional encoder."""

    channels: Annotated[tuple[PositiveInt, ...], Len(1, 64)] = (64, 64, 64, 64)
    """Output channels of each layer."""
    kernel_size: PositiveInt = 5
    """Side of every kernel in pixels; odd, so that layers keep the size."""
    strides: tuple[PositiveInt, ...] = ()
    """Stride of each layer; empty for 1 everywhere."""
    last_relu: bool = True
    """Whether a ReLU follows the last layer too."""


class CNNEncoder(nn.Module):
    """Images (B, 3, H, W) to features (B, channels, *grid), float of the input's dtype."""

    def __init__(self, config: CNNConfig, context: EncoderContext):
        super().__init__()
        if config.kernel_size % 2 == 0:
            raise ComponentError(f"must be odd, not {config.kernel_size}", field="kernel_size")
        strides = config.strides or (1,) * len(config.channels)
        if len(strides) != len(config.channels):
            message = f"{len(strides)} strides for {len(config.channels)} layers; give one for each layer"
            raise ComponentError(message, field="strides")
        rows, columns = context.image_size
        layers: list[nn.Module] = []
        width = context.image_channels
        for channels, stride in zip(config.channels, strides, strict=True):
            layers += [
                nn.Conv2d(width, channels, config.kernel_size, stride, config.kernel_size // 2),
                nn.ReLU(inplace=True),
            ]
            width = channels
            rows, columns = -(-rows // stride), -(-columns // stride)
        self.layers = nn.Sequential(*(layers if config.last_relu else layers[:-1]))
        self.channels = width
        self.grid = (rows, columns)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the last layer, after its ReLU if it has one."""
        features_BCHW: Tensor = self.layers(images_BCHW)
        return features_BCHW


@hookimpl
def slotlab_encoders() -> Iterable[Component[CNNConfig]]:
    """Provide `cnn`."""
    yield Component(
        name="cnn", config=CNNConfig, build=CNNEncoder, summary="stack of convolutions, ReLU after each"
    )
