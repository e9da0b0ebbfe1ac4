"""Cross-entropy with the tokens of a frozen codec.

Source: Singh et al. 2022 (SLATE), section 3, with a codec that is trained before, as in SlotDiffusion's
(Wu et al. 2023) SLATE baseline.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Decoded, Losses, ObjectiveContext, TargetShape, TokenCodec
from slotlab.framework.model.class_loss import class_cross_entropy
from slotlab.framework.model.frozen_codec import frozen_codec
from slotlab.framework.model.held import Held
from slotlab.registry import Component, ComponentConfig, Ref, RefTo, hookimpl


class TokenCrossEntropyConfig(ComponentConfig):
    """Settings of the tokens' cross-entropy."""

    codec: Annotated[Ref, RefTo("codec")]
    """The codec, trained before: `{name: trained, source: {run: ../runs/dvae}}`."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over positions; images are always averaged. SLATE sums, SlotDiffusion's baseline takes the mean."""


class TokenCrossEntropy(nn.Module):
    """The target are the codec's tokens, int64 (B, 1, H, W)."""

    target_settings = ("codec",)
    """The settings that decide about them."""

    def __init__(self, config: TokenCrossEntropyConfig, context: ObjectiveContext):
        super().__init__()
        codec = frozen_codec(config.codec, context, wanted=TokenCodec, what="tokens")
        self.codec = Held(codec)
        self.reduction = config.reduction
        self.target_shape = TargetShape(1, codec.token_grid, classes=codec.codes)

    @property
    def target_maker(self) -> nn.Module:
        """The codec: nothing else decides about the target, so it can be stored."""
        codec: nn.Module = self.codec.module
        return codec

    @torch.no_grad()
    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the tokens."""
        tokens_BHW: Tensor = self.codec.module.tokens(images_BCHW)
        return tokens_BHW[:, None]

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over images of the mean, or the sum, over positions: a scalar."""
        classes = self.target_shape.classes
        assert classes is not None
        loss = class_cross_entropy(decoded, target_BCHW, classes)
        return Losses(loss if self.reduction == "mean" else loss * target_BCHW[0].numel())

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the picture of tokens (B, 1, H, W)."""
        images_BCHW: Tensor = self.codec.module.paint(prediction_BCHW[:, 0])
        return images_BCHW


@hookimpl
def slotlab_objectives() -> Iterable[Component[TokenCrossEntropyConfig]]:
    """Provide `token_cross_entropy`."""
    yield Component(
        name="token_cross_entropy",
        config=TokenCrossEntropyConfig,
        build=TokenCrossEntropy,
        summary="cross-entropy with the tokens of a frozen codec",
    )
