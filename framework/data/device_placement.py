"""Where batches go: the device, the memory format of images, and the rank of this process."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Placement:
    """What a loader must know to give each process its share of every batch, on its device."""

    device: torch.device
    memory_format: torch.memory_format = torch.contiguous_format
    """The memory format of images: contiguous, or channels last."""
    rank: int = 0
    """The number of this process, from 0."""
    processes: int = 1
    """The number of processes that train one model together."""
