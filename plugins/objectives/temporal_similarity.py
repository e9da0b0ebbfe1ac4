"""Where a patch's features are found in the next frame: a distribution over its patches, which is predicted.

    target: softmax over the patches of frame t + 1 of the cosine similarity to a patch of frame t, divided by
    the temperature; patches below the threshold have no share. loss = cross-entropy, less its least value

Source: Zadaianchuk et al. 2023, "Object-Centric Learning for Real-World Videos by Predicting Temporal Feature
Similarities" (VideoSAUR), section 3.1 and code. Patches that move alike have like targets, so that motion
groups them. The last frames have no target, and no loss. The entropy of the target, which the published
loss includes, is a constant and left out here: a perfect prediction has a loss of 0.
"""

from collections.abc import Iterable
from math import prod
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import (
    Decoded,
    EncoderContext,
    Freezable,
    Losses,
    Need,
    ObjectiveContext,
    Size,
    TargetShape,
)
from slotlab.framework.model.clip_time import by_clip
from slotlab.registry import Component, ComponentConfig, ComponentError, Ref, RefTo, hookimpl


class TemporalSimilarityConfig(ComponentConfig):
    """Settings of the temporal similarity."""

    temperature: PositiveFloat = 0.075
    """Divides the similarities: 0.075 on MOVi, 0.25 on YouTube-VIS, 0.15 there with DINOv2."""
    threshold: Annotated[float, Ge(-1), Lt(1)] | None = 0.0
    """Patches of a lower similarity have no share; null for no limit. A patch without any like it has equal
    shares everywhere."""
    shift: PositiveInt = 1
    """How many frames of a clip lie between a patch and where it is looked for."""
    encoder: Annotated[Ref, RefTo("encoder")] | None = None
    """A frozen encoder of the target's own, whose features are compared in place of those that slots read:
    `{name: timm, ..., frozen: true, features: keys}`, as VideoSAUR does. Null for the model's encoder."""
    weight: PositiveFloat = 0.1
    """Factor on the loss; 0.1 in the published configurations, where it matters for clipping alone."""


class TemporalSimilarity(nn.Module):
    """The target are shares (B, P, *grid) of the P patches of a later frame, the prediction their logits."""

    needs: tuple[Need, ...] = ("frames",)

    def __init__(self, config: TemporalSimilarityConfig, context: ObjectiveContext):
        super().__init__()
        self.encoder = None if config.encoder is None else frozen_encoder(config.encoder, context)
        grid: Size = context.grid if self.encoder is None else tuple(self.encoder.grid)
        self.temperature, self.threshold = config.temperature, config.threshold
        self.shift, self.weight = config.shift, config.weight
        self.target_shape = TargetShape(prod(grid), grid, soft=True)

    def train(self, mode: bool = True) -> "TemporalSimilarity":
        """Switch to training mode; the target's encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    @torch.no_grad()
    def target(self, images_BCHW: Tensor, features_BCHW: Tensor, *, frames: int) -> Tensor:
        """Return the shares, times T / (T - shift): a mean over all frames is one over those with any.

        Raises:
            ComponentError: for clips that are not longer than the shift.
        """
        if frames <= self.shift:
            text = f"looks {self.shift} frames ahead in clips of {frames}; write 'data.clip' with more frames"
            raise ComponentError(f"{text}, and take the model video_slots")
        if self.encoder is not None:
            features_BCHW = self.encoder(images_BCHW)
        patches_BND = F.normalize(features_BCHW.flatten(2).mT, dim=2)
        patches_CTND = by_clip(patches_BND, len(patches_BND) // frames)
        similar_CTNP = patches_CTND[:, : -self.shift] @ patches_CTND[:, self.shift :].mT
        shares_CTNP = self._shares(similar_CTNP) * (frames / (frames - self.shift))
        none_CTNP = torch.zeros_like(shares_CTNP[:, :1]).expand(-1, self.shift, -1, -1)
        shares_BPN = torch.cat([shares_CTNP, none_CTNP], dim=1).flatten(0, 1).mT
        return shares_BPN.reshape(*shares_BPN.shape[:2], *self.target_shape.size)

    def _shares(self, similar_CTNP: Tensor) -> Tensor:
        logits_CTNP = similar_CTNP / self.temperature
        if self.threshold is None:
            return logits_CTNP.softmax(dim=3)
        low_CTNP = similar_CTNP < self.threshold
        alone_CTN1 = low_CTNP.all(dim=3, keepdim=True)
        logits_CTNP = logits_CTNP.masked_fill(low_CTNP, -torch.inf).masked_fill(alone_CTN1, 0.0)
        return logits_CTNP.softmax(dim=3)

    def loss(self, decoded: Decoded, target_BCHW: Tensor) -> Losses:
        """Return the weighted divergence from the shares, mean over frames with a target and over patches."""
        target_BCHW = target_BCHW if decoded.target_BCHW is None else decoded.target_BCHW
        logs_BCHW = decoded.prediction_BCHW.log_softmax(dim=1)
        whole_B1HW = target_BCHW.sum(dim=1, keepdim=True)
        best_BCHW = torch.where(target_BCHW > 0, target_BCHW / whole_B1HW.clamp(min=1e-30), 1.0).log()
        missed_BCHW = torch.where(target_BCHW > 0, target_BCHW * (best_BCHW - logs_BCHW), 0.0)
        return Losses(self.weight * missed_BCHW.sum(dim=1).mean())

    def to_image(self, prediction_BCHW: Tensor) -> Tensor | None:
        """Return None: shares are no image."""
        return None


def frozen_encoder(ref: Ref, context: ObjectiveContext) -> Any:
    """Build an encoder that makes targets alone.

    Raises:
        ComponentError: if it is trained, which nothing would do here.
    """
    made = EncoderContext(
        image_size=context.image_size, image_channels=context.image_channels, value_range=context.value_range
    )
    try:
        encoder: Any = ref.build(made)
    except ComponentError as error:
        raise ComponentError(f"{ref.name}: {error}", field="encoder") from None
    if not (isinstance(encoder, Freezable) and encoder.frozen):
        text = f"'{ref.name}' is not frozen, and the target's encoder is not trained; write 'frozen: true'"
        raise ComponentError(text, field="encoder")
    found: Any = encoder
    return found.eval().requires_grad_(False)


@hookimpl
def slotlab_objectives() -> Iterable[Component[TemporalSimilarityConfig]]:
    """Provide `temporal_similarity`."""
    yield Component(
        name="temporal_similarity",
        config=TemporalSimilarityConfig,
        build=TemporalSimilarity,
        summary="where each patch's features are found in the next frame (VideoSAUR)",
    )
