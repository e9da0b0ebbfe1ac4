"""The samples of a source that belong to a split and that a filter by the number of objects keeps.

Splits are parts of all items that the files tell of, including those that were left out, so that a broken or
missing file moves no other item into another split. In a dataset of videos the items are whole videos: no
video is in two splits. A filter comes after the splits, unless the protocol says `filter_first`.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

from slotlab.framework.contracts import DataError, DataProblem
from slotlab.framework.contracts.dataset_capabilities import HasVideos
from slotlab.framework.contracts.dataset_settings import is_unsplit
from slotlab.framework.data.read_capabilities import listed_of, offers
from slotlab.framework.data.source import Source, own_splits
from slotlab.framework.data.store.reader import Store
from slotlab.framework.spec.data import DataSpec, FilterSpec
from slotlab.framework.spec.errors import PathProblem

SHOWN = 20
"""The number of problems that an error lists."""

Keep = Callable[[Sequence[int]], Sequence[int]]
"""Returns those of some positions in a source that a filter keeps."""


def positions_of(data: DataSpec, split: str, source: Source, store: Store | None) -> Sequence[int]:
    """Return the positions in the source of a split's samples, without those that the filter drops.

    Raises:
        PathProblem: if there are none, or the filter does not apply.
        DataError: if the filter comes before the splits and the objects of some items cannot be counted, or
            if it is unknown how many items there are.
    """
    part = partial(nonempty_part, data, split, source)
    wanted = data.filter
    if wanted is None:
        return source.within(part(source.listed))
    if source.preparation is None:
        text = f"'{source.name}' makes pictures with as many objects as its own settings say; set those"
        raise PathProblem(("data", "filter"), text)
    count = cache(counter(source, store, wanted))
    if data.settings.filter_first:
        check_countable(data, split, source, count)
    return split_and_filter(
        data, source, part, lambda positions: filtered(wanted, positions, count, split) if positions else []
    )


def split_and_filter(
    data: DataSpec, source: Source, part: Callable[[int], range], keep: Keep
) -> Sequence[int]:
    """Return the positions of a split's samples that a filter keeps, in the protocol's order of the two.

    Args:
        data: the section `data` of the spec.
        source: the samples.
        part: returns the split's part of a number of items (see `part_of`).
        keep: applies the filter; it is not called if the spec has none.
    """
    if data.filter is None:
        return source.within(part(source.listed))
    if not data.settings.filter_first:
        return keep(source.within(part(source.listed)))
    kept, places = keep(range(len(source))), source.places
    items = sorted({places[position] for position in kept})
    chosen = {items[number] for number in part(len(items))}
    return [position for position in kept if places[position] in chosen]


def part_of(data: DataSpec, split: str, total: int) -> range:
    """Return the positions of a split among `total` items: all, for data that the protocol does not split."""
    unsplit = own_splits(data) is not None or is_unsplit(data.dataset.config)
    return range(total) if unsplit or split not in data.settings.splits else data.settings.part(split, total)


def nonempty_part(data: DataSpec, split: str, source: Source, total: int) -> range:
    """Return `part_of` for the items of a source.

    Raises:
        PathProblem: if the split is empty.
        DataError: if it is unknown how many items there are, and therefore which belong to the split.
    """
    found = part_of(data, split, total)
    if listed_of(source.dataset) is None and found != range(total):
        text = "nobody can tell how many pictures these held, and so to which split the others belong"
        raise DataError(*source.problems[:SHOWN], hint=f"{text}; mend the files")
    if not found:
        low, high = data.settings.splits.get(split, (0.0, 1.0))
        what = "videos" if offers(source.dataset, HasVideos) else "pictures"
        text = f"split '{split}' is empty: it goes from {low} up to {high} of {total} {what}"
        raise PathProblem(("data", "dataset"), f"{source.name}: {text}")
    return found


def left_out(data: DataSpec, split: str, source: Source) -> list[DataProblem]:
    """Return the problems of a split's items that were left out.

    Items of unknown position count in every split.
    """
    if data.filter is not None and data.settings.filter_first:
        return list(source.problems)
    part = part_of(data, split, source.listed)
    return [problem for problem in source.problems if problem.place is None or problem.place in part]


def check_countable(data: DataSpec, split: str, source: Source, count: Callable[[int], int | None]) -> None:
    """Refuse to filter before splitting if the objects of an item cannot be counted.

    Other pictures would change their split with it.

    Raises:
        DataError: with the items that cannot be counted.
    """
    if part_of(data, split, 100) == range(100):  # the split is everything: nothing can change its split
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
        raise DataError(*problems[:SHOWN], hint=hint)


def counter(source: Source, store: Store | None, wanted: FilterSpec) -> Callable[[int], int | None]:
    """Return a function that counts the objects of the sample at a position.

    It returns None where the data does not say, and raises DataError for a sample that is broken.
    """
    if store is None:
        return lambda position: source.count(position, wanted.count)
    known, bad = store.counts(wanted.count), store.bad

    def count(position: int) -> int | None:
        if position in bad:
            raise DataError(bad[position])
        return int(known[position]) if known[position] >= 0 else None

    return count


def filtered(
    wanted: FilterSpec, positions: Sequence[int], count: Callable[[int], int | None], split: str
) -> list[int]:
    """Return the positions whose number of objects the filter allows, and those of broken samples.

    Broken samples are reported, or left out, later.

    Raises:
        PathProblem: if none is left, or the data does not say how many objects there are.
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
