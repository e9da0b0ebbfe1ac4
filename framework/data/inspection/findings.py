"""What is in data, and all that is wrong with it, as JSON data: the result of `slotlab data inspect`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotlab.framework.contracts import DataProblem
from slotlab.framework.data.inspection.statistics import (
    FileItems,
    Items,
    Readings,
    Report,
    StoreItems,
    read_all,
)
from slotlab.framework.data.inspection.target import Target
from slotlab.framework.data.mask_check import mask_cautions
from slotlab.framework.data.preparation import Preparation
from slotlab.framework.data.selection import left_out, part_of
from slotlab.framework.data.source import WHOLE, Source, known_splits, open_source, own_splits
from slotlab.framework.data.store.reader import Store
from slotlab.framework.spec.data import DataSpec
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest


@dataclass(frozen=True)
class Part:
    """Pictures under one name: a split, or a packed store."""

    name: str
    items: Items
    readable: Sequence[int]
    """The positions of those that could be read, in order."""
    summary: dict[str, Any]


@dataclass(frozen=True)
class Inspection:
    """The result as JSON data, and the pictures behind it for a contact sheet."""

    result: dict[str, Any]
    parts: Sequence[Part]


def inspect_target(target: Target, split: str | None, *, workers: int, report: Report) -> Inspection:
    """Read the splits of a spec or a folder, or one of them.

    Args:
        target: the data.
        split: the one split to read; None for those of the target.
        workers: processes that read; 0 reads in this one.
        report: told the progress.

    Raises:
        SlotlabError: for a split that is not there.
        PathProblem: if the data is not there.
    """
    data = target.data
    wanted = target.splits if split is None else (split,)
    _check_splits(data, wanted)
    own = own_splits(data) is not None
    sources = [open_source(data, name) for name in (wanted if own else wanted[:1])]
    groups = [(name,) for name in wanted] if own else [wanted]
    problems = [
        problem
        for source, names in zip(sources, groups, strict=True)
        for name in names
        for problem in left_out(data, name, source)
    ]
    cautions = [text for source in sources for text in getattr(source.dataset, "cautions", ())]
    parts: list[Part] = []
    for source, names in zip(sources, groups, strict=True):
        needed = _needed(data, names, source)
        found = read_all(FileItems(source), needed, workers, report)
        cautions += mask_cautions(source, needed, data.dataset.config, target.slots)
        problems += _problems(found)
        parts += _split(data, names, source, found)
        if data.filter is not None and not found.tells(data.filter.count):
            text = (
                f"the data does not tell the number of objects by '{data.filter.count}', as the filter wants"
            )
            problems.append(DataProblem(source.name, text))
    counted = dict(zip(wanted, map(len, sources), strict=True)) if own else _counts(data, wanted, sources[0])
    facts = {
        "name": target.name,
        "dataset": data.dataset.name,
        "protocol": data.protocol_name,
        "filter": None if data.filter is None else str(data.filter),
        "image_size": [data.image_size, data.image_size],
        "listed": counted,
    }
    return _conclude(facts, parts, problems, cautions)


def inspect_store(path: Path, *, workers: int, report: Report) -> Inspection:
    """Read a packed store.

    Raises:
        StoreError: if it is none, or damaged.
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
        facts, [Part(manifest.split, items, sorted(found.measured), summary)], problems, cautions
    )


def _conclude(
    facts: dict[str, Any], parts: Sequence[Part], problems: Sequence[DataProblem], cautions: Sequence[str]
) -> Inspection:
    listed = [{"path": problem.path, "reason": problem.reason} for problem in dict.fromkeys(problems)]
    splits = {part.name: part.summary for part in parts}
    notes = list(dict.fromkeys(cautions))
    return Inspection({**facts, "splits": splits, "cautions": notes, "problems": listed}, parts)


def _problems(found: Readings) -> list[DataProblem]:
    return [*(one for position in sorted(found.bad) for one in found.bad[position]), *found.twice]


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
    """Return the positions that must be read: all, where the filter decides how the splits are cut."""
    if data.filter is not None and data.settings.filter_first:
        return range(len(source))
    return sorted({position for name in names for position in _span(data, name, source)})


def _split(data: DataSpec, names: Sequence[str], source: Source, found: Readings) -> Iterator[Part]:
    for name in names:
        if data.filter is not None and data.settings.filter_first:
            kept = found.keep(range(len(source)), data.filter)
            positions = [kept[place] for place in part_of(data, name, len(kept))]
        else:
            positions = found.keep(_span(data, name, source), data.filter)
        summary = found.summary(positions) | {"fingerprint": source.fingerprint()}
        yield Part(name, FileItems(source), [at for at in positions if at in found.measured], summary)


def _counts(data: DataSpec, wanted: Sequence[str], source: Source) -> dict[str, int]:
    names = dict.fromkeys((*known_splits(data), *wanted))
    return {name: len(_span(data, name, source)) for name in names}
