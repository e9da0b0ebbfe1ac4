"""Frechet distance of the features of a timm model with local weights. This is not FID.

The distance of Heusel et al. 2017 in another space: compare only values of one model and one file.
Images are resized and normalized as in the model's training, according to timm.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import SetMetricContext
from slotlab.framework.metrics.image_sets.extractors import features_by, file_hash, prepared, refuse
from slotlab.framework.metrics.image_sets.feature_metrics import FrechetMetric
from slotlab.framework.spec.paths import SpecPath
from slotlab.registry import Component, ComponentConfig, ComponentError, SlotlabError, hookimpl
from slotlab.registry.component import suggest
from slotlab.registry.errors import describe


class FrechetTimmConfig(ComponentConfig):
    """Settings of the Frechet distance by a timm model."""

    model: str
    """Name of a timm model, such as `resnet50` or `vit_small_patch14_dinov2`."""
    weights: SpecPath
    """A local checkpoint of the whole model (.safetensors, or .pth read without executing code)."""


@dataclass
class TimmExtractor:
    """The pooled features of a timm model, before its classifier."""

    model: str
    weights: Path
    device: torch.device
    _network: nn.Module | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name in results."""
        return f"timm {self.model} ({self.weights.name})"

    def lacking(self) -> str | None:
        """Return a message that the file is missing; None if it is there."""
        return None if self.weights.is_file() else f"there is no {self.weights}"

    def identity(self) -> str:
        """Return a text with the model and a hash of its weights."""
        return f"timm-{self.model}-{file_hash(self.weights)}"

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return features.

        Raises:
            SlotlabError: if the file is missing or does not fit the model.
        """
        import timm

        if self._network is None:
            refuse(self.lacking())
            self._network = self._open()
        resolve: Any = timm.data.resolve_model_data_config  # type: ignore[attr-defined]
        facts: dict[str, Any] = resolve(self._network)
        side = int(facts["input_size"][-1])
        inputs_BCHW = prepared(images_BCHW.to(self.device), side, facts["mean"], facts["std"])
        return features_by(self._network, inputs_BCHW, self.weights)

    def _open(self) -> nn.Module:
        import timm

        try:
            network: Any = timm.create_model(self.model)
            # Not by `checkpoint_path`, with which older versions of timm execute pickles.
            timm.models.load_checkpoint(network, str(self.weights), weights_only=True)
        except Exception as error:  # torch raises RuntimeError for shapes, readers anything
            text = f"{self.weights} does not fit timm's '{self.model}': {describe(error)}"
            raise SlotlabError(text) from error
        network.reset_classifier(0)
        opened: nn.Module = network.to(self.device).eval()
        return opened


def build_frechet(config: FrechetTimmConfig, context: SetMetricContext) -> FrechetMetric:
    """Return the metric; the file is read at its first use.

    Raises:
        ComponentError: if timm has no such model.
    """
    import timm

    if not timm.is_model(config.model):
        hint = suggest(config.model, timm.list_models())
        raise ComponentError(f"timm {timm.__version__} has no model '{config.model}'{hint}", field="model")
    return FrechetMetric(TimmExtractor(config.model, config.weights, context.device))


@hookimpl
def slotlab_set_metrics() -> Iterable[Component[FrechetTimmConfig]]:
    """Provide `frechet_timm`."""
    yield Component(
        name="frechet_timm",
        config=FrechetTimmConfig,
        build=build_frechet,
        summary="Frechet distance of the features of a timm model with local weights; not FID",
    )
