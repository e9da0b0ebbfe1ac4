"""The optional capabilities of datasets are read here, each with its default for datasets without it.

The Protocols, and what they mean, are in `slotlab.framework.contracts.dataset_capabilities`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor

from slotlab.framework.contracts import DataProblem, Dataset
from slotlab.framework.contracts.dataset_capabilities import (
    HasAtATime,
    HasAttributes,
    HasCautions,
    HasDepends,
    HasEndless,
    HasFingerprint,
    HasIds,
    HasListed,
    HasMask,
    HasMaskNames,
    HasPlaces,
    HasProblems,
    HasVideos,
)

CapabilityT = TypeVar("CapabilityT")


def offers(dataset: object, capability: Callable[..., CapabilityT]) -> TypeGuard[CapabilityT]:
    """Return whether a dataset has the members that a Protocol declares.

    `isinstance` would miss, from Python 3.12 on, a dataset that passes attributes on by `__getattr__`.
    """
    return all(hasattr(dataset, name) for name in vars(capability) if not name.startswith("_"))


def fingerprint_of(dataset: Dataset) -> str | None:
    """Return the state of the files behind a dataset; None if the dataset does not report it."""
    return dataset.fingerprint() if offers(dataset, HasFingerprint) else None


def problems_of(dataset: Dataset) -> tuple[DataProblem, ...]:
    """Return the problems of the items that a dataset left out while it listed its files."""
    return tuple(dataset.problems) if offers(dataset, HasProblems) else ()


def cautions_of(dataset: Dataset) -> tuple[str, ...]:
    """Return a dataset's warnings about its files."""
    return tuple(dataset.cautions) if offers(dataset, HasCautions) else ()


def ids_of(dataset: Dataset) -> Sequence[str]:
    """Return the ids of all samples if they are known without reading samples, else nothing."""
    return dataset.ids if offers(dataset, HasIds) else ()


def listed_of(dataset: Dataset) -> int | None:
    """Return the number of items that the files tell of, including those left out; None if it is unknown.

    An item is a sample, or a video of a dataset that has videos: a protocol splits items.
    """
    if offers(dataset, HasListed):
        return dataset.listed
    return len(dataset.videos) if offers(dataset, HasVideos) else len(dataset)


def places_of(dataset: Dataset) -> Sequence[int]:
    """Return the position of each sample, or of its video, among all items that the files tell of."""
    if offers(dataset, HasPlaces):
        return dataset.places
    count = len(dataset)
    if not offers(dataset, HasVideos):
        return range(count)
    places = [0] * count
    for number, video in enumerate(dataset.videos):
        for index in video:
            places[index] = number
    return places


def mask_of(dataset: Dataset, index: int) -> Tensor | None:
    """Return the mask of a sample, integer labels of shape (H, W), or None, reading no more than needed.

    Raises:
        DataError: for a file that is broken.
    """
    return dataset.mask(index) if offers(dataset, HasMask) else dataset[index].mask_HW


def mask_names_of(dataset: Dataset, index: int) -> Mapping[int, str]:
    """Return how the mask's file writes each label, where the dataset knows.

    Raises:
        DataError: for a file that is broken.
    """
    return dataset.mask_names(index) if offers(dataset, HasMaskNames) else {}


def attributes_of(dataset: Dataset, index: int) -> Mapping[str, Any] | None:
    """Return the attributes of a sample; None if they cannot be read without the whole sample.

    Raises:
        DataError: for a file that is broken.
    """
    return dataset.attributes(index) if offers(dataset, HasAttributes) else None


def depends_of(dataset: Dataset, settings: Any) -> Any:
    """Return what generated pictures depend on, as JSON data: `settings`, unless the dataset knows better."""
    return dataset.depends() if offers(dataset, HasDepends) else settings


def is_endless(dataset: Dataset) -> bool:
    """Return whether positions past a dataset's end give further samples."""
    return bool(dataset.endless) if offers(dataset, HasEndless) else False


def samples_at_a_time(dataset: Dataset, device: torch.device) -> int:
    """Return how many samples are best made in one call on `device`; 1 if the dataset has no preference."""
    return int(dataset.at_a_time(device)) if offers(dataset, HasAtATime) else 1
