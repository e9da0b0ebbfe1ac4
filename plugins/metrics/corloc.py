"""Correct localization: whether any true object of the image is found.

    CorLoc = 1 if max over true objects i and predicted segments j of IoU(i, j) >= threshold, else 0

Its mean over images is the fraction of images in which an object is found.

* Source: Deselaers et al. 2010, on masks instead of boxes, as usual for slots (Seitzer et al.
  2023, DINOSAUR); `threshold` 0.5 by custom.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: 0 or 1, higher is better.
* Empty masks: have no effect. NaN for images without objects.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from torch import Tensor

from slotlab.framework.arithmetic.overlap import part_found
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import MASKS
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
        return part_found(outcome.counts_BTP, self.threshold).ceil()


@hookimpl
def slotlab_metrics() -> Iterable[Component[CorLocConfig]]:
    """Provide `corloc`."""
    yield Component(
        name="corloc", config=CorLocConfig, build=CorLoc, summary="whether any true object is found"
    )
