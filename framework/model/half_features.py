"""A frozen encoder's features, rounded to 16 bits: what a store of features holds.

They are computed in float32 whatever the training's precision, and laid out with channels last, so that what
is computed at each step and what is read from a store are the same numbers in the same order of memory.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Freezable, Model, TakesFeatures
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec


def features_of(encoder: nn.Module, images_BCHW: Tensor, *, half: bool) -> Tensor:
    """Return the features (B, channels, *grid) of images, rounded to 16 bits if `half`, in float32."""
    if not half:
        features_BCHW: Tensor = encoder(images_BCHW)
        return features_BCHW
    return rounded_features(encoder, images_BCHW).float()


@torch.no_grad()
def rounded_features(encoder: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Return the features of images in 16 bits, float16 of shape (B, channels, *grid), channels last.

    What is larger than 16 bits hold becomes infinite.
    """
    kind = images_BCHW.device.type
    if kind != "meta" and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            features_BCHW: Tensor = encoder(images_BCHW.float())
    else:
        features_BCHW = encoder(images_BCHW)
    return features_BCHW.half().contiguous(memory_format=torch.channels_last)


def check_features(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse half features of a model or an encoder whose features change, and stores that cannot be used."""
    data, where = spec.data, ("data", "features")
    if data.features == "full":
        if data.feature_store == "required":
            text = "stores hold features in 16 bits, and data.features is full; write 'features: half'"
            yield PathProblem(("data", "feature_store"), text)
        return
    if not (isinstance(model, TakesFeatures) and model.half_features):
        text = f"the model '{spec.model.name}' takes no stored features; write 'features: full'"
        yield PathProblem(where, text)
        return
    if (reason := changing(spec, model.encoder)) is not None:
        who = model.names.get("encoder", "encoder")
        yield PathProblem(where, f"the {who} {reason}; freeze it, or write 'features: full'")
    if data.augmentation.crop < 1 and data.feature_store != "off":
        text = "every random crop is another picture, whose features no store can hold"
        hint = "write 'crop: 1.0', or 'feature_store: off', which computes them at each step"
        yield PathProblem(("data", "augmentation", "crop"), f"{text}; {hint}")


def changing(spec: ExperimentSpec, encoder: nn.Module) -> str | None:
    """Return why an encoder's features change during a training; None if they do not."""
    if not isinstance(encoder, Freezable):
        return "does not say that it is frozen (by its attribute 'frozen'), and its features may change"
    if not encoder.frozen:
        return "is not frozen, and its features change with every step"
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        return "says that it is frozen, and has weights that are trained"
    if any(path.startswith("encoder.") for path in spec.training.anneal):
        return "changes by training.anneal, and its features with it"
    return None
