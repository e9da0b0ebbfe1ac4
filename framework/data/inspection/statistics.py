"""Statistics of each image (object counts, size, sums of values, hash), computed by worker processes.

Each image is read once, and none is kept. Sums are of whole numbers, so that results depend neither on the
order nor on the number of processes.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator
from torch.utils.data import DataLoader

from slotlab.framework.contracts import BatchedDataset, Counting, DataError, DataProblem, RawBatch, Sample
from slotlab.framework.data.preparation import count_labels
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import COUNTINGS
from slotlab.framework.data.store.reader import Store
from slotlab.framework.spec.data import FilterSpec
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

_GROUP = 16
"""The number of pictures that a process reads between two reports."""


class PreparedImage(NamedTuple):
    """One sample as the model sees it."""

    sample: Sample
    counts: Mapping[str, int | None]
    """The number of objects by each `Counting`; None where the data does not say."""
    size: tuple[int, int] | None
    """Columns and rows before preparation; None if unknown."""


class Items(Protocol):
    """Images that can be read in groups."""

    def read(self, indices: Sequence[int]) -> list[PreparedImage]:
        """Return the images at `indices`.

        Raises:
            DataError: if one of them cannot be read.
        """


@dataclass(frozen=True)
class FileItems:
    """The images of a dataset, prepared by the protocol."""

    source: Source

    def read(self, indices: Sequence[int]) -> list[PreparedImage]:
        """Return the images at `indices`; raises DataError if one of them cannot be read."""
        dataset = self.source.dataset
        if self.source.preparation is None and isinstance(dataset, BatchedDataset):
            return list(map(self._prepare, _apart(dataset.batch(indices, torch.device("cpu")))))
        return [self._prepare(dataset[index]) for index in indices]

    def _prepare(self, raw: Sample) -> PreparedImage:
        prepared = self.source.prepare(raw)
        return PreparedImage(
            prepared.sample, prepared.counts, (raw.image_CHW.shape[2], raw.image_CHW.shape[1])
        )


def _apart(batch: RawBatch) -> Iterator[Sample]:
    for place, name in enumerate(batch.ids):
        mask_HW = None if batch.masks_BHW is None else batch.masks_BHW[place]
        image_CHW, facts = batch.images_BCHW[place], batch.attributes[place]
        yield Sample(id=name, image_CHW=image_CHW, mask_HW=mask_HW, attributes=facts)


@dataclass(frozen=True)
class StoreItems:
    """The images of a packed store."""

    store: Store

    def read(self, indices: Sequence[int]) -> list[PreparedImage]:
        """Return the images at `indices`; raises DataError if one of them could not be packed."""
        return [PreparedImage(self.store[index], self._counts(index), None) for index in indices]

    def _counts(self, index: int) -> dict[str, int | None]:
        known = {str(counting): int(self.store.counts(counting)[index]) for counting in COUNTINGS}
        return {counting: number if number >= 0 else None for counting, number in known.items()}


class ImageStatistics(NamedTuple):
    """The statistics of one image after preparation."""

    counts: Mapping[str, int | None]
    size: tuple[int, int] | None
    labels: int | None
    """Number of labels in its mask, including the background, without void; None without a mask."""
    pixels: int
    sums: tuple[int, ...]
    """The sum of the values (0 to 255) of each channel."""
    squares: tuple[int, ...]
    """The sum of their squares."""
    digest: bytes
    """A hash of the pixels and the mask."""
    id: str = ""


@dataclass(frozen=True)
class _Measuring:
    """A torch dataset whose items are groups of images; for a broken image it returns the problems."""

    items: Items

    def __getitem__(self, group: Sequence[int]) -> list[ImageStatistics | tuple[DataProblem, ...]]:
        try:
            return [measure(image) for image in self.items.read(group)]
        except Exception as error:  # a mistake in the dataset itself is reported like a broken image
            if len(group) > 1:
                return [found for index in group for found in self[[index]]]
            unknown = DataProblem(f"picture {group[0]}", f"cannot be read: {describe(error)}")
            return [tuple(error.problems) if isinstance(error, DataError) else (unknown,)]


def measure(image: PreparedImage) -> ImageStatistics:
    """Return the statistics of an image."""
    image_CHW = np.ascontiguousarray(image.sample.image_CHW.numpy())
    wide_CN = image_CHW.reshape(len(image_CHW), -1).astype(np.int64)
    digest = hashlib.blake2b(repr(image_CHW.shape).encode(), digest_size=16)
    digest.update(image_CHW.tobytes())
    mask_HW = image.sample.mask_HW
    if mask_HW is not None:
        digest.update(mask_HW.numpy().astype("<i4").tobytes())
    return ImageStatistics(
        counts=image.counts,
        size=image.size,
        labels=None if mask_HW is None else count_labels(mask_HW) + 1,
        pixels=wide_CN.shape[1],
        sums=tuple(wide_CN.sum(1).tolist()),
        squares=tuple((wide_CN**2).sum(1).tolist()),
        digest=digest.digest(),
        id=image.sample.id,
    )


def read_all(items: Items, positions: Sequence[int], workers: int, report: ReportItems) -> "Readings":
    """Read the images at `positions`, in that order, and return their statistics and problems.

    Args:
        items: the images.
        positions: the images to read.
        workers: the number of processes that read; 0 reads in this one.
        report: receives the number of images read so far, and of all.
    """
    loader: DataLoader[Any] = DataLoader(
        _Measuring(items),  # type: ignore[arg-type]
        batch_size=None,
        sampler=[list(positions[start : start + _GROUP]) for start in range(0, len(positions), _GROUP)],
        num_workers=min(workers, len(positions) // _GROUP),
        collate_fn=list,
        generator=Generator(),
    )
    readings, ids = Readings(), Ids("the data")
    for found in (found for group in loader for found in group):
        position = positions[len(readings.measured) + len(readings.bad)]
        if isinstance(found, ImageStatistics):
            readings.measured[position] = found
            try:
                ids.add([(position, found.id)])
            except SlotlabError as error:
                readings.twice.append(DataProblem(found.id, str(error)))
        else:
            readings.bad[position] = found
        report(len(readings.measured) + len(readings.bad), len(positions))
    return readings


@dataclass(frozen=True)
class Readings:
    """The statistics of the images that were read, and the problems of the others, by position."""

    measured: dict[int, ImageStatistics] = field(default_factory=dict)
    bad: dict[int, tuple[DataProblem, ...]] = field(default_factory=dict)
    twice: list[DataProblem] = field(default_factory=list)
    """Images that have the id of another one."""

    def keep(self, positions: Iterable[int], wanted: FilterSpec | None) -> list[int]:
        """Return the positions that a filter keeps, and those of broken images, whose objects are unknown."""
        return [at for at in positions if at in self.bad or self._allowed(self.measured[at], wanted)]

    def tells(self, counting: Counting) -> bool:
        """Return whether the number of objects by `counting` is known for every image that was read."""
        return all(found.counts[counting] is not None for found in self.measured.values())

    def _allowed(self, found: ImageStatistics, wanted: FilterSpec | None) -> bool:
        number = None if wanted is None else found.counts[wanted.count]
        return wanted is None or (number is not None and wanted.allows(number))

    def summary(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return statistics over the images at `positions` as JSON data."""
        good = [self.measured[at] for at in positions if at in self.measured]
        digest = hashlib.blake2b(digest_size=16)
        for at in positions:
            digest.update(self.measured[at].digest if at in self.measured else b"broken")
        return {
            "images": len(positions),
            "broken": len(positions) - len(good),
            "objects": {
                counting: _histogram(found.counts[counting] for found in good) for counting in COUNTINGS
            },
            "sizes": dict(Counter("{}x{}".format(*found.size) for found in good if found.size).most_common()),
            "most_labels": max((found.labels for found in good if found.labels is not None), default=None),
            **_statistics(good),
            "checksum": digest.hexdigest(),
        }


def _histogram(numbers: Iterable[int | None]) -> dict[str, int]:
    found = Counter(numbers)
    order = sorted(found, key=lambda number: (number is None, number or 0))
    return {"unknown" if number is None else str(number): found[number] for number in order}


def _statistics(good: Sequence[ImageStatistics]) -> dict[str, Any]:
    """Return mean and standard deviation of each channel, for values from 0 to 1."""
    if not good:
        return {"mean": None, "deviation": None}
    pixels = sum(found.pixels for found in good)
    sums = [sum(values) for values in zip(*(found.sums for found in good), strict=True)]
    squares = [sum(values) for values in zip(*(found.squares for found in good), strict=True)]
    # Whole numbers over one denominator: the difference of two nearly equal numbers stays exact.
    spreads = [pixels * square - total**2 for total, square in zip(sums, squares, strict=True)]
    return {
        "mean": [total / (255 * pixels) for total in sums],
        "deviation": [spread**0.5 / (255 * pixels) for spread in spreads],
    }
