"""Any timm backbone as a feature map, through `features_only`.

Weights come from a local file, or from timm's own cache with `pretrained`. Images are normalized as
the weights were trained, whatever the spec's value range. Source: R. Wightman, PyTorch Image Models;
`timm.create_model(..., features_only=True)`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn

from slotlab.framework.contracts import EncoderContext, Size
from slotlab.framework.model.normalization import Normalization
from slotlab.framework.model.timm_model import TimmModel
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl
from slotlab.registry.component import suggest


class TimmConfig(ComponentConfig):
    """Settings of a timm backbone."""

    model: str
    """Name of a timm model, such as `resnet18` or `vit_small_patch14_dinov2.lvd142m`. A tag after the dot
    names weights and their normalization of images; without a tag they are the model's default ones."""
    stage: int = -1
    """Which of the model's feature maps to return; -1 for the last, 0 for the finest."""
    pretrained: bool = False
    """Take timm's published weights, from its cache or by download."""
    weights: SpecPath | None = None
    """A local checkpoint (.safetensors, or .pth read without executing code) instead."""
    frozen: bool = False
    """Keep the weights as they are: no gradients, always in evaluation mode."""
    freeze_below: NonNegativeInt | None = None
    """Of a transformer, train the blocks from this one on, counted from 0, and keep all else as `frozen`
    does: the embeddings, the blocks below, the final norm. 8 in SPOT's second stage. Null for no limit."""
    normalize: Literal["weights", "imagenet", "half", "none"] = "weights"
    """The mean and deviation that normalize images in [0, 1]: timm's for the model's weights (also if these
    are random), ImageNet's, or 0.5 and 0.5; `none` passes images in the spec's value range."""
    final_norm: bool = False
    """Whether a transformer's features pass its final norm; if not, they are the last block's output."""
    features: Literal["output", "queries", "keys", "values"] = "output"
    """Of the transformer's block that `stage` names: its output, or what its attention makes of each patch,
    all heads side by side. VideoSAUR's targets are made of the keys of the last block."""
    border: Literal["refuse", "drop"] = "refuse"
    """What to do if an image's side is not a multiple of the patch: the last rows and columns are lost."""

    @property
    def own_weights(self) -> bool:
        """Whether weights are loaded instead of drawn."""
        return self.pretrained or self.weights is not None

    def cautions(self) -> list[str]:
        """Warn about a frozen random network, and about trained weights with images in another range."""
        found = []
        if (self.frozen or self.freeze_below) and not self.own_weights:
            found.append("frozen with random weights; give 'weights: FILE' or 'pretrained: true'")
        if self.normalize == "none" and self.own_weights:
            text = "trained weights get images in the spec's value range, not as they were trained"
            found.append(f"{text}; 'normalize: weights' normalizes them")
        if self.normalize == "weights" and self.weights is not None and "." not in self.model:
            found += unsure_normalization(self.model)
        return found


class TimmEncoder(nn.Module):
    """Images (B, 3, H, W) to the chosen stage's features (B, channels, *grid)."""

    def __init__(self, config: TimmConfig, context: EncoderContext):
        super().__init__()
        check_source(config)
        self.frozen = config.frozen
        self.own_weights = config.own_weights
        size, model = context.image_size, TimmModel(config.model, context.image_channels)
        stages = model.stages(size, config.stage)
        index = choose_stage(config, stages)
        self.backbone = create_backbone(config, model, size, places(config, index))
        self.reads = reading(config, self.backbone, index)
        self.normalization = normalization(config, context, self.backbone.pretrained_cfg)
        self.trained_blocks = trained_blocks(config, self.backbone)
        if self.frozen or self.trained_blocks is not None:
            self.backbone.requires_grad_(False)
            for block in self.trained_blocks or ():
                block.requires_grad_(True)
        self.channels = int(self.backbone.feature_info.channels()[0])
        if self.reads is not None:
            self.channels = self.reads.channels
        self.channels_last = getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"  # such as Swin's
        self.backbone.eval()
        with watching(final_norms(self.backbone)) as passed:
            self.grid = model.grid(self, size, config.stage)
        if config.final_norm and not passed:
            raise model.without_norm()
        lost = None if config.border == "drop" else model.lost_border(size, self.grid, stages, config.stage)
        if lost is not None:
            raise ComponentError(f"{lost} (or write 'border: drop')", field="model")
        self.train()

    def train(self, mode: bool = True) -> "TimmEncoder":
        """Switch to training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen or self.trained_blocks is not None:
            self.backbone.eval()
            for block in self.trained_blocks or ():
                block.train(mode)
        return self

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features of the chosen stage."""
        features: Tensor = self.backbone(self.normalization(images_BCHW))[0]
        if self.reads is not None:
            return self.reads.of(self.backbone.model, features)
        return features.permute(0, 3, 1, 2) if self.channels_last else features


@dataclass(frozen=True)
class Reads:
    """What is read of a block's attention, which the patches of the block before pass alone."""

    block: int
    part: int
    """Which third of the attention's first linear map: queries, keys, values."""
    channels: int

    def of(self, model: Any, before_BCHW: Tensor) -> Tensor:
        """Return queries, keys or values (B, channels, *grid) from the output of the block before."""
        block = model.blocks[self.block]
        normed_BHWC: Tensor = block.norm1(before_BCHW.permute(0, 2, 3, 1))
        read_BHWC: Tensor = block.attn.qkv(normed_BHWC).chunk(3, dim=3)[self.part]
        return read_BHWC.permute(0, 3, 1, 2)


def places(config: TimmConfig, index: int) -> tuple[int, ...]:
    """Return the feature maps that timm is asked for; what attention reads comes out of the block before.

    Raises:
        ComponentError: if there is none before.
    """
    if config.features == "output":
        return (index,)
    if config.final_norm:
        text = f"{config.features} pass no final norm; leave 'final_norm' out"
        raise ComponentError(text, field="features")
    if index < 1:
        text = f"{config.features} are those of a block after the first; take a later 'stage'"
        raise ComponentError(text, field="features")
    return index - 1, index


def reading(config: TimmConfig, backbone: Any, index: int) -> Reads | None:
    """Return what is read of the chosen block's attention; None for its output.

    Raises:
        ComponentError: for a model without blocks of attention as in ViT.
    """
    if config.features == "output":
        return None
    blocks = getattr(getattr(backbone, "model", None), "blocks", ())
    block = blocks[index] if index < len(blocks) else None
    qkv = getattr(getattr(block, "attn", None), "qkv", None)
    if not isinstance(qkv, nn.Linear) or not hasattr(block, "norm1"):
        text = f"'{config.model}' has no {config.features} of a ViT's blocks; write 'features: output'"
        raise ComponentError(text, field="features")
    part = ("queries", "keys", "values").index(config.features)
    return Reads(index, part, qkv.out_features // 3)


def unsure_normalization(model: str) -> list[str]:
    """Warn about a model whose weights in timm have different normalizations."""
    import timm

    tagged = timm.list_pretrained(f"{model}.*")
    facts = {name: timm.get_pretrained_cfg(name) for name in tagged}
    ways = {(cfg.mean, cfg.std): name for name, cfg in reversed(facts.items()) if cfg is not None}
    if len(ways) < 2:
        return []
    text = f"timm knows weights of '{model}' with {len(ways)} ways of normalizing images"
    return [
        f"{text}; name those of the file, such as {' or '.join(sorted(ways.values())[:2])}, or 'normalize'"
    ]


def check_source(config: TimmConfig) -> None:
    """Refuse models that timm does not have, and missing files of weights."""
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


def choose_stage(config: TimmConfig, stages: Any) -> int:
    """Return timm's own index of the chosen stage."""
    count = len(stages.channels())
    if not -count <= config.stage < count:
        message = f"'{config.model}' has stages 0 to {count - 1} (or -{count} to -1), not {config.stage}"
        raise ComponentError(message, field="stage")
    return int(stages.out_indices[config.stage])


def trained_blocks(config: TimmConfig, backbone: Any) -> list[nn.Module] | None:
    """Return the blocks from `freeze_below` on; None without that setting."""
    if config.freeze_below is None:
        return None
    if config.frozen:
        text = "all is frozen by 'frozen: true'; give one of the two"
        raise ComponentError(text, field="freeze_below")
    blocks = getattr(getattr(backbone, "model", None), "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        text = f"counts a transformer's blocks, which '{config.model}' does not have; leave it out"
        raise ComponentError(text, field="freeze_below")
    if config.freeze_below >= len(blocks):
        text = f"leaves nothing to train of {len(blocks)} blocks; write 'frozen: true', or a smaller number"
        raise ComponentError(text, field="freeze_below")
    return list(blocks)[config.freeze_below :]


def normalization(config: TimmConfig, context: EncoderContext, facts: Mapping[str, Any]) -> nn.Module:
    """Return the normalization before the backbone; `facts` are timm's facts about the model's weights."""
    from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN  # timm's own default
    std: Sequence[float] = IMAGENET_DEFAULT_STD
    if config.normalize == "none":
        return nn.Identity()
    if config.normalize == "half":
        mean = std = (0.5, 0.5, 0.5)
    elif config.normalize == "weights":
        mean, std = facts.get("mean") or mean, facts.get("std") or std
    if len(mean) != context.image_channels:
        mean, std = ((sum(values) / len(values),) * context.image_channels for values in (mean, std))
    return Normalization(context.value_range, mean, std)


def final_norms(backbone: Any) -> list[nn.Module]:
    """Return the final norm of a backbone, if it has one."""
    norm = getattr(getattr(backbone, "model", None), "norm", None)
    return [norm] if isinstance(norm, nn.Module) and not isinstance(norm, nn.Identity) else []


@contextmanager
def watching(modules: Iterable[nn.Module]) -> Iterator[list[nn.Module]]:
    """Collect the modules that are called while the block runs."""
    called: list[nn.Module] = []
    handles = [module.register_forward_hook(lambda one, *_: called.append(one)) for module in modules]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def create_backbone(config: TimmConfig, model: TimmModel, size: Size, indices: tuple[int, ...]) -> Any:
    """Build the backbone up to the last of some stages, with random, published or local weights."""
    make = partial(model.make_normed if config.final_norm else model.make, size, out_indices=indices)
    if config.weights is not None:
        return load_backbone(config, make, config.weights)
    if not config.pretrained:
        return make()
    try:
        with torch.device("cpu"):  # timm cannot load onto the meta device
            backbone = make(pretrained=True)
    except ComponentError:
        raise
    except Exception as error:  # no network, no such weights, a full disk
        message = f"timm cannot get published weights of '{config.model}': {error}"
        raise ComponentError(message, field="pretrained") from error
    return backbone.to(torch.get_default_device())


def load_backbone(config: TimmConfig, make: Callable[..., Any], path: Path) -> Any:
    """Load local weights as timm loads its own, which also fits position codes to the image size.

    Every weight of the backbone must be found in the file.
    """
    names = weight_names(path)
    overlay = {"file": str(path), "custom_load": False}
    try:
        with torch.device("cpu"):
            backbone = make(pretrained=True, pretrained_cfg_overlay=overlay)
    except ComponentError:
        raise
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
        version=2,
        earlier={1: {"normalize": "none", "border": "drop"}},
    )
