"""Which settings differ between groups of runs, and how settings are written in tables and names."""

from collections.abc import Sequence
from typing import Any

from slotlab.framework.compare.grouping import Group

ABSENT = object()
"""Stands for a setting that a group does not have."""


def differing(groups: Sequence[Group]) -> list[str]:
    """Return the paths of settings that differ, in the order of the spec.

    Settings of a component are listed only if they differ between groups with the same component: it is
    not news that a `cnn` has `channels` and a `timm` has none.
    """
    paths = list(dict.fromkeys(path for one in groups for path in one.settings))
    unlike = [path for path in paths if len({one.settings.get(path, ABSENT) for one in groups}) > 1]
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
        values.setdefault(names, set()).add(one.settings.get(path, ABSENT))
    return any(len(held) > 1 for held in values.values())


def setting_text(value: Any) -> str:
    """Write a setting's value as in a spec."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(setting_text, value))}]"
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
