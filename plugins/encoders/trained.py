"""The encoder of a trained run, frozen or trained on.

Stands where published feature models take a pretrained backbone: features come from whatever a run of
slotlab has learned.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from slotlab.framework.contracts import EncoderContext
from slotlab.framework.model.trained_input import check_images, trained_model
from slotlab.framework.runs.run_input import RunInput
from slotlab.registry import Component, ComponentConfig, ComponentError, hookimpl


class TrainedConfig(ComponentConfig):
    """Settings of an encoder that was trained before."""

    source: RunInput
    """The run: `{run: ../runs/demo}`."""
    frozen: bool = True
    """Keep the weights as they are: no gradients, always in evaluation mode."""


class TrainedEncoder(nn.Module):
    """Images (B, 3, H, W) to the run's features (B, channels, *grid)."""

    own_weights = True

    def __init__(self, config: TrainedConfig, context: EncoderContext):
        super().__init__()
        spec, model = trained_model(config.source, field="source")
        check_images(spec, context, who="its run", field="source")
        encoder: Any = getattr(model, "encoder", None)
        if encoder is None:
            raise ComponentError(f"the model '{spec.model.name}' of its run has no encoder", field="source")
        self.frozen = config.frozen
        self.encoder = encoder
        self.encoder.requires_grad_(not config.frozen)
        self.channels: int = encoder.channels
        self.grid: tuple[int, int] = encoder.grid
        self.train()

    def train(self, mode: bool = True) -> "TrainedEncoder":
        """Switch to training mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return the features."""
        features_BCHW: Tensor = self.encoder(images_BCHW)
        return features_BCHW


@hookimpl
def slotlab_encoders() -> Iterable[Component[TrainedConfig]]:
    """Provide `trained`."""
    yield Component(
        name="trained",
        config=TrainedConfig,
        build=TrainedEncoder,
        summary="the encoder of a trained run, frozen by default",
    )
