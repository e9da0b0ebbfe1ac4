"""Distills a teacher's segmentation into the attention of the slots.

Source: Kakogeorgiou et al. 2024, "SPOT", section 3.2: the teacher's decoder masks give each token a label;
the student's slots are matched to the teacher's by the overlap of their attention, and the attention's logits
are trained by cross-entropy.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import AuxiliaryConfig, AuxiliaryContext, Losses, ModelOutput, Reconstructs
from slotlab.framework.model.masks import resized_masks
from slotlab.framework.model.trained_input import trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.registry import Component, ComponentError, hookimpl


class AttentionDistillConfig(AuxiliaryConfig):
    """Settings of the distillation; the paper's weight is 0.005."""

    teacher: RunInput
    """The run whose masks are the labels."""


class AttentionDistill(nn.Module):
    """The cross-entropy between a teacher's masks and the attention, mean over tokens and images."""

    traced = True

    def __init__(self, config: AttentionDistillConfig, context: AuxiliaryContext):
        super().__init__()
        spec, teacher = trained_model(config.teacher)
        if not isinstance(teacher, Reconstructs):
            raise ComponentError(f"the teacher's model '{spec.model.name}' has no masks", field="teacher")
        if spec.data.size != context.image_size:
            text = "the teacher was trained on images of {1}x{0} pixels".format(*spec.data.size)
            raise ComponentError(f"{text}; take the same protocol here", field="teacher")
        # Not a child: a checkpoint holds what is trained, and the teacher is named in the spec.
        self._teacher: list[Any] = [teacher]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AttentionDistill":
        self._teacher[0]._apply(fn)  # it moves with the module
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(self, output: ModelOutput) -> Losses:
        """Return the loss."""
        assert output.grouped.trace is not None  # `traced`
        labels_BN, masks_BLN = self.labels(output)
        matched_BK = match(masks_BLN, output.grouped.attention_BKN)
        logits_BKN = output.grouped.trace.logits_BKN
        # The student's slot of each token's label is the class that it should have.
        wanted_BN = matched_BK.gather(1, labels_BN)
        return Losses(F.cross_entropy(logits_BKN, wanted_BN))

    @torch.no_grad()
    def labels(self, output: ModelOutput) -> tuple[Tensor, Tensor]:
        """Return each token's teacher slot, int64 (B, N), and the teacher's masks as one-hot (B, L, N)."""
        made = self._teacher[0].eval().reconstruct(output.images_BCHW)
        masks_BLHW = made.attention_BKHW if made.decoded is None else made.decoded.masks_BKHW
        masks_BLN = resized_masks(masks_BLHW, output.grid).flatten(2)
        labels_BN = masks_BLN.argmax(dim=1)
        return labels_BN, F.one_hot(labels_BN, masks_BLN.shape[1]).movedim(2, 1).to(masks_BLN.dtype)


def match(masks_BLN: Tensor, attention_BKN: Tensor) -> Tensor:
    """Return the student's slot for each of the teacher's, int64 (B, L).

    They have the greatest total overlap (IoU). The assignment is one to one (Hungarian): L may not exceed K.
    """
    hard_BKN = (
        F.one_hot(attention_BKN.argmax(dim=1), attention_BKN.shape[1]).movedim(2, 1).to(masks_BLN.dtype)
    )
    shared_BLK = masks_BLN @ hard_BKN.transpose(1, 2)
    joined_BLK = masks_BLN.sum(2)[:, :, None] + hard_BKN.sum(2)[:, None] - shared_BLK
    overlap_BLK = shared_BLK / joined_BLK.clamp(min=1)
    if overlap_BLK.is_meta:  # where nothing has a value, `validate` asks for shapes alone
        return torch.arange(overlap_BLK.shape[1], device="meta").expand(len(overlap_BLK), -1)
    rows = [linear_sum_assignment(overlap_LK, maximize=True)[1] for overlap_LK in overlap_BLK.cpu().numpy()]
    return torch.stack([torch.from_numpy(columns_L) for columns_L in rows]).to(masks_BLN.device)


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[AttentionDistillConfig]]:
    """Provide `attention_distill`."""
    yield Component(
        name="attention_distill",
        config=AttentionDistillConfig,
        build=AttentionDistill,
        summary="cross-entropy of the attention with the masks of a trained teacher (SPOT)",
    )
