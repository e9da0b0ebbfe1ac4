"""Mean squared error between the image and its reconstruction.

Source: Locatello et al. 2020, section 2.2; the mean over batch, channels and pixels. The sum over channels
and pixels is that of the object-centric learning framework, and of AdaSlot (Fan et al. 2024) on CLEVR.
"""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Losses, ObjectiveContext, TargetShape
from slotlab.registry import Component, ComponentConfig, hookimpl


class PixelMSEConfig(ComponentConfig):
    """Settings of the pixels' squared error."""

    reduction: Literal["mean", "sum"] = "mean"
    """Over channels and pixels; images are always averaged. Adam takes the same steps either way, up to its
    epsilon; clipping and the weights of auxiliary losses mean something else."""


class PixelMSE:
    """The image is the target, at its own size and in the spec's value range."""

    of_images = True

    def __init__(self, config: PixelMSEConfig, context: ObjectiveContext):
        self.target_shape = TargetShape(context.image_channels, context.image_size)
        self.reduction = config.reduction

    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the images."""
        return images_BCHW

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over images of the mean, or the sum, over channels and pixels: a scalar."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        loss = F.mse_loss(decoded.prediction_BCHW, target_BCHW)
        return Losses(loss if self.reduction == "mean" else loss * target_BCHW[0].numel())

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
