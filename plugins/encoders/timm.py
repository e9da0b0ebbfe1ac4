"""Any timm backbone as a feature map, through `features_only`.

Weights come from a local file, or from timm's own cache with `pretrained`. Source: R.
Wightman, PyTorch Image Models; `timm.create_model(..., features_only=True)`.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import EncoderContext
from slotlab.framework.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest


class TimmConfig(ComponentConfig):
    """Settings of a timm backbone."""

    model: str
    """Name of a timm model, such as `resnet18` or `vit_small_patch14_dinov2`."""
    stage: int = -1
    """Which of the model's feature maps to give; -1 for the last, 0 for the finest."""
    pretrained: bool = False
    """Take timm's published weights, from its cache or by download."""
    weights: SpecPath | None = None
    """A local checkpoint (.safetensors, or .pth read without executing code) instead."""
    frozen: bool = False
    """Keep the weights as they are: no gradients, always in evaluation mode."""

    def cautions(self) -> list[str]:
        """Warn of a frozen network that was never trained."""
        if self.frozen and self.weights is None and not self.pretrained:
            return ["frozen with random weights; give 'weights: FILE' or 'pretrained: true'"]
        return []


class TimmEncoder(nn.Module):
    """Images (B, 3, H, W) to the chosen stage's features (B, channels, *grid)."""

    def __init__(self, config: TimmConfig, context: EncoderContext):
        super().__init__()
        self.frozen = config.frozen
        self.backbone, self.stage = create_backbone(config, context)
        if config.weights is not None:
            load_weights(self.backbone, config)
        if config.frozen:
            self.backbone.requires_grad_(False)
        self.channels = int(self.backbone.feature_info.channels()[self.stage])
        with torch.no_grad():
            parameter = next(self.backbone.parameters())
            probe = torch.zeros(1, context.image_channels, *context.image_size, device=parameter.device)
            was_training = self.backbone.training
            shape = self.backbone.eval()(probe)[self.stage].shape
            self.backbone.train(was_training and not config.frozen)
        self.grid = (int(shape[2]), int(shape[3]))

    def train(self, mode: bool = True) -> "TimmEncoder":
        """Switch to training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the chosen stage."""
        features_BCHW: Tensor = self.backbone(images_BCHW)[self.stage]
        return features_BCHW


def create_backbone(config: TimmConfig, context: EncoderContext) -> tuple[Any, int]:
    """Make the backbone and find the stage, counted from the front."""
    import timm  # slow to import, and needed by this encoder alone

    if not timm.is_model(config.model):
        known = timm.list_models()
        message = f"timm {timm.__version__} has no model '{config.model}'{suggest(config.model, known)}"
        hint = "timm.list_models() lists them all"
        raise ComponentError(f"{message} ({hint})", field="model")
    if config.pretrained and config.weights is not None:
        raise ComponentError("choose one of 'pretrained: true' and 'weights: FILE'", field="weights")
    try:
        backbone = make_for_size(config, context)
    except Exception as error:  # timm raises many kinds, such as for a model without feature maps
        raise ComponentError(f"timm cannot make '{config.model}': {error}", field="model") from error
    stages = len(backbone.feature_info.channels())
    if not -stages <= config.stage < stages:
        message = f"'{config.model}' has stages 0 to {stages - 1} (or -{stages} to -1), not {config.stage}"
        raise ComponentError(message, field="stage")
    return backbone, config.stage % stages


def make_for_size(config: TimmConfig, context: EncoderContext) -> Any:
    """Call timm, telling the image size to those models that must know it (transformers)."""
    import timm

    options = {"features_only": True, "pretrained": config.pretrained, "in_chans": context.image_channels}
    try:
        return timm.create_model(config.model, img_size=context.image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(config.model, **options)


def load_weights(backbone: nn.Module, config: TimmConfig) -> None:
    """Load a local checkpoint; every weight of the backbone must be found in it."""
    from timm.models import load_state_dict

    path = config.weights
    assert path is not None
    if not path.is_file():
        raise ComponentError(f"weights file {path} does not exist", field="weights")
    try:
        state = load_state_dict(str(path))
    except Exception as error:
        raise ComponentError(f"weights file {path} cannot be read: {error}", field="weights") from error
    missing, _ = backbone.load_state_dict(state, strict=False)
    if missing:
        message = (
            f"weights file {path} lacks {len(missing)} tensors of '{config.model}', such as {missing[0]}"
        )
        raise ComponentError(message, field="weights")


@hookimpl
def slotlab_encoders() -> Iterable[Component[TimmConfig]]:
    """Provide `timm`."""
    yield Component(
        name="timm",
        config=TimmConfig,
        build=TimmEncoder,
        summary="a timm backbone's feature map, optionally with local weights and frozen",
    )
