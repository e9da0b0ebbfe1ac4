"""Correct localization: whether any true object of the image is found.

    CorLoc = 1 if max over true objects i and predicted segments j of IoU(i, j) >= threshold, else 0

Its mean over images is the part of images in which something is found.

* Source: Deselaers et al. 2010, on masks instead of boxes as in slot-based work (Seitzer et al.
  2023, DINOSAUR); `threshold` 0.5 by custom.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: 0 or 1, higher is better.
* Empty masks: take no part. NaN for images without objects.
"""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metric import MASKS
from slotlab.framework.scoring.overlap import best_iou, objects_there
from slotlab.registry import Component, ComponentConfig, hookimpl


class CorLocConfig(ComponentConfig):
    """Settings of CorLoc."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The least IoU at which an object counts as found."""


class CorLoc:
    """Whether an object is found."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = MASKS

    def __init__(self, config: CorLocConfig, context: MetricContext):
        self.threshold = config.threshold

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images without objects."""
        found_BT = best_iou(outcome.counts_BTP)[:, 1:] >= self.threshold
        found_B = found_BT.any(dim=1).double()
        none_B = objects_there(outcome.counts_BTP) == 0
        return torch.where(none_B, torch.full_like(found_B, torch.nan), found_B)


@hookimpl
def slotlab_metrics() -> Iterable[Component[CorLocConfig]]:
    """Provide `corloc`."""
    yield Component(
        name="corloc", config=CorLocConfig, build=CorLoc, summary="whether any true object is found"
    )
