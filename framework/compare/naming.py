"""Which settings differ between groups of runs, and what the groups are called."""

from collections.abc import Mapping, Sequence
from typing import Any

from slotlab.framework.compare.grouping import Group
from slotlab.framework.compare.records import Study
from slotlab.framework.compare.refusals import Refusal, gather

_ABSENT = object()


def differing(groups: Sequence[Group]) -> list[str]:
    """Return the paths of settings that differ, in the order of the spec.

    Settings of a component are told only if they differ between groups with the same component: that a
    `cnn` has `channels` and a `timm` has none says nothing new.
    """
    paths = list(dict.fromkeys(path for one in groups for path in one.settings))
    unlike = [path for path in paths if len({one.settings.get(path, _ABSENT) for one in groups}) > 1]
    chosen = {path.removesuffix(".name") for path in unlike if path.endswith(".name")}
    return [path for path in unlike if _tells(path, groups, chosen)]


def _tells(path: str, groups: Sequence[Group], chosen: set[str]) -> bool:
    """Return whether a setting differs although the components around it are the same."""
    parts = path.split(".")
    owners = [owner for i in range(1, len(parts)) if (owner := ".".join(parts[:i])) in chosen]
    if path.endswith(".name"):
        owners = [owner for owner in owners if owner != path.removesuffix(".name")]
    if not owners:
        return True
    values: dict[tuple[Any, ...], set[Any]] = {}
    for one in groups:
        names = tuple(one.settings.get(f"{owner}.name") for owner in owners)
        values.setdefault(names, set()).add(one.settings.get(path, _ABSENT))
    return any(len(held) > 1 for held in values.values())


def show(value: Any) -> str:
    """Write a setting's value as in a spec."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(show, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the shortest ends of paths that tell them apart: `encoder` for `model.encoder.name`."""
    ends = {path: path.removesuffix(".name").split(".") for path in paths}
    found = {}
    for path, parts in ends.items():
        for length in range(1, len(parts) + 1):
            end = parts[-length:]
            if end[0].isdigit() and length < len(parts):
                continue
            if sum(other[-length:] == end for other in ends.values()) == 1:
                break
        found[path] = ".".join(end)
    return found


def order(groups: Sequence[Group], paths: Sequence[str]) -> list[Group]:
    """Sort groups by their settings, numbers by size, so that the order of runs changes nothing."""
    return sorted(groups, key=lambda one: [_rank(one.settings.get(path, _ABSENT)) for path in paths])


def _rank(value: Any) -> tuple[int, Any]:
    if value is _ABSENT:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, tuple):
        return (2, [_rank(item) for item in value])
    return (3, str(value))


def plan_names(studies: Sequence[Study]) -> dict[Any, tuple[int, str]]:
    """Return, for the place of each planned run, the number and the name of its first arm.

    Arms of several studies carry the study's name too.
    """
    found: dict[Any, tuple[int, str]] = {}
    number = 0
    for study in studies:
        prefix = f"{study.plan.name}/" if len(studies) > 1 else ""
        for arm in study.plan.arms:
            for run in arm.runs:
                found.setdefault(study.run(run).resolve(), (number, prefix + arm.name))
            number += 1
    return found


def name_groups(
    groups: Sequence[Group], paths: Sequence[str], planned: Mapping[Any, tuple[int, str]]
) -> tuple[list[tuple[str, Group]], list[Refusal]]:
    """Name and order groups: as the plan; else by specs' names that tell them apart; else by settings."""
    ordered = order(groups, paths)
    specs = [{record.name for record in one.records} for one in ordered]
    telling = all(len(names) == 1 for names in specs) and len(set.union(*specs)) == len(specs)
    short = short_names(paths)
    named: list[tuple[tuple[int, int], str, Group]] = []
    for position, one in enumerate(ordered):
        known = sorted(planned[record.place] for record in one.records if record.place in planned)
        if known:
            number, name = known[0]
            named.append(((0, number), name, one))
            continue
        values = ((short[path], one.settings[path]) for path in paths if path in one.settings)
        name = next(iter(specs[position])) if telling else " ".join(f"{k}={show(v)}" for k, v in values)
        name = name or "all runs"
        named.append(((1, position), name, one))
    named.sort(key=lambda item: item[0])
    refusals = _refuse_shared_names(named, paths)
    return [(name, one) for _, name, one in named], refusals


def _refuse_shared_names(
    named: Sequence[tuple[tuple[int, int], str, Group]], paths: Sequence[str]
) -> list[Refusal]:
    """Refuse an arm of the plan whose runs have different settings."""
    found = []
    for name in dict.fromkeys(name for _, name, _ in named):
        same = [one for _, other, one in named if other == name]
        if len(same) > 1:
            unlike = [path for path in paths if len({one.settings.get(path, _ABSENT) for one in same}) > 1]
            pairs = [
                (", ".join(f"{path} {show(one.settings.get(path))}" for path in unlike), record.path)
                for one in same
                for record in one.records
            ]
            hint = "train the arm's runs again with one spec"
            found.append(Refusal(f"runs of arm '{name}' have different settings:", gather(pairs), hint))
    return found
