"""FID as clean-fid computes it: Frechet distance of Inception's features.

Source: Heusel et al. 2017; Parmar et al. 2022 (clean-fid, mode `clean`). Lower is better, 0 for equal
statistics. Biased: too high for few images, by an amount that depends on the model. Compare only with
the same numbers of images on both sides, and consider the FID between real images (the floor).
"""

from collections.abc import Iterable
from typing import Annotated

from slotlab.framework.contracts import SetMetricContext
from slotlab.framework.metrics.image_sets.extractors import INCEPTION, CleanInception
from slotlab.framework.metrics.image_sets.feature_metrics import FrechetMetric
from slotlab.framework.spec.paths import Program, SpecPath
from slotlab.registry import Component, ComponentConfig, hookimpl


class FIDConfig(ComponentConfig):
    """Settings of FID."""

    weights: Annotated[SpecPath | None, Program(INCEPTION)] = None
    """The file inception-2015-12-05.pt or its folder; null for clean-fid's folder, /tmp."""


def build_fid(config: FIDConfig, context: SetMetricContext) -> FrechetMetric:
    """Return FID; the weights are read at its first use."""
    return FrechetMetric(CleanInception(config.weights, context.device))


@hookimpl
def slotlab_set_metrics() -> Iterable[Component[FIDConfig]]:
    """Provide `fid`."""
    yield Component(
        name="fid", config=FIDConfig, build=build_fid, summary="Frechet Inception distance, by clean-fid"
    )
