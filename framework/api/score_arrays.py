"""Masks and pictures in memory, read as those in files are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from slotlab.framework.api.pictures import GivenImages, as_pictures
from slotlab.framework.contracts import DataProblem
from slotlab.framework.evaluation.score_reading import MASK_OPTIONS, File, as_mask
from slotlab.registry import SlotlabError

GivenMasks = Any
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


def as_masks(given: GivenMasks) -> list[Any]:
    """Return the labels of each image as an array."""
    if isinstance(given, list | tuple):
        return [np.asarray(one.cpu() if isinstance(one, Tensor) else one) for one in given]
    array = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
    return [array] if array.ndim == 2 else list(array)


def _as_files(given: GivenImages) -> list[Any]:
    return [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in as_pictures(given)]


@dataclass(frozen=True)
class Arrays:
    """What is to be scored, in memory."""

    files: Mapping[str, Sequence[Any]]
    """By option, one for each image."""

    def named(self) -> dict[str, str]:
        """Return what is given, by the option that a folder would have."""
        return dict.fromkeys(self.files, "in memory")

    def match(self) -> tuple[list[tuple[str, Mapping[str, Path]]], list[DataProblem]]:
        """Return the images by their numbers; `--true 3` is the path of a mask in messages.

        Raises:
            SlotlabError: if there are none.
        """
        number = len(next(iter(self.files.values())))
        if number == 0:
            raise SlotlabError("there are no masks; give at least one")
        names = [str(position) for position in range(number)]
        return [(name, {option: Path(f"{option} {name}") for option in self.files}) for name in names], []

    def open(self, path: Path, option: str) -> File:
        """Return the array or picture that a path stands for."""
        found = self.files[option][int(path.name.rpartition(" ")[2])]
        return as_mask(found, str(path)) if option in MASK_OPTIONS else found
