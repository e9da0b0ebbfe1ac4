"""Recall of objects' boxes, as SlotFormer measures rollouts.

    AR = true objects whose box is found / true objects

Boxes are the tight ones of masks by SlotFormer's rule for the ground (`framework.metrics.background_rule`),
the ground's among them. A true box is found if the box that overlaps with it most has an IoU of `threshold`
or more, and no true box before it, in the order of labels, has taken that one. There is one threshold: this
is the recall at 0.5, which the paper calls average recall.

* Source: Wu et al. 2023, "SlotFormer", and its code (`bbox_precision_recall`). On CLEVRER its true boxes are
  a detector's; here they are those of the true masks.
* Pixels ignored: void alone.
* Range: [0, 1], higher is better; NaN for images without objects.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor

from slotlab.framework.arithmetic.boxes import box_iou, part_recalled, tight_boxes
from slotlab.framework.contracts import VOID, MetricContext, Outcome
from slotlab.framework.metrics.background_rule import SOFT_MASKS, labels_of
from slotlab.registry import Component, ComponentConfig, hookimpl


class SlotFormerARConfig(ComponentConfig):
    """Settings of the recall."""

    threshold: Annotated[float, Gt(0), Le(1)] = 0.5
    """The least IoU of boxes."""


class SlotFormerAR:
    """Recall of boxes."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = SOFT_MASKS

    def __init__(self, config: SlotFormerARConfig, context: MetricContext):
        self.threshold = config.threshold

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images without objects."""
        assert outcome.true_BHW is not None
        found_BHW = labels_of(outcome).cpu()
        pairs = zip(outcome.true_BHW.cpu(), found_BHW, strict=True)
        values = [self.recall(true_HW, found_HW) for true_HW, found_HW in pairs]
        return torch.tensor(values, dtype=torch.float64, device=outcome.true_BHW.device)

    def recall(self, true_HW: Tensor, found_HW: Tensor) -> float:
        """Return the recall of one picture."""
        found_HW = torch.where(true_HW == VOID, VOID, found_HW)
        true_N4, found_M4 = (
            tight_boxes(labels_HW, [name for name in torch.unique(labels_HW).tolist() if name >= least])
            for labels_HW, least in ((true_HW, 1), (found_HW, 0))
        )
        return part_recalled(box_iou(true_N4, found_M4), self.threshold)


@hookimpl
def slotlab_metrics() -> Iterable[Component[SlotFormerARConfig]]:
    """Provide `slotformer_ar`."""
    yield Component(
        name="slotformer_ar",
        config=SlotFormerARConfig,
        build=SlotFormerAR,
        summary="recall of objects' boxes at an IoU of 0.5 (SlotFormer's AR)",
    )
