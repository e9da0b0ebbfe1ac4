"""Foreground ARI: the adjusted Rand index over pixels whose true label is not background.

Source: Greff et al. 2019 (IODINE), section 4; Karazija et al. 2021 (CLEVRTex). Pixels of
true label 0 are left out; the prediction keeps all its labels. NaN without foreground, 1
for a single object that lies in one predicted segment.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.scoring.contingency import adjusted_rand_index
from slotlab.registry import Component, ComponentConfig, hookimpl


class ForegroundARIConfig(ComponentConfig):
    """No settings."""


class ForegroundARI:
    """Adjusted Rand index over the true foreground."""

    higher_is_better = True
    bounds = (-0.5, 1.0)
    needs = frozenset({"true_BHW", "predicted_BHW"})

    def __init__(self, config: ForegroundARIConfig, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,); NaN for images without foreground."""
        return adjusted_rand_index(outcome.counts_BTP[:, 1:])


@hookimpl
def slotlab_metrics() -> Iterable[Component[ForegroundARIConfig]]:
    """Provide `fg_ari`."""
    yield Component(
        name="fg_ari",
        config=ForegroundARIConfig,
        build=ForegroundARI,
        summary="adjusted Rand index over pixels of true objects",
    )
