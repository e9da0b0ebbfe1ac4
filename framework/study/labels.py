"""Labels of an axis's values, and the combinations of labels that become arms."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.system.privacy import nameless
from slotlab.registry.component import suggest

Combination = Mapping[str, str]
"""Label by axis, in the order of the axes."""


def label(value: Any) -> str:
    """Return a readable name of a value: a component's name with its settings, or the value as text."""
    if isinstance(value, Mapping) and "name" in value:
        rest = ", ".join(f"{key}={label(item)}" for key, item in value.items() if key != "name")
        return f"{value['name']}({rest})" if rest else str(value["name"])
    if isinstance(value, list | tuple):
        return f"[{', '.join(label(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {label(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return str(value)


def labelled(values: Sequence[Any]) -> dict[str, Any] | str:
    """Return value by label, with the shortest labels that differ; a message if two values are equal."""
    short = [
        label({"name": v["name"]}) if isinstance(v, Mapping) and "name" in v else label(v) for v in values
    ]
    whole = [label(value) for value in values]
    for labels in ([nameless(one) for one in short], [nameless(one) for one in whole], whole):
        if len(set(labels)) == len(labels):
            return dict(zip(labels, values, strict=True))
    twice = next(one for one in labels if labels.count(one) > 1)
    return f"the value {twice} is given twice; keep one"


def labelled_specs(values: Sequence[Any]) -> dict[str, Any] | str:
    """Return spec by label: the names of the specs if they differ, else what `labelled` makes of them."""
    names = [str(value).rpartition(":")[2].rpartition("/")[2].removesuffix(".yaml") for value in values]
    return dict(zip(names, values, strict=True)) if len(set(names)) == len(names) else labelled(values)


def arm_name(combination: Combination) -> str:
    """Write a combination: `encoder=cnn, initializer=gaussian`."""
    return ", ".join(f"{axis}={chosen}" for axis, chosen in combination.items())


@dataclass(frozen=True)
class Space:
    """The labels of all axes, by the axis's name, and the ways in which combinations are chosen."""

    axes: Mapping[str, Sequence[str]]
    exclude: Sequence[Mapping[str, Any]] = ()

    def grid(self) -> list[Combination]:
        """Return all combinations that no rule excludes, the last axis running fastest."""
        every = (dict(zip(self.axes, labels, strict=True)) for labels in product(*self.axes.values()))
        return [one for one in every if not any(matches(one, rule) for rule in self.exclude)]

    def sample(self, count: int, seed: int) -> list[Combination]:
        """Return `count` random combinations: the same for any order of the axes and of their values.

        Each combination has a random number of its own, so that a larger count, another value or
        another axis's order keeps what was chosen.
        """
        grid = self.grid()
        chosen = sorted(range(len(grid)), key=lambda i: _lot(grid[i], seed))[:count]
        return [grid[i] for i in sorted(chosen)]

    def listed(self, arms: Sequence[Mapping[str, Any]]) -> list[Combination]:
        """Return the named combinations, without those that a rule excludes."""
        every = [{axis: label(arm[axis]) for axis in self.axes} for arm in arms]
        return [one for one in every if not any(matches(one, rule) for rule in self.exclude)]

    def complaints(
        self, labels: Mapping[str, Any], path: tuple[str | int, ...], *, whole: bool
    ) -> Iterator[PathProblem]:
        """Yield what is wrong with labels of axes; `whole` requires one label for every axis."""
        for axis, value in labels.items():
            known = self.axes.get(axis)
            if known is None:
                hint = f"{suggest(axis, self.axes)} (axes: {', '.join(self.axes)})"
                yield PathProblem((*path, axis), f"there is no axis '{axis}'{hint}")
                continue
            for one in value if isinstance(value, list | tuple) and not whole else [value]:
                if label(one) not in known:
                    hint = f"{suggest(label(one), known)} (labels: {', '.join(known)})"
                    yield PathProblem((*path, axis), f"the axis '{axis}' has no value '{label(one)}'{hint}")
        lacking = [axis for axis in self.axes if axis not in labels] if whole else []
        if lacking:
            yield PathProblem(path, f"give a label for each axis; lacking: {', '.join(lacking)}")


def matches(combination: Combination, rule: Mapping[str, Any]) -> bool:
    """Return whether a combination has all labels of a rule, each of which is a label or a list of them."""
    return all(
        combination.get(axis)
        in [label(one) for one in (value if isinstance(value, list | tuple) else [value])]
        for axis, value in rule.items()
    )


def _lot(combination: Combination, seed: int) -> str:
    text = json.dumps([seed, sorted(combination.items())])
    return hashlib.sha256(text.encode()).hexdigest()
