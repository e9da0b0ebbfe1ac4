"""Squared error as BO-QSA reports it: a sum over pixels of the mean over channels, on [-1, 1].

    MSE = height width mean over channels and pixels of (reconstruction - image)^2, both in [-1, 1]

With three channels it is 4/3 of `mse_official` on the same pictures; BO-QSA's pictures are not
cropped.

* Source: the training code of BO-QSA (Jia et al. 2023).
* Pixels ignored: none.
* Range: from 0, lower is better; no upper bound, since a reconstruction may leave the value
  range.
* Empty masks: masks play no part.
"""

from collections.abc import Iterable
from math import inf

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.metric import NoSettings
from slotlab.framework.scoring.images import sum_of_squares
from slotlab.registry import Component, hookimpl


class BOQSAMSE:
    """Sum over pixels of the mean over channels, on [-1, 1]."""

    higher_is_better = False
    bounds = (0.0, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        low, high = context.value_range
        self.scale = 2 / (high - low)

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        sums_B = sum_of_squares(outcome.reconstructions_BCHW, outcome.images_BCHW, self.scale)
        return sums_B / outcome.images_BCHW.shape[1]


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_boqsa`."""
    yield Component(
        name="mse_boqsa",
        config=NoSettings,
        build=BOQSAMSE,
        summary="BO-QSA's MSE: sum over pixels of the mean over channels, images in [-1, 1]",
    )
