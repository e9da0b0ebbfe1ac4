"""Squared error as the CLEVRTex benchmark reports it: a sum, on images in [0, 1].

    MSE = sum over channels and pixels of (reconstruction - image)^2, both brought to [0, 1]

It grows with the number of pixels: only values at one image size compare, 128 x 128 in the
benchmark.

* Source: `MSE` of `clevrtex_eval.py` (Karazija et al. 2021); SlotDiffusion (Wu et al. 2023).
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


class OfficialMSE:
    """Sum over channels and pixels of the squared difference, on [0, 1]."""

    higher_is_better = False
    bounds = (0.0, inf)
    needs = frozenset({"reconstructions_BCHW"})

    def __init__(self, config: NoSettings, context: MetricContext):
        low, high = context.value_range
        self.scale = 1 / (high - low)

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        assert outcome.reconstructions_BCHW is not None
        return sum_of_squares(outcome.reconstructions_BCHW, outcome.images_BCHW, self.scale)


@hookimpl
def slotlab_metrics() -> Iterable[Component[NoSettings]]:
    """Provide `mse_official`."""
    yield Component(
        name="mse_official",
        config=NoSettings,
        build=OfficialMSE,
        summary="official CLEVRTex MSE: sum over channels and pixels, images in [0, 1]",
    )
