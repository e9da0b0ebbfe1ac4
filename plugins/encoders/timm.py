"""Any timm backbone as a feature map, through `features_only`.

Weights come from a local file, or from timm's own cache with `pretrained`. Source: R.
Wightman, PyTorch Image Models; `timm.create_model(..., features_only=True)`.
"""

from collections.abc import Iterable
from pathlib import Path
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
        check_source(config)
        self.frozen = config.frozen
        self.own_weights = config.pretrained or config.weights is not None
        self.backbone = create_backbone(config, context, choose_stage(config, context))
        if config.frozen:
            self.backbone.requires_grad_(False)
        self.channels = int(self.backbone.feature_info.channels()[0])
        self.channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"  # such as Swin's
        self.backbone.eval()
        with torch.no_grad():
            parameter = next(self.backbone.parameters())
            probe = torch.zeros(1, context.image_channels, *context.image_size, device=parameter.device)
            rows, columns = self(probe).shape[2:]
        self.grid = (rows, columns)
        self.train()

    def train(self, mode: bool = True) -> "TimmEncoder":
        """Switch to training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the chosen stage."""
        features: Tensor = self.backbone(images_BCHW)[0]
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def check_source(config: TimmConfig) -> None:
    """Refuse models that timm does not have, and weights that are not there."""
    import timm  # slow to import, and needed by this encoder alone

    if not timm.is_model(config.model):
        known = timm.list_models()
        message = f"timm {timm.__version__} has no model '{config.model}'{suggest(config.model, known)}"
        hint = "timm.list_models() lists them all"
        raise ComponentError(f"{message} ({hint})", field="model")
    if config.pretrained and config.weights is not None:
        raise ComponentError("choose one of 'pretrained: true' and 'weights: FILE'", field="weights")
    if config.weights is not None and not config.weights.is_file():
        raise ComponentError(f"weights file {config.weights} does not exist", field="weights")


def choose_stage(config: TimmConfig, context: EncoderContext) -> int:
    """Return timm's own index of the chosen stage, found on a model without values."""
    try:
        with torch.device("meta"):
            sketch = make_for_size(config, context)
    except Exception as error:  # timm raises many kinds, such as for a model without feature maps
        raise ComponentError(f"timm cannot make '{config.model}': {error}", field="model") from error
    stages = len(sketch.feature_info.channels())
    if not -stages <= config.stage < stages:
        message = f"'{config.model}' has stages 0 to {stages - 1} (or -{stages} to -1), not {config.stage}"
        raise ComponentError(message, field="stage")
    return int(sketch.feature_info.out_indices[config.stage])


def create_backbone(config: TimmConfig, context: EncoderContext, index: int) -> Any:
    """Make the backbone up to one stage, with random, published or local weights."""
    options: dict[str, Any] = {"out_indices": (index,)}
    if config.weights is not None:
        return load_backbone(config, context, config.weights, **options)
    if not config.pretrained:
        return make_for_size(config, context, **options)
    try:
        with torch.device("cpu"):  # timm cannot load onto the meta device
            backbone = make_for_size(config, context, **options, pretrained=True)
    except Exception as error:  # no network, no such weights, a full disk
        message = f"timm cannot get published weights of '{config.model}': {error}"
        raise ComponentError(message, field="pretrained") from error
    return backbone.to(torch.get_default_device())


def load_backbone(config: TimmConfig, context: EncoderContext, path: Path, **options: Any) -> Any:
    """Load local weights as timm loads its own, which also fits position codes to the image size.

    Every weight of the backbone must be found in the file.
    """
    names = weight_names(path)
    overlay = {"file": str(path), "custom_load": False}
    try:
        with torch.device("cpu"):
            backbone = make_for_size(
                config, context, **options, pretrained=True, pretrained_cfg_overlay=overlay
            )
    except Exception as error:  # torch raises RuntimeError for shapes, a model's own filter anything
        message = f"weights file {path} does not fit '{config.model}': {error}"
        raise ComponentError(message, field="weights") from error
    needed = [name for name, _ in backbone.named_parameters()]
    lacking = [name for name in needed if plain(name) not in names]
    if lacking:
        count = f"{len(lacking)} of the {len(needed)} weights"
        message = f"weights file {path} lacks {count} of '{config.model}', such as {lacking[0]}"
        raise ComponentError(message, field="weights")
    return backbone.to(torch.get_default_device())


def make_for_size(config: TimmConfig, context: EncoderContext, **options: Any) -> Any:
    """Call timm, telling the image size to those models that must know it (transformers)."""
    import timm

    options |= {"features_only": True, "in_chans": context.image_channels}
    try:
        return timm.create_model(config.model, img_size=context.image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
    return timm.create_model(config.model, **options)


def weight_names(path: Path) -> set[str]:
    """Return the plain names of the tensors in a checkpoint, read without executing code."""
    from timm.models import load_state_dict

    try:
        return {plain(name) for name in load_state_dict(str(path), weights_only=True)}
    except Exception as error:
        raise ComponentError(f"weights file {path} cannot be read: {error}", field="weights") from error


def plain(name: str) -> str:
    """Write a tensor's name the same for a whole model and for timm's feature wrappers."""
    return name.removeprefix("model.").replace(".", "_")


@hookimpl
def slotlab_encoders() -> Iterable[Component[TimmConfig]]:
    """Provide `timm`."""
    yield Component(
        name="timm",
        config=TimmConfig,
        build=TimmEncoder,
        summary="a timm backbone's feature map, optionally with local weights and frozen",
    )
