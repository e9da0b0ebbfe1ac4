"""Adjusted Rand index over all pixels, background included.

Source: Hubert and Arabie 1985; equal to scikit-learn's `adjusted_rand_score`, image by
image. 1 for a perfect segmentation, about 0 for a random one; the names of segments do
not matter. 1 where both sides have one and the same single segment.
"""

from collections.abc import Iterable

from torch import Tensor

from slotlab.framework.contracts import MetricContext, Outcome
from slotlab.framework.scoring.contingency import adjusted_rand_index
from slotlab.registry import Component, ComponentConfig, hookimpl


class ARIConfig(ComponentConfig):
    """No settings."""


class ARI:
    """Adjusted Rand index of true and predicted labels over all pixels."""

    higher_is_better = True
    bounds = (-0.5, 1.0)
    needs = frozenset({"true_BHW", "predicted_BHW"})

    def __init__(self, config: ARIConfig, context: MetricContext):
        pass

    def __call__(self, outcome: Outcome) -> Tensor:
        """Return float64 of shape (B,)."""
        return adjusted_rand_index(outcome.counts_BTP)


@hookimpl
def slotlab_metrics() -> Iterable[Component[ARIConfig]]:
    """Provide `ari`."""
    yield Component(name="ari", config=ARIConfig, build=ARI, summary="adjusted Rand index over all pixels")
