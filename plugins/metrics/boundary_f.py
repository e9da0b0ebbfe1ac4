"""Boundary F-measure: how well the outlines of segments agree.

    F = 2 P R / (P + R)

P is the fraction of predicted boundary pixels within `tolerance` of a true boundary, R the fraction
of true ones within `tolerance` of a predicted boundary. A pixel is on a boundary if its right or
lower neighbor has another label.

* Source: Martin et al. 2004; counted by dilation instead of matching, as Perazzi et al. 2016
  (DAVIS), whose tolerance of 0.008 diagonals, rounded up to pixels, is the default: 2 pixels at
  128 x 128.
* Pixels ignored: void; the borders of the image and of void pixels are not boundaries.
* Range: [0, 1], higher is better.
* Empty masks: 1 if neither side has a boundary, 0 if only one has.
"""

import math
from collections.abc import Iterable

from pydantic import NonNegativeFloat
from torch import Tensor

from slotlab.framework.arithmetic.boundaries import boundary_f_measure
from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metrics.builders import MASKS
from slotlab.registry import Component, ComponentConfig, hookimpl


class BoundaryFConfig(ComponentConfig):
    """Settings of the boundary F-measure."""

    tolerance: NonNegativeFloat = 0.008
    """The largest distance of boundaries, as a fraction of the image's diagonal; rounded up to pixels."""


class BoundaryF:
    """F-measure of boundaries."""

    higher_is_better = True
    bounds = (0.0, 1.0)
    needs = MASKS

    def __init__(self, config: BoundaryFConfig, context: MetricContext):
        self.tolerance = config.tolerance

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images that are entirely void."""
        assert outcome.true_BHW is not None
        assert outcome.predicted_BHW is not None
        radius = math.ceil(self.tolerance * math.hypot(*outcome.true_BHW.shape[1:]))
        return boundary_f_measure(outcome.true_BHW, outcome.predicted_BHW, radius, outcome.scored_BHW)


@hookimpl
def slotlab_metrics() -> Iterable[Component[BoundaryFConfig]]:
    """Provide `boundary_f`."""
    yield Component(
        name="boundary_f", config=BoundaryFConfig, build=BoundaryF, summary="F-measure of segment boundaries"
    )
