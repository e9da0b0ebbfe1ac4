"""Which attributes of objects can be probed, of what kind each is, and the targets of heads."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from slotlab.framework.probing.images import Facts
from slotlab.framework.probing.settings import ProbeSettings
from slotlab.registry import SlotlabError
from slotlab.registry.component import suggest

Kind = Literal["categorical", "numerical"]
Move = Callable[[float, float], tuple[float, float]]
PIXELS = "pixel_coords"
"""The attribute that holds a place in the picture's file: column, row, and perhaps a depth."""
UNSEEN = -1
"""The class of a value that no fitted image has: no head can name it."""
NUMBERING = "it numbers the objects"
ANGLE = "it is an angle, whose squared error means little; name it to probe it all the same"
_NOT_BY_DEFAULT = {
    "index": NUMBERING,
    "rotation": ANGLE,
    "orientation": ANGLE,
    "velocity": "one picture does not show it; name it to probe it all the same",
    "visible_fraction": "it says how the object is seen; name it to probe it all the same",
}
_MOST_CLASSES, _LEAST_USE = 32, 8
"""Numbers are classes if they take at most so many values, each so many times on average."""


@dataclass(frozen=True)
class Attribute:
    """An attribute of objects that heads predict."""

    name: str
    kind: Kind
    classes: tuple[Any, ...] = ()
    """The values of a categorical one, sorted."""
    mean: tuple[float, ...] = ()
    """Of each component of a numerical one, over the fitted objects."""
    std: tuple[float, ...] = ()
    """Likewise, never 0."""

    @property
    def outputs(self) -> int:
        """How many numbers a head gives for it."""
        return len(self.classes) or len(self.mean)

    def facts(self) -> dict[str, Any]:
        """Return what results say of it."""
        of = (
            {"classes": list(self.classes)}
            if self.classes
            else {"mean": list(self.mean), "std": list(self.std)}
        )
        return {"kind": self.kind, **of}


@dataclass(frozen=True)
class Targets:
    """What heads should say of N images' objects, T rows each."""

    there_NT: Tensor
    """bool: which rows are objects."""
    values: Mapping[str, Tensor]
    """By attribute: int64 (N, T) classes, or float32 (N, T, components), standardized; 0 for no object."""


def choose_attributes(
    objects: Sequence[Sequence[Facts]], settings: ProbeSettings, move: Move | str
) -> tuple[list[Attribute], dict[str, str]]:
    """Return the attributes to probe, and why others are left out.

    Args:
        objects: of the fitted images.
        settings: of the probe.
        move: brings a place in a picture's file to the model's image; or the reason why none is known.

    Raises:
        SlotlabError: if the data knows nothing of objects, or a wanted attribute cannot be probed.
    """
    every = [one for facts in objects for one in facts]
    names = list(dict.fromkeys(name for one in every for name in one))
    if set(names) <= {"index"}:
        text = "the data says nothing about its objects (Sample.attributes['objects'])"
        raise SlotlabError(f"{text}; a probe needs attributes, such as those of clevrtex or scenes")
    wanted = settings.attributes
    for name in (*(wanted or ()), *settings.categorical, *settings.numerical):
        if name not in names:
            known = ", ".join(names)
            raise SlotlabError(
                f"objects have no attribute '{name}'{suggest(name, names)} (they have {known})"
            )
    found, left_out = [], {}
    for name in names if wanted is None else wanted:
        reason = _NOT_BY_DEFAULT.get(name) if wanted is None else None
        one = reason or describe([facts.get(name) for facts in every], name, settings, move)
        if isinstance(one, Attribute):
            found.append(one)
        elif wanted is not None:
            raise SlotlabError(f"the attribute '{name}' cannot be probed: {one}")
        else:
            left_out[name] = one
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise SlotlabError(f"no attribute of the objects can be probed ({reasons})")
    return found, left_out


def describe(values: Sequence[Any], name: str, settings: ProbeSettings, move: Move | str) -> Attribute | str:
    """Return an attribute with these values, or why it cannot be probed."""
    if any(value is None for value in values):
        return "some objects lack it"
    if name == PIXELS and isinstance(move, str):
        return move
    kind = kind_of(values, name, settings)
    if kind is None:
        return "its values are neither names nor numbers, or lists of one length"
    if kind == "categorical":
        classes = tuple(sorted({plain(value) for value in values}, key=lambda one: (str(type(one)), one)))
        return Attribute(name, kind, classes) if len(classes) > 1 else "all objects have the same value"
    rows_MW = torch.tensor([numbers(value, name, move) for value in values], dtype=torch.float64)
    std_W, mean_W = rows_MW.std(0, correction=0), rows_MW.mean(0)
    spread_W = std_W > 1e-9 * mean_W.abs().clamp(min=1e-9)
    if not spread_W.any():
        return "all objects have the same value"
    std_W = torch.where(spread_W, std_W, torch.ones_like(std_W))
    return Attribute(name, kind, mean=tuple(mean_W.tolist()), std=tuple(std_W.tolist()))


def kind_of(values: Sequence[Any], name: str, settings: ProbeSettings) -> Kind | None:
    """Return the kind of an attribute by its values; None if they are of no kind."""
    lists = all(isinstance(value, list | tuple) for value in values)
    number = not lists and all(is_number(value) for value in values)
    if lists and (len({len(value) for value in values}) != 1 or not values[0]):
        return None
    if lists and not all(is_number(item) for value in values for item in value):
        return None
    plain_values = all(isinstance(value, str | bool | Real) for value in values)
    if not lists and not plain_values:
        return None
    if name in settings.categorical:
        return "categorical"
    if lists or (name in settings.numerical and number):
        return "numerical"
    if number:
        different = len(set(values))
        few = different <= min(_MOST_CLASSES, len(values) / _LEAST_USE)
        return "categorical" if few else "numerical"
    return (
        None
        if any(isinstance(value, float) and not math.isfinite(value) for value in values)
        else "categorical"
    )


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def plain(value: Any) -> Any:
    """Return a value that can be looked up among classes."""
    return tuple(value) if isinstance(value, list) else value


def numbers(value: Any, name: str, move: Move | str) -> list[float]:
    """Return the components of a numerical value; a place in the file as one in the model's image."""
    found = [float(item) for item in value] if isinstance(value, list | tuple) else [float(value)]
    if name == PIXELS and not isinstance(move, str):
        found[:2] = move(found[0], found[1])
    return found


def targets_of(
    objects: Sequence[Sequence[Facts]], there_NT: Tensor, attributes: Sequence[Attribute], move: Move | str
) -> Targets:
    """Return the targets of images' objects.

    Raises:
        SlotlabError: for an object whose value is not of its attribute's kind.
    """
    made = {one.name: _target(objects, there_NT, one, move) for one in attributes}
    return Targets(there_NT, made)


def _target(objects: Sequence[Sequence[Facts]], there_NT: Tensor, one: Attribute, move: Move | str) -> Tensor:
    width = len(one.mean)
    if one.kind == "categorical":
        table = {value: number for number, value in enumerate(one.classes)}
        found_NT = torch.zeros(there_NT.shape, dtype=torch.int64)
        for row, facts in enumerate(objects):
            for column, fact in enumerate(facts):
                found_NT[row, column] = table.get(plain(fact.get(one.name)), UNSEEN)
        return found_NT
    found_NTW = torch.zeros((*there_NT.shape, width), dtype=torch.float64)
    mean_W, std_W = torch.tensor(one.mean, dtype=torch.float64), torch.tensor(one.std, dtype=torch.float64)
    for row, facts in enumerate(objects):
        for column, fact in enumerate(facts):
            value = fact.get(one.name)
            given = value if isinstance(value, list | tuple) else [value]
            if len(given) != width or not all(map(is_number, given)):
                raise SlotlabError(
                    f"an object's {one.name} is {value!r}, and those fitted on have {width} numbers"
                )
            place_W = torch.tensor(numbers(value, one.name, move), dtype=torch.float64)
            found_NTW[row, column] = (place_W - mean_W) / std_W
    return found_NTW.float()
