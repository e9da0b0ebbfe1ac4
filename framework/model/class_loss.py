"""The cross-entropy of a target of classes, some positions at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from slotlab.framework.contracts import Decoded

LOGITS_AT_ONCE = 2**24
"""The most logits in memory at once where they are made from a readout: 64 MiB as float32."""


def class_cross_entropy(decoded: Decoded, target_B1HW: Tensor, classes: int) -> Tensor:
    """Return the cross-entropy, a scalar, mean over images and positions.

    Where the decoder gives a `readout`, its logits are made, and made again for the gradient, for as many
    positions at a time as `LOGITS_AT_ONCE` allows: all of them would be 1 GiB for 64 images of 32x32
    positions and 4,096 classes. The numbers do not depend on it, but for rounding.

    Args:
        decoded: with logits (B, classes, H, W), or what its readout makes logits of.
        target_B1HW: int64, each in [0, classes).
        classes: how many there are.
    """
    if decoded.readout is None:
        return F.cross_entropy(decoded.prediction_BCHW, target_B1HW[:, 0])
    states_NC = decoded.prediction_BCHW.movedim(1, 3).flatten(0, 2)
    target_N, size = target_B1HW.flatten(), max(LOGITS_AT_ONCE // classes, 1)
    losses = [
        checkpoint(_summed, decoded.readout, some_NC, some_N, use_reentrant=False)
        for some_NC, some_N in zip(torch.split(states_NC, size), torch.split(target_N, size), strict=True)
    ]
    return torch.stack(losses).sum() / len(target_N)


def _summed(readout: Callable[[Tensor], Tensor], states_NC: Tensor, target_N: Tensor) -> Tensor:
    logits_NV = readout(states_NC)
    precise = torch.promote_types(logits_NV.dtype, torch.float32)
    return F.cross_entropy(logits_NV.to(precise), target_N, reduction="sum")
