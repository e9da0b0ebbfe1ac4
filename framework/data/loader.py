"""Load a dataset's samples as batches on a device, in an order that the seed determines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from slotlab.framework.contracts import Batch, BatchedDataset, Dataset, Field, RawBatch, Sample, Size
from slotlab.framework.data.augmentation import Augment, Windows
from slotlab.framework.data.clips import Clips
from slotlab.framework.data.collation import check_samples, collate, split
from slotlab.framework.data.fields import Fields, source_of, stacked
from slotlab.framework.data.pixels import normalize
from slotlab.framework.data.read_capabilities import is_endless, samples_at_a_time
from slotlab.framework.data.resizing import Window
from slotlab.framework.data.sample_checks import check_raw_batch, naming
from slotlab.framework.data.selection import Selection
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.randomness.seeds import permutation
from slotlab.registry import SlotlabError


@dataclass(frozen=True)
class _Carried:
    """A torch dataset that returns errors as values, so that they leave a worker process unchanged."""

    dataset: Dataset
    name: str | None

    def __getitem__(self, wanted: int | tuple[int, Window]) -> Sample | SlotlabError:
        try:
            with naming(self.name):
                if isinstance(wanted, int):
                    return self.dataset[wanted]
                assert isinstance(self.dataset, Selection)
                return self.dataset.at(*wanted)
        except SlotlabError as error:
            return error


@dataclass(frozen=True)
class Loader:
    """Batches of one dataset on one device."""

    dataset: Dataset
    batch_size: int
    device: torch.device
    bounds: tuple[float, float]
    workers: int = 0
    masks: bool = True
    """Whether batches have the true masks, which training does not need."""
    mask_size: Size | None = None
    """(rows, columns) of the masks; None for those of the images."""
    features: FeatureStore | None = None
    """Stored features of all samples of the selection's base; None leaves them to the encoder."""
    targets: FeatureStore | None = None
    """Stored targets of the same; None leaves them to the objective."""
    slots: FeatureStore | None = None
    """Stored slots of every clip of `clips`; None leaves them to the model."""
    fields: Sequence[Field] = ()
    """What else is read of each picture, for losses (`with_fields`)."""
    field_stores: Mapping[Field, FeatureStore] = field(default_factory=dict)
    """Stored fields of all samples of the selection's base; the others are read from the dataset."""
    augment: Augment | None = None
    """Augmentation of the images; None for none."""
    clips: Clips | None = None
    """Which samples make up a clip; None for single pictures."""
    windows: Windows | None = None
    """What is cut out of each picture when it is read; None for the center."""
    memory_format: torch.memory_format = torch.contiguous_format
    """The memory format of the images."""
    rank: int = 0
    """The number of this process, from 0, among those that train together."""
    processes: int = 1
    """The number of processes that train together: each reads its share of every batch."""

    @property
    def selection(self) -> Selection:
        """The dataset as a selection: all of it, if it is not one already."""
        dataset = self.dataset
        return dataset if isinstance(dataset, Selection) else Selection(dataset, range(len(dataset)))

    @property
    def total(self) -> int:
        """The number of pictures, or of clips, in an epoch."""
        return len(self.dataset) if self.clips is None else len(self.clips)

    def order(self, *, seed: int, epoch: int) -> list[int]:
        """Return the positions of an epoch's pictures, or clips, in the order in which it visits them.

        It depends on the seed and the number of the epoch alone. An endless dataset shows new samples in
        every epoch.
        """
        past = epoch * self.total if is_endless(self.dataset) else 0
        return [past + position for position in permutation(self.total, seed=seed, epoch=epoch)]

    def epoch(self, order: Sequence[int] | None = None, *, epoch: int = 0, skip: int = 0) -> Iterator[Batch]:
        """Yield batches of the pictures, or clips, in `order`; the last batch may be smaller.

        Args:
            order: their positions; None for all of them in their order.
            epoch: the number of the epoch, on which augmentation depends.
            skip: the number of batches at the start to leave out, to resume a training mid-epoch.
        """
        indices = range(self.total) if order is None else order
        size = self.batch_size
        starts = range(skip * size, len(indices), size)
        groups = [list(indices[start : start + size]) for start in starts]
        # A process without a share of a small last batch takes part with an image whose share is 0.
        shares = [group[self.rank :: self.processes] or group[:1] for group in groups]
        for group, share, (read, raw, fields) in zip(groups, shares, self._raw(shares, epoch), strict=True):
            part = len(share) / len(group) if len(group) > self.rank else 0.0
            yield self._batch(raw, fields, read, part)

    def share(self, positions: Sequence[int]) -> Iterator[tuple[Sequence[int], Batch]]:
        """Yield this process's share of what is at `positions`, as (positions, batch).

        Clips of one batch have one length.
        """
        own = positions[self.rank :: self.processes]
        groups = [
            alike[start : start + self.batch_size]
            for _, found in groupby(own, self.length)
            for alike in [list(found)]
            for start in range(0, len(alike), self.batch_size)
        ]
        for group, (read, raw, fields) in zip(groups, self._raw(groups), strict=True):
            yield group, self._batch(raw, fields, read, 1.0)

    def count(self, limit: int | None) -> int:
        """Return the number of pictures, or clips, or `limit` if that is less."""
        return self.total if limit is None else min(limit, self.total)

    def length(self, number: int) -> int:
        """Return how many frames the clip at a position has; 1 for a picture."""
        return 1 if self.clips is None else len(self.clips.frames(number))

    def _reading(self, numbers: Sequence[int], epoch: int) -> "_Reading":
        """Return which samples are read for the pictures, or clips, at some positions."""
        if self.clips is None:
            return _Reading(list(numbers), list(numbers), 1, epoch)
        clips = [self.clips.frames(number, epoch) for number in numbers]
        frames = len(clips[0])
        samples = [place for clip in clips for place in clip]
        return _Reading(samples, [number for number in numbers for _ in range(frames)], frames, epoch)

    def _raw(
        self, groups: list[list[int]], epoch: int = 0
    ) -> Iterator[tuple["_Reading", RawBatch, Mapping[Field, Tensor]]]:
        readings = [self._reading(group, epoch) for group in groups]
        yield from zip(readings, self._read(readings), self._read_fields(readings), strict=True)

    def _read_fields(self, readings: "list[_Reading]") -> Iterator[Mapping[Field, Tensor]]:
        names = [name for name in self.fields if name not in self.field_stores]
        made = self._fields_of_dataset(names, readings) if names else ({} for _ in readings)
        places = self.selection.positions
        for read, found in zip(readings, made, strict=True):
            rows = [places[index] for index in read.samples]
            stored = {
                name: store.batch(rows, self.device).contiguous() for name, store in self.field_stores.items()
            }
            yield {**stored, **found}

    def _fields_of_dataset(
        self, names: Sequence[Field], readings: "list[_Reading]"
    ) -> Iterator[Mapping[Field, Tensor]]:
        selection = self.selection
        loader: DataLoader[Any] = DataLoader(
            Fields(source_of(selection, names), selection.positions, names),  # type: ignore[arg-type]
            batch_sampler=[self._wanted(read) for read in readings],
            num_workers=self.workers,
            collate_fn=list,
            generator=Generator(),
        )
        for read in loader:
            yield stacked(read, self.device)

    def _read(self, readings: "list[_Reading]") -> Iterator[RawBatch]:
        if isinstance(self.dataset, BatchedDataset):
            yield from self._from_batches(self.dataset, [read.samples for read in readings])
            return
        loader: DataLoader[Sample] = DataLoader(
            _Carried(self.dataset, self.source_name),  # type: ignore[arg-type]
            batch_sampler=[self._wanted(read) for read in readings],
            num_workers=self.workers,
            collate_fn=list,
            generator=Generator(),  # else each epoch would draw from torch's global generator
        )
        masked: bool | None = None
        for samples in loader:
            for sample in samples:
                if isinstance(sample, SlotlabError):
                    raise sample
            with naming(self.source_name):
                masked = check_samples(samples, masked, self.mask_size)
            yield collate(samples, self.device)

    def _wanted(self, read: "_Reading") -> list[Any]:
        """Return what is asked of the dataset for each sample: its position, or that and a window."""
        if self.windows is None:
            return read.samples
        return list(zip(read.samples, self.windows(read.draws, read.epoch), strict=True))

    @property
    def source_name(self) -> str | None:
        """The dataset component's name; None for a dataset without a spec."""
        name: str | None = self.selection.facts.get("dataset")
        return name

    def _from_batches(self, dataset: BatchedDataset, groups: list[list[int]]) -> Iterator[RawBatch]:
        # A dataset may be fastest when it makes several batches in one call.
        most = max(map(len, groups), default=1)
        step = max(1, samples_at_a_time(dataset, self.device) // most)
        for start in range(0, len(groups), step):
            some = groups[start : start + step]
            together = [index for group in some for index in group]
            with naming(self.source_name):
                raw = dataset.batch(together, self.device, masks=self.masks)
                raw = check_raw_batch(raw, len(together), self.mask_size)
            yield from split(raw, [len(group) for group in some])

    def _batch(self, raw: RawBatch, fields: Mapping[Field, Tensor], read: "_Reading", share: float) -> Batch:
        images_BCHW = raw.images_BCHW
        masks_BHW = raw.masks_BHW if self.masks else None
        if self.augment is not None:
            images_BCHW = self.augment(images_BCHW, read.draws, read.epoch)
            if masks_BHW is not None:
                masks_BHW = self.augment.masks(masks_BHW, read.draws, read.epoch)
            fields = {
                name: self.augment.field(name, found_BCHW, read.draws, read.epoch)
                for name, found_BCHW in fields.items()
            }
        return Batch(
            images_BCHW=normalize(images_BCHW, self.bounds).contiguous(memory_format=self.memory_format),
            masks_BHW=None if masks_BHW is None else masks_BHW.to(torch.int64),
            ids=raw.ids[:: read.frames],
            attributes=raw.attributes,
            share=share,
            features_BCHW=self._stored(self.features, read),
            target_BCHW=self._stored(self.targets, read),
            slots_BKD=self._stored_slots(read),
            frames=read.frames,
            fields=fields,
        )

    def _stored(self, store: FeatureStore | None, read: "_Reading") -> Tensor | None:
        if store is None:
            return None
        places = self.selection.positions
        mirrored_B = None if self.augment is None else self.augment.mirrored(read.draws, read.epoch)
        return store.batch([places[index] for index in read.samples], self.device, mirrored_B)

    def _stored_slots(self, read: "_Reading") -> Tensor | None:
        if self.slots is None or self.clips is None:
            return None
        rows = [self.clips.row(number, read.epoch) for number in read.draws[:: read.frames]]
        slots_BDTK = self.slots.batch(rows, self.device)
        return slots_BDTK.permute(0, 2, 3, 1).flatten(0, 1)


@dataclass(frozen=True)
class _Reading:
    """What is read for one batch."""

    samples: list[int]
    """Positions in the dataset."""
    draws: list[int]
    """For each of them, the number that its augmentation is drawn for: frames of a clip have its number."""
    frames: int
    """How many samples a clip has; 1 for pictures."""
    epoch: int
