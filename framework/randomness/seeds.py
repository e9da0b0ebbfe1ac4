"""Seeds of everything random: one spec seed, many independent streams."""

from collections.abc import Iterable

import torch
from torch import Generator

from slotlab.framework.contracts import Dataset


def mix(seed: int, number: int) -> int:
    """Return the seed of stream `number` of a spec's seed, in the range that torch takes."""
    return (seed * 1_000_003 + number) % 2**63


def permutation(length: int, *, seed: int, epoch: int) -> list[int]:
    """Return the order in which an epoch visits the samples: the same for the same seed."""
    generator = Generator().manual_seed(mix(seed, epoch))
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order


def epoch_order(dataset: Dataset, *, seed: int, epoch: int) -> list[int]:
    """Return the samples of an epoch in order; an endless dataset gives new ones in each."""
    order = permutation(len(dataset), seed=seed, epoch=epoch)
    past = epoch * len(dataset) if getattr(dataset, "endless", False) else 0
    return [past + position for position in order]


_PAINT = 3
"""Number of the streams that decoders draw from, beside those of the slots' noise."""


def painting(seed: int, positions: Iterable[int], device: torch.device) -> list[Generator]:
    """Return one random stream for each picture that a decoder paints, by its position or number.

    Apart from those of `streams`: what a decoder draws is independent of the image's initial slots.
    """
    return streams(mix(seed, _PAINT), positions, device)


def streams(seed: int, positions: Iterable[int], device: torch.device) -> list[Generator]:
    """Return one random stream for each image, by its position in the split."""
    return [Generator(device).manual_seed(mix(seed, position)) for position in positions]
