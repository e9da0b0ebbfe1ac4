"""Cross-entropy with the tokens of a codec.

Source: Singh et al. 2022 (SLATE), section 3. The codec was trained before and stays as it is, as in
SlotDiffusion's (Wu et al. 2023) SLATE baseline; or it is trained with the rest, as in STEVE (Singh et al.
2022): its losses are added, tokens are drawn for the loss, and no gradient of what predicts them reaches it.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from torch import Generator, Tensor, nn

from slotlab.framework.contracts import (
    Decoded,
    Losses,
    ObjectiveContext,
    Prepared,
    RelaxedCodec,
    TargetShape,
    TokenCodec,
)
from slotlab.framework.model.class_loss import class_cross_entropy
from slotlab.framework.model.frozen_codec import HINT, built_codec, frozen
from slotlab.framework.model.held import Held
from slotlab.framework.model.joint_codec import drawn_with_losses
from slotlab.framework.model.prepared import codec_of
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class TokenCrossEntropyConfig(ComponentConfig):
    """Settings of the tokens' cross-entropy."""

    codec: Annotated[Ref, RefTo("codec")]
    """The codec, trained before: `{name: trained, source: {run: ../runs/dvae}}`; or one with random weights
    that is trained with the rest: `{name: dvae, codes: 4096}`."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over positions; images are always averaged. SLATE sums, SlotDiffusion's baseline takes the mean."""


class TokenCrossEntropy(nn.Module):
    """The target are the codec's tokens, int64 (B, 1, H, W)."""

    target_settings = ("codec",)
    """The settings that decide about them."""

    def __init__(self, config: TokenCrossEntropyConfig, context: ObjectiveContext):
        super().__init__()
        codec = built_codec(config.codec, context, wanted=TokenCodec, what="tokens")
        self.trains_with_target = not codec.own_weights
        if self.trains_with_target and not isinstance(codec, RelaxedCodec):
            text = f"cannot be trained with what predicts its tokens; take dvae, or {HINT}"
            raise ComponentError(f"{config.codec.name}: {text}", field="codec")
        self.codec: nn.Module = codec if self.trains_with_target else Held(frozen(codec))
        self.reduction = config.reduction
        self.target_shape = TargetShape(1, codec.token_grid, classes=codec.codes)

    @property
    def target_maker(self) -> nn.Module | None:
        """The frozen codec: nothing else decides about the target, so it can be stored."""
        maker: nn.Module | None = None if self.trains_with_target else codec_of(self)
        return maker

    @torch.no_grad()
    def target(self, images_BCHW: Tensor, features_BCHW: Tensor) -> Tensor:
        """Return the likeliest tokens."""
        tokens_BHW: Tensor = codec_of(self).tokens(images_BCHW)
        return tokens_BHW[:, None]

    def prepare(self, images_BCHW: Tensor, *, generator: Generator | None = None) -> Prepared:
        """Return tokens that are drawn by their probabilities, and the codec's losses."""
        codec: Any = self.codec
        tokens_BHW, own = drawn_with_losses(codec, images_BCHW, generator)
        return Prepared(tokens_BHW[:, None], own)

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the mean over images of the mean, or the sum, over positions: a scalar.

        Beside a codec that is trained, the mean is logged as `tokens`.
        """
        classes = self.target_shape.classes
        assert classes is not None
        loss = class_cross_entropy(decoded, target_BCHW, classes)
        terms = {"tokens": loss} if self.trains_with_target else {}
        return Losses(loss if self.reduction == "mean" else loss * target_BCHW[0].numel(), terms)

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return the picture of tokens (B, 1, H, W)."""
        images_BCHW: Tensor = codec_of(self).paint(prediction_BCHW[:, 0])
        return images_BCHW


@hookimpl
def slotlab_objectives() -> Iterable[Component[TokenCrossEntropyConfig]]:
    """Provide `token_cross_entropy`."""
    yield Component(
        name="token_cross_entropy",
        config=TokenCrossEntropyConfig,
        build=TokenCrossEntropy,
        summary="cross-entropy with the tokens of a codec, frozen or trained with the rest",
    )
