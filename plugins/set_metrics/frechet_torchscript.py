"""Frechet distance of the features of any network in a local TorchScript file. This is not FID.

The distance of Heusel et al. 2017 in another space: compare only values of one file.
"""

from collections.abc import Iterable

from pydantic import PositiveFloat, PositiveInt

from slotlab.framework.contracts import SetMetricContext
from slotlab.framework.metrics.image_sets.extractors import ScriptExtractor
from slotlab.framework.metrics.image_sets.feature_metrics import FrechetMetric
from slotlab.framework.spec.paths import ProgramPath
from slotlab.registry import Component, ComponentConfig, hookimpl


class FrechetTorchScriptConfig(ComponentConfig):
    """Settings of the Frechet distance by a TorchScript network."""

    weights: ProgramPath
    """The file; the network takes float32 (B, 3, size, size) and gives one row of features per image."""
    size: PositiveInt = 224
    """The side in pixels to which images are resized, bicubic with antialiasing."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Subtracted from each channel of images in [0, 1]."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)
    """Divides each channel afterwards."""


def build_frechet(config: FrechetTorchScriptConfig, context: SetMetricContext) -> FrechetMetric:
    """Return the metric; the file is read at its first use."""
    return FrechetMetric(
        ScriptExtractor(config.weights, config.size, config.mean, config.std, context.device)
    )


@hookimpl
def slotlab_set_metrics() -> Iterable[Component[FrechetTorchScriptConfig]]:
    """Provide `frechet_torchscript`."""
    yield Component(
        name="frechet_torchscript",
        config=FrechetTorchScriptConfig,
        build=build_frechet,
        summary="Frechet distance of the features of a local TorchScript file; not FID",
    )
