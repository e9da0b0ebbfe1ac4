"""Pictures reduced to numbers: each read once, by several processes, and none kept.

Sums are of whole numbers, so that results do not depend on the order or the number of processes.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Generator
from torch.utils.data import DataLoader

from slotlab.framework.contracts import BatchedDataset, Counting, DataError, DataProblem, RawBatch, Sample
from slotlab.framework.data.preparation import count_labels
from slotlab.framework.data.sample_ids import Ids
from slotlab.framework.data.source import Source
from slotlab.framework.data.store.format import COUNTINGS
from slotlab.framework.data.store.reader import Store
from slotlab.framework.spec.data import FilterSpec
from slotlab.registry import SlotlabError
from slotlab.registry.errors import describe

Report = Callable[[int, int], None]
"""Told how many pictures are read, and how many there are."""
_GROUP = 16
"""Pictures that a process reads between two messages."""


class Look(NamedTuple):
    """One picture as the model sees it."""

    sample: Sample
    counts: Mapping[str, int | None]
    """Objects, by `Counting`."""
    size: tuple[int, int] | None
    """Columns and rows before it was prepared; None where that is not known."""


class Items(Protocol):
    """Pictures to look at."""

    def look(self, indices: Sequence[int]) -> list[Look]:
        """Read some pictures; raises DataError if one of them cannot be."""


@dataclass(frozen=True)
class FileItems:
    """Pictures as a dataset gives them, prepared by a protocol."""

    source: Source

    def look(self, indices: Sequence[int]) -> list[Look]:
        """Read some pictures; raises DataError if one of them cannot be."""
        dataset = self.source.dataset
        if self.source.preparation is None and isinstance(dataset, BatchedDataset):
            return list(map(self._prepare, _apart(dataset.batch(indices, torch.device("cpu")))))
        return [self._prepare(dataset[index]) for index in indices]

    def _prepare(self, raw: Sample) -> Look:
        prepared = self.source.prepare(raw)
        return Look(prepared.sample, prepared.counts, (raw.image_CHW.shape[2], raw.image_CHW.shape[1]))


def _apart(batch: RawBatch) -> Iterator[Sample]:
    for place, name in enumerate(batch.ids):
        mask_HW = None if batch.masks_BHW is None else batch.masks_BHW[place]
        image_CHW, facts = batch.images_BCHW[place], batch.attributes[place]
        yield Sample(id=name, image_CHW=image_CHW, mask_HW=mask_HW, attributes=facts)


@dataclass(frozen=True)
class StoreItems:
    """Pictures as they were packed."""

    store: Store

    def look(self, indices: Sequence[int]) -> list[Look]:
        """Read some pictures; raises DataError if one of them could not be packed."""
        return [Look(self.store[index], self._counts(index), None) for index in indices]

    def _counts(self, index: int) -> dict[str, int | None]:
        known = {str(counting): int(self.store.counts(counting)[index]) for counting in COUNTINGS}
        return {counting: number if number >= 0 else None for counting, number in known.items()}


class Measured(NamedTuple):
    """The numbers of one picture."""

    counts: Mapping[str, int | None]
    size: tuple[int, int] | None
    labels: int | None
    """Values in its mask, the ground's included, void not."""
    pixels: int
    sums: tuple[int, ...]
    """Of the values 0 to 255, by channel."""
    squares: tuple[int, ...]
    digest: bytes
    """Of the prepared pixels and mask."""
    id: str = ""


@dataclass(frozen=True)
class _Measuring:
    """A dataset, in torch's sense, of groups of pictures; broken ones give their problems."""

    items: Items

    def __getitem__(self, group: Sequence[int]) -> list[Measured | tuple[DataProblem, ...]]:
        try:
            return [measure(look) for look in self.items.look(group)]
        except Exception as error:  # also a dataset's own mistake is to be found, not to end the search
            if len(group) > 1:
                return [found for index in group for found in self[[index]]]
            unknown = DataProblem(f"picture {group[0]}", f"cannot be read: {describe(error)}")
            return [tuple(error.problems) if isinstance(error, DataError) else (unknown,)]


def measure(look: Look) -> Measured:
    """Reduce a picture to numbers."""
    image_CHW = np.ascontiguousarray(look.sample.image_CHW.numpy())
    wide_CN = image_CHW.reshape(len(image_CHW), -1).astype(np.int64)
    digest = hashlib.blake2b(repr(image_CHW.shape).encode(), digest_size=16)
    digest.update(image_CHW.tobytes())
    mask_HW = look.sample.mask_HW
    if mask_HW is not None:
        digest.update(mask_HW.numpy().astype("<i4").tobytes())
    return Measured(
        counts=look.counts,
        size=look.size,
        labels=None if mask_HW is None else count_labels(mask_HW) + 1,
        pixels=wide_CN.shape[1],
        sums=tuple(wide_CN.sum(1).tolist()),
        squares=tuple((wide_CN**2).sum(1).tolist()),
        digest=digest.digest(),
        id=look.sample.id,
    )


def read_all(items: Items, positions: Sequence[int], workers: int, report: Report) -> "Readings":
    """Measure the pictures at `positions`, in that order; at most a few are in memory at a time."""
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
        if isinstance(found, Measured):
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
    """What was measured, and what could not be read, by position."""

    measured: dict[int, Measured] = field(default_factory=dict)
    bad: dict[int, tuple[DataProblem, ...]] = field(default_factory=dict)
    twice: list[DataProblem] = field(default_factory=list)
    """Pictures that have the id of another one."""

    def keep(self, positions: Iterable[int], wanted: FilterSpec | None) -> list[int]:
        """Return the positions that a filter keeps; broken pictures stay, as nobody can tell."""
        return [at for at in positions if at in self.bad or self._allowed(self.measured[at], wanted)]

    def tells(self, counting: Counting) -> bool:
        """Return whether the number of objects by `counting` is known of all that could be read."""
        return all(found.counts[counting] is not None for found in self.measured.values())

    def _allowed(self, found: Measured, wanted: FilterSpec | None) -> bool:
        number = None if wanted is None else found.counts[wanted.count]
        return wanted is None or (number is not None and wanted.allows(number))

    def summary(self, positions: Sequence[int]) -> dict[str, Any]:
        """Return the facts of some pictures as JSON data."""
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


def _statistics(good: Sequence[Measured]) -> dict[str, Any]:
    """Return mean and deviation of each channel, of values from 0 to 1."""
    if not good:
        return {"mean": None, "deviation": None}
    pixels = sum(found.pixels for found in good)
    sums = [sum(values) for values in zip(*(found.sums for found in good), strict=True)]
    squares = [sum(values) for values in zip(*(found.squares for found in good), strict=True)]
    # Over one denominator before any rounding: the difference of two near numbers stays exact.
    spreads = [pixels * square - total**2 for total, square in zip(sums, squares, strict=True)]
    return {
        "mean": [total / (255 * pixels) for total in sums],
        "deviation": [spread**0.5 / (255 * pixels) for spread in spreads],
    }
