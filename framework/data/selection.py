"""The samples of one split that a spec's filter keeps, read from a packed store or from files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from slotlab.framework.contracts import BatchedDataset, DataError, DataProblem, Dataset, RawBatch, Sample
from slotlab.framework.data.mask_check import mask_cautions
from slotlab.framework.data.read_capabilities import cautions_of, is_endless, samples_at_a_time
from slotlab.framework.data.resizing import Window
from slotlab.framework.data.source import Source, open_source
from slotlab.framework.data.split_positions import SHOWN, left_out, positions_of
from slotlab.framework.data.store.features import FeatureStore
from slotlab.framework.data.store.reader import Stale, Store, find_store
from slotlab.framework.spec.data import DataSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cache import stores_folder

SKIP_HINT = "mend the files, or leave them out with data.on_error: skip"
PACK_HINT = "pack it with 'slotlab data pack'"
Placeable = TypeVar("Placeable", Store, FeatureStore)
"""A store of any kind."""


@dataclass(frozen=True, eq=False)
class Selection:
    """A dataset that consists of some samples of another one."""

    base: Dataset
    positions: Sequence[int]
    """The position in `base` of each sample."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was selected, for a run's provenance: JSON data."""
    notes: Sequence[str] = ()
    """Warnings for the user, each a sentence."""
    source: Source | None = None
    """Where `base` and its positions come from; None for a dataset without a spec."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.positions)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` of the selection."""
        return self.base[self.positions[index]]

    def at(self, index: int, window: Window) -> Sample:
        """Return sample `index`, of which a window is cut out, for a selection of files."""
        assert isinstance(self.base, FileSamples)
        return self.base.at(self.positions[index], window)

    @property
    def endless(self) -> bool:
        """Whether positions past the end give further samples, so that every epoch shows new ones."""
        return is_endless(self.base)


class BatchedSelection(Selection):
    """A selection of a dataset that gives whole batches."""

    base: BatchedDataset

    def at_a_time(self, device: torch.device) -> int:
        """Return how many samples are best made in one call on `device`."""
        return samples_at_a_time(self.base, device)

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the samples at `indices` of the selection as one batch on `device`."""
        if not self.endless:
            indices = [self.positions[index] for index in indices]
        return self.base.batch(indices, device, masks=masks)


@dataclass(frozen=True)
class FileSamples:
    """The samples of a source, each read and prepared on access."""

    source: Source

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` as the model sees it."""
        return self.source.item(index).sample

    def at(self, index: int, window: Window) -> Sample:
        """Return sample `index` as the model sees it, if the protocol cuts this window out of it."""
        return self.source.item(index, window).sample


def select(
    data: DataSpec, split: str, *, device: torch.device | None = None, slots: int | None = None
) -> Selection:
    """Open a spec's data and select the samples of one split.

    Args:
        data: the section `data` of the spec.
        split: the name of the split.
        device: where a store may be held in memory, as `data.resident` says; None leaves it on the disk.
        slots: the number of slots of the model that is scored on the masks, a few of which are then checked
            (see `mask_check`); None checks none.

    Raises:
        PathProblem: if the data or a required store is missing, or no sample is left.
        DataError: for broken files, unless the spec says to skip them.
    """
    source = open_source(data, split)
    store, notes = open_store(source, data)
    if data.on_error == "fail":
        refuse(source.problems)
    base: Dataset = source.dataset if source.preparation is None else FileSamples(source)
    positions = positions_of(data, split, source, store)
    bad = find_bad(data, source, store, positions)
    kept = positions if not bad else [position for position in positions if position not in bad]
    skipped = list(dict.fromkeys(map(str, (*left_out(data, split, source), *bad.values()))))
    facts = describe(data, split, source, store, images=len(kept)) | {"skipped": skipped}
    if not kept:
        raise PathProblem(("data", "dataset"), f"{source.name}: no picture of split '{split}' can be read")
    if skipped:
        notes = [*notes, f"split '{split}': {len(skipped)} broken items are left out; see provenance.json"]
    if slots is not None:
        notes = [*notes, *mask_cautions(source, kept, data.dataset.config, slots)]
    if store is not None:
        base = place(store, data, device)
    make = BatchedSelection if isinstance(base, BatchedDataset) else Selection
    return make(base, kept, facts, (*cautions_of(source.dataset), *notes), source)


def open_store(source: Source, data: DataSpec) -> tuple[Store | None, list[str]]:
    """Return the packed store of a source, or None if there is no current one, and warnings for the user.

    Raises:
        PathProblem: if the spec requires a store and there is none.
        StoreError: if the store is damaged.
    """
    if data.store == "off" or is_endless(source.dataset):
        return None, []
    found = find_store(source, stores_folder(data.stores))
    if isinstance(found, Store):
        return found, []
    stale = f"{found.path} was packed from another state of the files" if isinstance(found, Stale) else ""
    if data.store == "required":
        reason = stale or f"there is no packed store of {source.name} in {stores_folder(data.stores)}"
        raise PathProblem(("data", "store"), f"{reason}; {PACK_HINT}, or write 'store: auto' to read files")
    return None, [f"{stale}: reading the files; {PACK_HINT} again"] if stale else []


def find_bad(
    data: DataSpec, source: Source, store: Store | None, positions: Sequence[int]
) -> dict[int, DataProblem]:
    """Return the broken samples among `positions`, with their problems, by position.

    Files are read for this only if the spec says to skip broken ones; a store knows them.

    Raises:
        DataError: if the store has broken samples and the spec does not say to skip them.
    """
    bad: dict[int, DataProblem] = {}
    if store is not None:
        wanted = set(positions)
        bad = {position: problem for position, problem in store.bad.items() if position in wanted}
        if data.on_error == "fail":
            refuse(list(bad.values()))
    elif data.on_error == "skip" and source.preparation is not None:
        for position in positions:
            try:
                source.item(position)
            except DataError as error:
                bad[position] = error.problems[0]
    return bad


def refuse(problems: Sequence[DataProblem]) -> None:
    """Raise all problems as one DataError, unless there are none."""
    if problems:
        rest = len(problems) - SHOWN
        more = f"{rest} more problems ('slotlab data inspect' reads all); " if rest > 0 else ""
        raise DataError(*problems[:SHOWN], hint=more + SKIP_HINT)


def place(store: Placeable, data: DataSpec, device: torch.device | None) -> Placeable:
    """Return the store, in the device's memory if the spec says so or a GPU has room for twice its size."""
    if device is None or data.resident == "no":
        return store
    if data.resident == "auto":
        if device.type != "cuda":
            return store
        free, _ = torch.cuda.mem_get_info(device)
        if store.bytes > free / 2:
            return store
    return store.resident(device)


def describe(
    data: DataSpec, split: str, source: Source, store: Store | None, *, images: int
) -> dict[str, Any]:
    """Return what is read, and with which settings, as JSON data for a run's provenance."""
    return {
        "dataset": source.name,
        "split": split,
        "protocol": data.protocol_name,
        "filter": None if data.filter is None else str(data.filter),
        "images": images,
        "listed": len(source),
        "store": None if store is None else {"path": str(store.path), "checksum": store.checksum},
        "fingerprint": source.content,
        "settings": source.identity["settings"],
        "seed": source.seed,
    }
