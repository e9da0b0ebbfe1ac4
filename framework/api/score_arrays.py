"""Masks and pictures in memory, read as those in files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from slotlab.framework.api.pictures import Pictures, as_pictures
from slotlab.framework.evaluation.score_files import Reader
from slotlab.framework.evaluation.score_reading import MASK_OPTIONS, File, as_mask
from slotlab.registry import SlotlabError

Masks = Any
"""Labels in memory: an array or tensor of whole numbers (H, W) or (B, H, W), or a list of (H, W)."""


def in_memory(given: Mapping[str, Any]) -> "Arrays":
    """Return what is given in memory, one for each image.

    Raises:
        SlotlabError: if there are not as many of each.
    """
    every: dict[str, list[Any]] = {}
    for option, one in given.items():
        if one is None:
            continue
        every[option] = as_masks(one) if option in MASK_OPTIONS else _as_files(one)
    counts = {f"{len(found)} of {option}" for option, found in every.items()}
    if len({len(found) for found in every.values()}) > 1:
        raise SlotlabError(f"there are {' and '.join(sorted(counts))}; give one for each image")
    return Arrays(every)


def as_masks(given: Masks) -> list[Any]:
    """Return the labels of each image as an array."""
    if isinstance(given, list | tuple):
        return [np.asarray(one.cpu() if isinstance(one, Tensor) else one) for one in given]
    array = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    return [array] if array.ndim == 2 else list(array)


def _as_files(given: Pictures) -> list[Any]:
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in as_pictures(given)]


@dataclass(frozen=True)
class Arrays:
    """What is to be scored, in memory."""

    files: Mapping[str, Sequence[Any]]
    """By option, one for each image."""

    def named(self) -> dict[str, str]:
        """Return what is given, by the option that a folder would have."""
        return dict.fromkeys(self.files, "in memory")


@dataclass
class ArrayReader(Reader):
    """Reads masks in memory. Their paths stand for them in messages, such as `--true 3`."""

    folders: Any = None
    arrays: Arrays = field(default_factory=lambda: Arrays({}))

    def match(self) -> list[tuple[str, Mapping[str, Path]]]:
        """Return the images by their numbers."""
        number = len(next(iter(self.arrays.files.values())))
        if number == 0:
            raise SlotlabError("there are no masks; give at least one")
        return [
            (str(i), {option: Path(f"{option} {i}") for option in self.arrays.files}) for i in range(number)
        ]

    def open(self, path: Path, option: str) -> File:
        """Return what a path stands for."""
        found = self.arrays.files[option][int(path.name.rpartition(" ")[2])]
        return as_mask(found, str(path)) if option in MASK_OPTIONS else found
