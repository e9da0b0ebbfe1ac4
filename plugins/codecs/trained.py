"""The codec of a trained run, frozen.

The run may be one of a codec alone (model `codec`), or of a model that trained its codec with the rest.
"""

from collections.abc import Iterable
from typing import Any

from torch import nn

from slotlab.framework.contracts import Codec, CodecContext
from slotlab.framework.model.trained_input import check_images, trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class TrainedConfig(ComponentConfig):
    """Settings of a codec that was trained before."""

    source: RunInput
    """The run: `{run: ../runs/codec}`."""


def build(config: TrainedConfig, context: CodecContext) -> nn.Module:
    """Return the run's codec, in evaluation mode and without gradients.

    Raises:
        ComponentError: if the run has none, or took other images.
    """
    spec, model = trained_model(config.source, field="source")
    check_images(spec, context, who="its run", field="source")
    codec: Any = getattr(model, "codec", None)
    if not isinstance(codec, nn.Module) or not isinstance(codec, Codec):
        text = f"the model '{spec.model.name}' of its run has no codec; train one with model: {{name: codec}}"
        raise ComponentError(text, field="source")
    codec.own_weights = True
    return codec


@hookimpl
def slotlab_codecs() -> Iterable[Component[TrainedConfig]]:
    """Provide `trained`."""
    yield Component(
        name="trained", config=TrainedConfig, build=build, summary="the codec of a trained run, frozen"
    )
