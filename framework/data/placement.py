"""Where batches go: the device, the memory layout of images, and which of several processes this is."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Placement:
    """What a loader must know of the machine to give each process its share of every batch."""

    device: torch.device
    memory_format: torch.memory_format = torch.contiguous_format
    """The layout of images: contiguous, or channels last."""
    rank: int = 0
    """The number of this process, from 0."""
    processes: int = 1
    """How many processes train one model together."""
