"""What the arms of a comparison are called, and in which order they stand."""

from collections.abc import Mapping, Sequence
from typing import Any

from slotlab.framework.compare.differing_settings import ABSENT, setting_text, short_names
from slotlab.framework.compare.grouping import Group
from slotlab.framework.compare.refusal import Refusal, gather
from slotlab.framework.compare.run_records import StudyRecord


def order(groups: Sequence[Group], paths: Sequence[str]) -> list[Group]:
    """Sort groups by their settings, numbers by size, so that the order of runs changes nothing."""
    return sorted(groups, key=lambda one: [_rank(one.settings.get(path, ABSENT)) for path in paths])


def _rank(value: Any) -> tuple[int, Any]:
    if value is ABSENT:
        return (0, 0)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, tuple):
        return (2, [_rank(item) for item in value])
    return (3, str(value))


def plan_names(studies: Sequence[StudyRecord]) -> dict[Any, tuple[int, str]]:
    """Return, by the folder of each planned run, the number and the name of the first arm that has it.

    With several studies, the study's name is part of the arm's.
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
    """Name and order groups by the study's plan, else by the specs' names if unique, else by settings."""
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
        from_settings = " ".join(f"{path}={setting_text(value)}" for path, value in values)
        name = (next(iter(specs[position])) if telling else from_settings) or "all runs"
        named.append(((1, position), name, one))
    named.sort(key=lambda item: item[0])
    refusals = _refuse_shared_names(named, paths)
    return [(name, one) for _, name, one in named], refusals


def _refuse_shared_names(
    named: Sequence[tuple[tuple[int, int], str, Group]], paths: Sequence[str]
) -> list[Refusal]:
    """Return a refusal for each arm of the plan whose runs have different settings."""
    found = []
    for name in dict.fromkeys(name for _, name, _ in named):
        same = [one for _, other, one in named if other == name]
        if len(same) > 1:
            unlike = [path for path in paths if len({one.settings.get(path, ABSENT) for one in same}) > 1]
            pairs = [
                (", ".join(f"{path} {setting_text(one.settings.get(path))}" for path in unlike), record.path)
                for one in same
                for record in one.records
            ]
            hint = "train the arm's runs again with one spec"
            found.append(Refusal(f"runs of arm '{name}' have different settings:", gather(pairs), hint))
    return found
