"""An auxiliary loss and the weight that the spec gives it."""

from typing import Any

from torch import nn

from slotlab.framework.contracts import Losses, ModelOutput
from slotlab.framework.contracts.promises import expect_type


class WeightedAuxiliary(nn.Module):
    """Multiplies a loss by its weight; the terms for the log stay as they are."""

    schedulable = ("weight",)

    def __init__(self, loss: Any, weight: float):
        super().__init__()
        self.loss = loss
        self.weight = weight

    @property
    def traced(self) -> bool:
        """Whether it reads `output.grouped.trace`."""
        return bool(self.loss.traced)

    def forward(self, output: ModelOutput) -> Losses:
        """Return the weighted loss; under `raw` the loss itself."""
        losses: Losses = self.loss(output)
        expect_type(losses, Losses)
        return Losses(self.weight * losses.total, {"raw": losses.total, **losses.terms})
