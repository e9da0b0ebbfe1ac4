"""Random draws for a batch: from one stream, or for each image from its own."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from slotlab.framework.contracts import RandomSource
from slotlab.registry import ComponentError

Dropping = Callable[[Tensor], Tensor]
"""Drops values of features (B, C, H, W) in training; `unchanged` drops none."""


def drawn(draw: Callable[[int, Generator | None], Tensor], batch: int, source: RandomSource) -> Tensor:
    """Return the draws (B, ...) of a batch.

    Args:
        draw: called with a number of images and the stream to draw from; returns as many rows.
        batch: number of images (B).
        source: one stream, or torch's own (None), for the whole batch; or one for each image.

    Raises:
        ComponentError: if there are several streams, but not one for each image.
    """
    if not isinstance(source, Sequence):
        return draw(batch, source)
    if len(source) != batch:
        raise ComponentError(f"each of {batch} images needs a random stream of its own, not {len(source)}")
    return torch.cat([draw(1, stream) for stream in source])


def normal(like_BCHW: Tensor, source: RandomSource) -> Tensor:
    """Return independent standard normal numbers of a tensor's shape, dtype and device."""
    shape, dtype, device = like_BCHW.shape[1:], like_BCHW.dtype, like_BCHW.device

    def draw(number: int, stream: Generator | None) -> Tensor:
        return torch.randn((number, *shape), generator=stream, dtype=dtype, device=device)

    return drawn(draw, len(like_BCHW), source)


def uniform_steps(number: int, batch: int, source: RandomSource, device: torch.device) -> Tensor:
    """Return one step for each image, int64 (B,) in [0, number), all equally likely."""

    def draw(images: int, stream: Generator | None) -> Tensor:
        return torch.randint(number, (images,), generator=stream, device=device)

    return drawn(draw, batch, source)


class Drop:
    """Dropout whose draws come from given streams, never from torch's own.

    Each number is set to 0 with the probability `rate`; the others are divided by 1 - `rate`.
    """

    def __init__(self, rate: float, source: RandomSource):
        self.rate, self.source = rate, source

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        shape, keep = x_BCHW.shape[1:], 1 - self.rate

        def draw(number: int, stream: Generator | None) -> Tensor:
            return x_BCHW.new_empty((number, *shape)).bernoulli_(keep, generator=stream)

        return x_BCHW * drawn(draw, len(x_BCHW), self.source) / keep


def dropping(rate: float, source: RandomSource) -> Dropping:
    """Return `Drop`, or what changes nothing and draws nothing, for a rate of 0."""
    return Drop(rate, source) if rate else unchanged


def unchanged(x_BCHW: Tensor) -> Tensor:
    """Return the same tensor."""
    return x_BCHW
