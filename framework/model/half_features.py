"""A frozen encoder's features, rounded to 16 bits: what a store of features holds.

They are computed in float32 whatever the training's precision, and laid out with channels last, so that what
is computed at each step and what is read from a store are the same numbers in the same order of memory.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def features_of(encoder: nn.Module, images_BCHW: Tensor, *, half: bool) -> Tensor:
    """Return the features (B, channels, *grid) of images, rounded to 16 bits if `half`, in float32."""
    if not half:
        features_BCHW: Tensor = encoder(images_BCHW)
        return features_BCHW
    return rounded_features(encoder, images_BCHW).float()


def rounded_features(encoder: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Return the features of images in 16 bits, float16 of shape (B, channels, *grid), channels last.

    What is larger than 16 bits hold becomes infinite.
    """
    return rounded(in_float32(encoder, images_BCHW))


def rounded(values_BCHW: Tensor) -> Tensor:
    """Return numbers in 16 bits, channels last."""
    return values_BCHW.half().contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def in_float32(make: Callable[[Tensor], Tensor], images_BCHW: Tensor) -> Tensor:
    """Return what is made of images, computed in float32 also where the training computes in other types."""
    kind = images_BCHW.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return make(images_BCHW)
    with torch.autocast(kind, enabled=False):
        return make(images_BCHW.float())
