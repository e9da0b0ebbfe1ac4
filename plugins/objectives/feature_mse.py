"""Mean squared error between the encoder's features and their reconstruction.

Source: Seitzer et al. 2023 (DINOSAUR), section 3.1; the frozen copy and the normalized target are
FT-DINOSAUR's (Didolkar et al. 2024). The mean over batch, channels and positions.
"""

import copy
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import Decoded, Losses, ObjectiveContext, TargetShape
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl

EPSILON = 1e-5
"""Added to the variance of a normalized target, as in FT-DINOSAUR."""


class FeatureMSEConfig(ComponentConfig):
    """Settings of the features' squared error."""

    target: Literal["encoder", "frozen_copy"] = "encoder"
    """The features to predict: the encoder's own, which suits a frozen encoder, or those of a copy of it that
    keeps its initial weights. An encoder that is trained against its own features can make them all alike."""
    normalize_target: bool = False
    """Whether the target has mean 0 and variance 1 over channels at each position."""


class FeatureMSE(nn.Module):
    """The target are features (B, C, *grid), without gradient."""

    def __init__(self, config: FeatureMSEConfig, context: ObjectiveContext):
        super().__init__()
        self.target_shape = TargetShape(context.feature_channels, context.grid)
        self.normalize_target = config.normalize_target
        self.copy = frozen_copy(context.encoder) if config.target == "frozen_copy" else None

    def train(self, mode: bool = True) -> "FeatureMSE":
        """Switch to training mode; the copy stays in evaluation mode."""
        super().train(mode)
        if self.copy is not None:
            self.copy.eval()
        return self

    @torch.no_grad()
    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the encoder's features, or those of its copy."""
        target_BCHW = features_BCHW if self.copy is None else self.copy(images_BCHW)
        if not self.normalize_target:
            return target_BCHW.detach()
        variance_B1HW, mean_B1HW = torch.var_mean(target_BCHW, dim=1, keepdim=True, correction=0)
        return (target_BCHW - mean_B1HW) / (variance_B1HW + EPSILON).sqrt()

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over everything, a scalar."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        return Losses(F.mse_loss(decoded.prediction_BCHW, target_BCHW))

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return None: features are no image."""
        return None


def frozen_copy(encoder: nn.Module | None) -> nn.Module:
    """Return a copy of the encoder that keeps its weights, in evaluation mode.

    Raises:
        ComponentError: if there is no encoder to copy.
    """
    if encoder is None:
        text = "a frozen copy needs the model's encoder, which this model does not offer; write 'encoder'"
        raise ComponentError(text, field="target")
    return copy.deepcopy(encoder).requires_grad_(False).eval()


@hookimpl
def slotlab_objectives() -> Iterable[Component[FeatureMSEConfig]]:
    """Provide `feature_mse`."""
    yield Component(
        name="feature_mse",
        config=FeatureMSEConfig,
        build=FeatureMSE,
        summary="mean squared error over the encoder's features, or those of a frozen copy of it",
    )
