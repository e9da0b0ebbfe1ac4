"""The samples of one split that a spec's filter keeps, read from a packed store or from files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from slotlab.framework.contracts import BatchedDataset, DataError, DataProblem, Dataset, RawBatch, Sample
from slotlab.framework.data.mask_check import mask_cautions
from slotlab.framework.data.source import Source, open_source, own_splits
from slotlab.framework.data.store.reader import Stale, Store, find_store
from slotlab.framework.spec.data import DataSpec, FilterSpec
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.cache import stores_folder

SKIP_HINT = "mend the files, or leave them out with data.on_error: skip"
PACK_HINT = "pack it with 'slotlab data pack'"
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Selection:
    """A dataset of some of another's samples."""

    base: Dataset
    positions: Sequence[int]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was selected, for a run's provenance: JSON data."""
    notes: Sequence[str] = ()
    """What the user should know: warnings in words."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.positions)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` of the selection."""
        return self.base[self.positions[index]]

    @property
    def endless(self) -> bool:
        """Whether every epoch shows new samples, at positions past the end."""
        return bool(getattr(self.base, "endless", False))


class BatchedSelection(Selection):
    """A selection of a dataset that gives whole batches."""

    base: BatchedDataset

    def at_a_time(self, device: torch.device) -> int:
        """Return how many samples the dataset would rather make together."""
        wanted: Any = getattr(self.base, "at_a_time", None)
        return 1 if wanted is None else int(wanted(device))

    def batch(self, indices: Sequence[int], device: torch.device, *, masks: bool = True) -> RawBatch:
        """Return the samples at `indices` of the selection, together."""
        if not self.endless:
            indices = [self.positions[index] for index in indices]
        return self.base.batch(indices, device, masks=masks)


@dataclass(frozen=True)
class FileSamples:
    """The samples of a source, each read and prepared when it is asked for."""

    source: Source

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Return sample `index` as the model sees it."""
        return self.source.item(index).sample


def select(
    data: DataSpec, split: str, *, device: torch.device | None = None, slots: int | None = None
) -> Selection:
    """Open a spec's data and take one split of it.

    Args:
        data: the spec's.
        split: by its name.
        device: where a store may be held whole, as `data.resident` says; None holds none.
        slots: of the model that will be scored on the masks, a few of which are looked at then; None
            looks at none.

    Raises:
        PathProblem: if the data is not there, nothing is left of it, or a store that is
            required is not there.
        DataError: for broken files, unless the spec says to skip them.
    """
    source = open_source(data, split)
    store, notes = open_store(source, data)
    if data.on_error == "fail":
        refuse(source.problems)
    base: Dataset = source.dataset if source.preparation is None else FileSamples(source)
    positions = choose(data, split, source, store)
    bad = find_bad(data, source, store, positions)
    kept = positions if not bad else [position for position in positions if position not in bad]
    skipped = [str(problem) for problem in (*left_out(data, split, source), *bad.values())]
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
    return make(base, kept, facts, (*getattr(source.dataset, "cautions", ()), *notes))


def open_store(source: Source, data: DataSpec) -> tuple[Store | None, list[str]]:
    """Return the packed store of a source, if there is a fresh one, and what to tell the user."""
    if data.store == "off" or getattr(source.dataset, "endless", False):
        return None, []
    found = find_store(source, stores_folder(data.stores))
    if isinstance(found, Store):
        return found, []
    stale = f"{found.path} was packed from another state of the files" if isinstance(found, Stale) else ""
    if data.store == "required":
        reason = stale or f"there is no packed store of {source.name} in {stores_folder(data.stores)}"
        raise PathProblem(("data", "store"), f"{reason}; {PACK_HINT}, or write 'store: auto' to read files")
    return None, [f"{stale}: reading the files; {PACK_HINT} again"] if stale else []


def choose(data: DataSpec, split: str, source: Source, store: Store | None) -> Sequence[int]:
    """Return the positions of a split's samples in the source, those that the filter keeps.

    Raises:
        PathProblem: if there are none, or the filter does not apply.
        DataError: if the filter comes before the splits, and the objects of some items cannot be counted.
    """
    if data.filter is not None and source.preparation is None:
        text = f"'{source.name}' makes pictures with as many objects as its own settings say; set those"
        raise PathProblem(("data", "filter"), text)

    if data.filter is None:
        return source.within(nonempty(data, split, source, source.listed))
    count = cache(counter(source, store, data.filter))
    if not data.settings.filter_first:
        own = source.within(nonempty(data, split, source, source.listed))
        return filtered(data.filter, own, count, split) if own else own
    check_countable(data, split, source, count)
    kept = filtered(data.filter, range(len(source)), count, split)
    return [kept[position] for position in nonempty(data, split, source, len(kept))]


def part_of(data: DataSpec, split: str, total: int) -> range:
    """Return the positions of a split among `total` items: all, for data that the protocol does not split."""
    unsplit = own_splits(data) is not None or getattr(data.dataset.config, "unsplit", False)
    return range(total) if unsplit or split not in data.settings.splits else data.settings.part(split, total)


def nonempty(data: DataSpec, split: str, source: Source, total: int) -> range:
    """Return the same.

    Raises:
        PathProblem: if there are none.
        DataError: if nobody can tell how many items there are, and so which are the split's.
    """
    found = part_of(data, split, total)
    if getattr(source.dataset, "listed", total) is None and found != range(total):
        text = "nobody can tell how many pictures these held, and so to which split the others belong"
        raise DataError(*source.problems[:_SHOWN], hint=f"{text}; mend the files")
    if not found:
        low, high = data.settings.splits.get(split, (0.0, 1.0))
        text = f"split '{split}' is empty: it goes from {low} up to {high} of {total} pictures"
        raise PathProblem(("data", "dataset"), f"{source.name}: {text}")
    return found


def left_out(data: DataSpec, split: str, source: Source) -> list[DataProblem]:
    """Return the problems of items of a split; those of which nobody can tell belong to every split."""
    if data.filter is not None and data.settings.filter_first:
        return list(source.problems)
    part = part_of(data, split, source.listed)
    return [problem for problem in source.problems if problem.place is None or problem.place in part]


def check_countable(data: DataSpec, split: str, source: Source, count: Callable[[int], int | None]) -> None:
    """Refuse to filter before the splits where the filter cannot tell of some item: others would move.

    Raises:
        DataError: with what cannot be counted.
    """
    if part_of(data, split, 100) == range(100):  # all of it: nothing can move
        return
    problems = list(source.problems)
    for position in range(len(source)):
        try:
            count(position)
        except DataError as error:
            problems += error.problems
    if problems:
        text = f"protocol {data.protocol.name} filters by the number of objects before it takes splits, and"
        hint = f"{text} theirs cannot be counted: other pictures would change their split. Mend the files"
        raise DataError(*problems[:_SHOWN], hint=hint)


def counter(source: Source, store: Store | None, wanted: FilterSpec) -> Callable[[int], int | None]:
    """Return how many objects the sample at a position has; None where the data cannot tell."""
    if store is None:
        return lambda position: source.count(position, wanted.count)
    known, bad = store.counts(wanted.count), store.bad

    def count(position: int) -> int | None:
        if position in bad:
            raise DataError(bad[position])
        return int(known[position]) if known[position] >= 0 else None

    return count


def filtered(
    wanted: FilterSpec, positions: Iterable[int], count: Callable[[int], int | None], split: str
) -> list[int]:
    """Return the positions whose number of objects the filter allows; broken ones stay for later.

    Raises:
        PathProblem: if none is left, or the data cannot tell the number.
    """
    kept, numbers = [], []
    for position in positions:
        try:
            number = count(position)
        except DataError:
            kept.append(position)
            continue
        if number is None:
            text = f"the data does not tell the number of objects by '{wanted.count}'; count another way"
            raise PathProblem(("data", "filter", "count"), text)
        numbers.append(number)
        if wanted.allows(number):
            kept.append(position)
    if not kept:
        text = (
            f"none of the {len(numbers)} pictures of split '{split}' has {wanted}; "
            f"they have {min(numbers)} to {max(numbers)}"
        )
        raise PathProblem(("data", "filter"), text)
    return kept


def find_bad(
    data: DataSpec, source: Source, store: Store | None, positions: Sequence[int]
) -> dict[int, DataProblem]:
    """Return the broken samples among `positions`, by position; files are read for it only to skip them."""
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
    """Raise all problems as one error, unless there are none."""
    if problems:
        rest = len(problems) - _SHOWN
        more = f"{rest} more problems ('slotlab data inspect' lists all); " if rest > 0 else ""
        raise DataError(*problems[:_SHOWN], hint=more + SKIP_HINT)


def place(store: Store, data: DataSpec, device: torch.device | None) -> Store:
    """Hold the store in the device's memory, if the spec says so or it is a GPU with room for it."""
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
    """Return what is read, under which names, as JSON data."""
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
