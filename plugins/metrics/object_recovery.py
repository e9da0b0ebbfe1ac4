"""Object recovery: the fraction of the image's true objects that are found.

    recovery = number of true objects i with max over predicted segments j of IoU(i, j) >= threshold
               / number of true objects

Above a threshold of 0.5 no segment can find two objects, so no matching is needed; at exactly 0.5 a
segment could find two objects of which it consists in equal parts.

* Source: detection rate of unsupervised object discovery (Vo et al. 2020), on masks instead of
  boxes; `threshold` 0.5 by custom.
* Pixels ignored: none; the background is no target, but its pixels enlarge the segments that hold
  them.
* Range: [0, 1], higher is better.
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


class ObjectRecoveryConfig(ComponentConfig):
    """Settings of object recovery."""

    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The least IoU at which an object counts as found."""


class ObjectRecovery:
    """The fraction of true objects that are found."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = MASKS

    def __init__(self, config: ObjectRecoveryConfig, context: MetricContext):
        self.threshold = config.threshold

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images without objects."""
        return part_found(outcome.counts_BTP, self.threshold)


@hookimpl
def slotlab_metrics() -> Iterable[Component[ObjectRecoveryConfig]]:
    """Provide `object_recovery`."""
    yield Component(
        name="object_recovery",
        config=ObjectRecoveryConfig,
        build=ObjectRecovery,
        summary="part of the true objects that are found",
    )
