"""The slot-slot contrast: a slot finds itself in the next frame, among all slots of the batch.

    similarity of slots of frame t with those of frame t + 1, divided by the temperature
    loss = cross-entropy with the identity, its softmax over the slots of frame t; mean over slots and frames

Source: Manasyan et al. 2025, "Temporally Consistent Object-Centric Learning by Contrasting Slots"
(SlotContrast), section 3.2 and code: slots of length 1, temperature 0.1, weight 0.5; the slots of all clips
of the batch are contrasted. With slots that begin alike in every clip (`learnable`), slots of other clips
are what keeps them from being the same everywhere.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import AuxiliaryConfig, AuxiliaryContext, Losses, ModelOutput
from slotlab.framework.model.clip_time import by_clip
from slotlab.registry import Component, ComponentError, hookimpl


class SlotContrastConfig(AuxiliaryConfig):
    """Settings of the slot-slot contrast."""

    weight: NonNegativeFloat = 0.5
    """Factor on the loss; 0.5 in the paper."""
    temperature: PositiveFloat = 0.1
    """Divides the similarities; 0.1 in the paper."""
    among: Literal["batch", "clip"] = "batch"
    """The slots that are contrasted in training: those of all clips of the batch, as in the paper, or of the
    same clip. In a validation it is always the clip, so that its loss does not depend on the batch size."""


class SlotContrast(nn.Module):
    """The cross-entropy of neighboring frames' slots with the identity, mean over clips, frames and slots."""

    traced = False
    of_clips = True

    def __init__(self, config: SlotContrastConfig, context: AuxiliaryContext):
        super().__init__()
        self.temperature = config.temperature
        self.among = config.among

    def forward(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted.

        Raises:
            ComponentError: for clips of one frame.
        """
        if output.frames < 2:
            text = "compares the slots of neighboring frames, and there is one"
            hint = "write 'data.clip' with two or more, and take the model video_slots"
            raise ComponentError(f"{text}; {hint}")
        vectors_BKD = output.grouped.slots.vectors_BKD
        vectors_CTKD = by_clip(F.normalize(vectors_BKD, dim=2), len(vectors_BKD) // output.frames)
        if self.training and self.among == "batch":
            vectors_CTKD = vectors_CTKD.transpose(0, 1).flatten(1, 2)[None]  # all slots as those of one clip
        return Losses(contrast(vectors_CTKD, self.temperature))


def contrast(vectors_CTKD: Tensor, temperature: float) -> Tensor:
    """Return the loss of slots of length 1, contrasted within each of C clips: a scalar."""
    similar_CTKL = vectors_CTKD[:, :-1] @ vectors_CTKD[:, 1:].mT / temperature
    same_K = torch.arange(similar_CTKL.shape[2], device=similar_CTKL.device)
    same_MK = same_K.expand(similar_CTKL[:, :, 0, 0].numel(), -1)
    return F.cross_entropy(similar_CTKL.flatten(0, 1), same_MK)


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[SlotContrastConfig]]:
    """Provide `slot_contrast`."""
    yield Component(
        name="slot_contrast",
        config=SlotContrastConfig,
        build=SlotContrast,
        summary="a slot finds itself in the next frame among all others (SlotContrast)",
    )
