"""Derived seeds: from the seed of a spec, one for each epoch, each image and each decoded picture.

Stream `i` of a seed has one state whatever it is used for: epoch 3 and image 3 start from the same one.
"""

from collections.abc import Iterable

import torch
from torch import Generator


def mix(seed: int, number: int) -> int:
    """Return the seed of stream `number` of a spec's seed, in the range that torch takes."""
    return (seed * 1_000_003 + number) % 2**63


def permutation(length: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch visits the samples: the same for the same seed."""
    generator = Generator().manual_seed(mix(seed, epoch))
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order


_PAINT = 3
"""The number by which the decoders' seed is derived, apart from that of the slots' noise."""


def painting(seed: int, positions: Iterable[int], device: torch.device) -> list[Generator]:
    """Return one random stream for each picture that a decoder makes, by its position or number.

    They differ from those of `streams`: a decoder draws independently of the image's initial slots.
    """
    return streams(mix(seed, _PAINT), positions, device)


def streams(seed: int, positions: Iterable[int], device: torch.device) -> list[Generator]:
    """Return one random stream for each image, by its position in the split."""
    return [Generator(device).manual_seed(mix(seed, position)) for position in positions]


def frame_numbers(positions: Iterable[int], frames: int) -> list[int]:
    """Return a number for each frame of the clips at some positions, by which it has a stream of its own."""
    return [position * frames + frame for position in positions for frame in range(frames)]
