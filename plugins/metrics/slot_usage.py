"""How many slots hold part of the image: a diagnosis, not a score.

    usage = number of slots that have the largest mask on at least `least_share` of the pixels

1 means that one slot takes everything. More than the objects and the background means that objects
or the background are split. A value that does not vary with the number of objects means that slots tile
the image.

* Source: slotlab's own. No true masks are needed.
* Pixels ignored: void ones of the true mask, if there is one.
* Range: from 0; no direction is better. For sorting, which needs a direction, higher counts as
  better.
* Empty masks: do not count. With `least_share` 0 (the default) a single pixel is enough.
"""

from collections.abc import Iterable
from math import inf
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from slotlab.framework.arithmetic.contingency import contingency
from slotlab.framework.contracts import VOID, MetricContext, Outcome
from slotlab.registry import Component, ComponentConfig, hookimpl


class SlotUsageConfig(ComponentConfig):
    """Settings of slot usage."""

    EXCEPTIONS: ClassVar = {"the truth is the best": "a diagnosis: neither more nor less is better"}

    least_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part of the image's pixels that a slot must hold to count; 0 requires one pixel."""


class SlotUsage:
    """The number of slots that hold pixels."""

    higher_is_better = True
    bounds = (0.0, inf)
    needs = frozenset({"predicted_BHW"})

    def __init__(self, config: SlotUsageConfig, context: MetricContext):
        self.least_share = config.least_share

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images that are entirely void."""
        predicted_BHW = outcome.predicted_BHW
        assert predicted_BHW is not None
        counted_BHW = torch.zeros_like(predicted_BHW)
        if outcome.scored_BHW is not None:
            counted_BHW.masked_fill_(~outcome.scored_BHW, VOID)
        held_BK = contingency(counted_BHW, predicted_BHW)[:, 0]
        pixels_B = held_BK.sum(dim=1)
        least_B1 = (self.least_share * pixels_B).clamp(min=1.0).unsqueeze(1)
        return (held_BK >= least_B1).sum(dim=1).double().masked_fill(pixels_B == 0, torch.nan)


@hookimpl
def slotlab_metrics() -> Iterable[Component[SlotUsageConfig]]:
    """Provide `slot_usage`."""
    yield Component(
        name="slot_usage", config=SlotUsageConfig, build=SlotUsage, summary="number of slots that hold pixels"
    )
