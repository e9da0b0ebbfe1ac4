"""KID as clean-fid computes it: kernel distance of Inception's features.

Source: Binkowski et al. 2018; Parmar et al. 2022 (clean-fid, mode `clean`). Lower is better; its
expectation is 0 for sets of one distribution, and it does not depend on the number of images, so it
may be negative. Often printed times 1000; here it is not.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import NonNegativeInt, PositiveInt

from slotlab.framework.contracts import SetMetricContext
from slotlab.framework.metrics.image_sets.extractors import INCEPTION, CleanInception
from slotlab.framework.metrics.image_sets.feature_metrics import KernelMetric
from slotlab.framework.spec.paths import Program, SpecPath
from slotlab.registry import Component, ComponentConfig, hookimpl


class KIDConfig(ComponentConfig):
    """Settings of KID."""

    weights: Annotated[SpecPath | None, Program(INCEPTION)] = None
    """The file inception-2015-12-05.pt or its folder; null for clean-fid's folder, /tmp."""
    subsets: PositiveInt = 100
    """The number of random subsets; the value is the mean over them."""
    subset_size: PositiveInt = 1000
    """Images per subset, at most the number of images."""
    seed: NonNegativeInt = 0
    """Draws the subsets."""


def build_kid(config: KIDConfig, context: SetMetricContext) -> KernelMetric:
    """Return KID; the weights are read at its first use."""
    return KernelMetric(
        CleanInception(config.weights, context.device),
        subsets=config.subsets,
        subset_size=config.subset_size,
        seed=config.seed % 2**32,  # the range that numpy accepts
    )


@hookimpl
def slotlab_set_metrics() -> Iterable[Component[KIDConfig]]:
    """Provide `kid`."""
    yield Component(
        name="kid", config=KIDConfig, build=build_kid, summary="kernel Inception distance, by clean-fid"
    )
