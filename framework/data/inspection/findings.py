"""The result of `slotlab data inspect` as JSON data: what data contains, and what is wrong with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slotlab.framework.contracts import DataProblem
from slotlab.framework.contracts.dataset_capabilities import HasVideos
from slotlab.framework.data.inspection.statistics import (
    FileItems,
    Items,
    Readings,
    StoreItems,
    read_all,
)
from slotlab.framework.data.inspection.target import DataTarget
from slotlab.framework.data.mask_check import mask_cautions
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.progress import ReportItems
from slotlab.framework.data.read_capabilities import cautions_of, is_endless, offers
from slotlab.framework.data.source import WHOLE, Source, known_splits, open_source, own_splits
from slotlab.framework.data.split_positions import left_out, part_of, split_and_filter
from slotlab.framework.data.store.reader import Store
from slotlab.framework.spec.data import DataSpec
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest


@dataclass(frozen=True)
class InspectedSplit:
    """The pictures of a split, or of a packed store."""

    name: str
    items: Items
    readable: Sequence[int]
    """The positions of those that could be read, in order."""
    summary: dict[str, Any]
    """Counts, sizes, colors and a checksum, as JSON data (see `Readings.summary`)."""


@dataclass(frozen=True)
class Inspection:
    """The result as JSON data, and the pictures behind it for a contact sheet."""

    result: dict[str, Any]
    parts: Sequence[InspectedSplit]


def inspect_target(target: DataTarget, split: str | None, *, workers: int, report: ReportItems) -> Inspection:
    """Read the splits of a spec or a folder, or one of them.

    Args:
        target: the data.
        split: the one split to read; None for those of the target.
        workers: the number of processes that read; 0 reads in this one.
        report: receives the progress within each source.

    Raises:
        SlotlabError: if there is no such split.
        PathProblem: if the data is missing.
    """
    data = target.data
    wanted = target.splits if split is None else (split,)
    _check_splits(data, wanted)
    own = own_splits(data) is not None
    groups = [(name,) for name in wanted] if own else [wanted]
    opened = [(open_source(data, names[0]), names) for names in groups]
    problems = [one for source, names in opened for name in names for one in left_out(data, name, source)]
    cautions = [text for source, _ in opened for text in cautions_of(source.dataset)]
    parts: list[InspectedSplit] = []
    for source, names in opened:
        needed = _needed(data, names, source)
        found = read_all(FileItems(source), needed, workers, report)
        cautions += mask_cautions(source, needed, data.dataset.config, target.slots)
        problems += [*_problems(found), *_uncounted(data, source, found)]
        parts += _inspect_splits(data, names, source, found)
    facts = {
        "name": target.name,
        "dataset": data.dataset.name,
        "protocol": data.protocol_name,
        "filter": None if data.filter is None else str(data.filter),
        "image_size": list(data.size),
        "listed": _listed(data, opened),
        **_listed_videos(data, opened),
    }
    return _conclude(facts, parts, problems, cautions)


def inspect_store(path: Path, *, workers: int, report: ReportItems) -> Inspection:
    """Read a packed store.

    Raises:
        StoreError: if `path` is not a packed store, or a damaged one.
    """
    store = Store.open(path)
    items, manifest = StoreItems(store), store.manifest
    found = read_all(items, range(len(store)), workers, report)
    summary = found.summary(range(len(store))) | {"fingerprint": manifest.fingerprint}
    facts = {
        "name": str(path),
        "dataset": manifest.name,
        "protocol": "as packed",
        "filter": None,
        "image_size": list(manifest.size),
        "listed": {manifest.split: len(store)},
    }
    problems = [DataProblem(*problem) for problem in manifest.problems] + _problems(found)
    packed = Source(manifest.name, manifest.split, store, Preparation(size=manifest.size), manifest.identity)
    cautions = [] if manifest.mask is None else mask_cautions(packed, range(len(store)), None, None)
    return _conclude(
        facts, [InspectedSplit(manifest.split, items, sorted(found.measured), summary)], problems, cautions
    )


def _conclude(
    facts: dict[str, Any],
    parts: Sequence[InspectedSplit],
    problems: Sequence[DataProblem],
    cautions: Sequence[str],
) -> Inspection:
    listed = [{"path": problem.path, "reason": problem.reason} for problem in dict.fromkeys(problems)]
    splits = {part.name: part.summary for part in parts}
    empty = [f"the split '{name}' is empty" for name, number in facts["listed"].items() if number == 0]
    notes = list(dict.fromkeys([*cautions, *empty]))
    return Inspection({**facts, "splits": splits, "cautions": notes, "problems": listed}, parts)


def _problems(found: Readings) -> list[DataProblem]:
    return [*(one for position in sorted(found.bad) for one in found.bad[position]), *found.twice]


def _uncounted(data: DataSpec, source: Source, found: Readings) -> list[DataProblem]:
    """Return a problem if the spec filters by a number of objects that the data does not say."""
    if data.filter is None or found.tells(data.filter.count):
        return []
    text = f"the data does not tell the number of objects by '{data.filter.count}', as the filter wants"
    return [DataProblem(source.name, text)]


def _check_splits(data: DataSpec, wanted: Sequence[str]) -> None:
    known = tuple(known_splits(data))
    allowed = known if own_splits(data) is not None else (*known, WHOLE)
    for name in wanted:
        if name not in allowed:
            text = f"there is no split '{name}'{suggest(name, known)} (splits: {', '.join(known)})"
            raise SlotlabError(text)


def _span(data: DataSpec, name: str, source: Source) -> Sequence[int]:
    """Return the positions of a split's pictures."""
    return source.within(part_of(data, name, source.listed))


def _needed(data: DataSpec, names: Sequence[str], source: Source) -> Sequence[int]:
    """Return the positions that must be read: all of them if the filter comes before the splits."""
    if data.filter is not None and data.settings.filter_first:
        return range(len(source))
    return sorted({position for name in names for position in _span(data, name, source)})


def _inspect_splits(
    data: DataSpec, names: Sequence[str], source: Source, found: Readings
) -> Iterator[InspectedSplit]:
    for name in names:
        positions = split_and_filter(
            data, source, partial(part_of, data, name), lambda some: found.keep(some, data.filter)
        )
        summary = found.summary(positions) | {"fingerprint": source.fingerprint()}
        summary |= _videos(source, positions)
        readable = [at for at in positions if at in found.measured]
        yield InspectedSplit(name, FileItems(source), readable, summary)


def _listed(data: DataSpec, opened: Sequence[tuple[Source, Sequence[str]]]) -> dict[str, int]:
    """Return the number of samples of each split, also of those that were not read if it is known."""
    return {name: len(span) for name, _, span in _spans(data, opened)}


def _listed_videos(
    data: DataSpec, opened: Sequence[tuple[Source, Sequence[str]]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the videos of each split under `listed_videos`; nothing for data without videos."""
    counted = {name: _videos(source, span) for name, source, span in _spans(data, opened)}
    found = {name: one["videos"] for name, one in counted.items() if one}
    return {"listed_videos": found} if found else {}


def _spans(
    data: DataSpec, opened: Sequence[tuple[Source, Sequence[str]]]
) -> list[tuple[str, Source, Sequence[int]]]:
    """Return the samples of each split, also of those that were not read if it is known."""
    if own_splits(data) is not None:
        return [(name, source, range(len(source))) for source, [name] in opened]
    [(source, wanted)] = opened
    names = dict.fromkeys((*known_splits(data), *wanted))
    return [(name, source, _span(data, name, source)) for name in names]


def _videos(source: Source, positions: Sequence[int]) -> dict[str, Any]:
    """Return under `videos` how many have a frame among these samples, and the fewest and most frames there.

    Nothing for a dataset without videos.
    """
    dataset = source.dataset
    if is_endless(dataset) or not offers(dataset, HasVideos):
        return {}
    there = set(positions)
    lengths = [number for video in dataset.videos if (number := len(there.intersection(video)))]
    return {"videos": {"count": len(lengths), "frames": [min(lengths), max(lengths)] if lengths else None}}
