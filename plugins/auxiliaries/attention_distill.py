"""Distills a teacher's segmentation into the attention of the slots.

Source: Kakogeorgiou et al. 2024, "SPOT: Self-Training with Patch-Order Permutation", section 3.2: the
teacher's decoder gives each token a label, its slot with the largest mask; the student's slots are matched
one to one to the teacher's by the overlap of their attention in the last iteration; the logits of that
attention are trained by cross-entropy. The teacher is frozen and in evaluation mode, but its decoder draws an
order for each step, as in training.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional as F

from slotlab.framework.contracts import (
    AuxiliaryConfig,
    AuxiliaryContext,
    Losses,
    MaskSource,
    Model,
    ModelOutput,
    Reconstructs,
)
from slotlab.framework.model.held import Held
from slotlab.framework.model.masks import masks_at
from slotlab.framework.model.trained_input import check_images, trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import Component, ComponentError, hookimpl


class AttentionDistillConfig(AuxiliaryConfig):
    """Settings of the distillation."""

    weight: NonNegativeFloat = 0.005
    """Factor on the loss; 0.005 in the paper."""
    teacher: RunInput
    """The run whose masks are the labels: `{run: ../runs/teacher}`."""
    masks: MaskSource = "decoder"
    """Which of the teacher's masks: its decoder's, as in the paper, or its attention."""
    decoder: Literal["trained", "evaluated"] = "trained"
    """How the teacher's decoder works: as in its training, where one with several orders draws one for each
    step, as in the authors' code; or as in its evaluation."""


class AttentionDistill(nn.Module):
    """The cross-entropy between a teacher's masks and the attention, mean over tokens and images."""

    traced = True

    def __init__(self, config: AttentionDistillConfig, context: AuxiliaryContext):
        super().__init__()
        spec, teacher = trained_model(config.teacher, field="teacher")
        check(spec, teacher, context)
        self.masks: MaskSource = config.masks
        decoder = getattr(teacher, "decoder", None)
        if config.decoder == "trained" and isinstance(decoder, nn.Module):
            decoder.train()
        self.teacher = Held(teacher)

    def forward(self, output: ModelOutput) -> Losses:
        """Return the loss, not yet weighted.

        Raises:
            ComponentError: if the teacher gives no masks.
        """
        assert output.grouped.trace is not None  # `traced`
        labels_BN, segments = self.labels(output)
        matched_BL = match(labels_BN, output.grouped.attention_BKN, segments)
        # The student's slot for each token's label is the class that the token should have.
        return Losses(F.cross_entropy(output.grouped.trace.logits_BKN, matched_BL.gather(1, labels_BN)))

    @torch.no_grad()
    def labels(self, output: ModelOutput) -> tuple[Tensor, int]:
        """Return each token's teacher slot, int64 (B, N), and the number of the teacher's slots."""
        noise = output.generator
        made = self.teacher.module.reconstruct(output.images_BCHW, generator=noise, painting=noise)
        masks_BLHW = masks_at(made, self.masks, output.grid)
        if masks_BLHW is None:
            raise ComponentError(f"the teacher has no masks of its {self.masks}; take another 'masks'")
        return masks_BLHW.argmax(dim=1).flatten(1), masks_BLHW.shape[1]


def check(spec: ExperimentSpec, teacher: Model, context: AuxiliaryContext) -> None:
    """Refuse a teacher without masks, of other images, or with more slots than the student.

    Raises:
        ComponentError: at the setting `teacher`.
    """
    if not isinstance(teacher, Reconstructs):
        raise ComponentError(f"the teacher's model '{spec.model.name}' has no masks", field="teacher")
    check_images(spec, context, who="the teacher", field="teacher")
    if (spec.slots or 0) > context.num_slots:
        text = f"the teacher has {spec.slots} slots, which cannot all be matched to {context.num_slots}"
        raise ComponentError(f"{text}; train with at least as many", field="teacher")


@torch.no_grad()
def match(labels_BN: Tensor, attention_BKN: Tensor, segments: int) -> Tensor:
    """Return the student's slot for each of the teacher's L `segments`, int64 (B, L), one to one.

    They have the greatest total overlap (IoU), each token belonging to the slot that attends to it most; of
    several such matches it is the one that scipy finds, which depends on the order of the slots.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    slots = attention_BKN.shape[1]
    theirs_BLN = F.one_hot(labels_BN, segments).movedim(2, 1).double()
    ours_BKN = F.one_hot(attention_BKN.argmax(dim=1), slots).movedim(2, 1).double()
    shared_BLK = theirs_BLN @ ours_BKN.transpose(1, 2)
    joined_BLK = theirs_BLN.sum(2)[:, :, None] + ours_BKN.sum(2)[:, None] - shared_BLK
    overlap_BLK = shared_BLK / joined_BLK.clamp(min=1)
    if overlap_BLK.is_meta:  # there are shapes alone
        return labels_BN.new_zeros(len(labels_BN), segments)
    rows = [linear_sum_assignment(overlap_LK, maximize=True)[1] for overlap_LK in overlap_BLK.cpu().numpy()]
    return torch.stack([torch.from_numpy(columns_L) for columns_L in rows]).to(labels_BN.device)


@hookimpl
def slotlab_auxiliaries() -> Iterable[Component[AttentionDistillConfig]]:
    """Provide `attention_distill`."""
    yield Component(
        name="attention_distill",
        config=AttentionDistillConfig,
        build=AttentionDistill,
        summary="cross-entropy of the attention with the masks of a trained teacher (SPOT)",
    )
