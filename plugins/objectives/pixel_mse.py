"""Mean squared error between the image and its reconstruction.

Source: Locatello et al. 2020, section 2.2; the mean over batch, channels and pixels.
"""

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Losses, ObjectiveContext, TargetShape
from slotlab.registry import Component, ComponentConfig, hookimpl


class PixelMSEConfig(ComponentConfig):
    """No settings."""


class PixelMSE:
    """The image is the target, at its own size and in the spec's value range."""

    def __init__(self, config: PixelMSEConfig, context: ObjectiveContext):
        self.target_shape = TargetShape(context.image_channels, context.image_size)

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the images."""
        return images_BCHW

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over everything, a scalar."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        return Losses(F.mse_loss(decoded.prediction_BCHW, target_BCHW))

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the prediction, which is an image already."""
        return prediction_BCHW


@hookimpl
def slotlab_objectives() -> Iterable[Component[PixelMSEConfig]]:
    """Provide `pixel_mse`."""
    yield Component(
        name="pixel_mse",
        config=PixelMSEConfig,
        build=PixelMSE,
        summary="mean squared error over the image's pixels",
    )
