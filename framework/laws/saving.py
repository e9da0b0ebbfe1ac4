"""Laws of weights: where they come from, that they are saved, and what else may be set."""

import copy
import pickle
from typing import Any

import torch
from torch import Tensor, nn

from slotlab.framework.contracts import Annealable
from slotlab.framework.laws.blame import line_of_attribute
from slotlab.framework.laws.compare import expect_close
from slotlab.framework.laws.subject import Subject
from slotlab.framework.laws.verdict import Broken, Place, Skip
from slotlab.framework.model.anneal import is_number


def seed_decides_the_weights(subject: Subject) -> None:
    """Two builds with one seed have equal weights."""
    first, again = (subject.build(seed=0).state_dict() for _ in range(2))
    for name, tensor in first.items():
        if not torch.equal(tensor, again[name]):
            raise Broken(f"'{name}' differs between two builds with one seed", place=assigned(subject, name))


def assigned(subject: Subject, path: str) -> Place | None:
    """Return the line where an attribute of what is built, or the beginning of its path, is assigned."""
    for name in (path.partition(".")[0], path.rpartition(".")[2]):
        found = None if subject.kind_of_built is None else line_of_attribute(subject.kind_of_built, name)
        if found is not None:
            return found
    return subject.place("__init__")


def is_saved_whole(subject: Subject) -> None:
    """Its state_dict and its pickle carry all that its results depend on."""
    part, other = subject.build().eval(), subject.build(seed=9).eval()
    other.load_state_dict(part.state_dict())
    expected = subject.call(part)
    reason = "with the weights of another one loaded it computes something else: state_dict lacks something"
    expect_close(subject.call(other), expected, reason, subject.place("__init__"), 1e-6)
    try:
        again = pickle.loads(pickle.dumps(part))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        repair = "keep no lambdas and open files in attributes"
        raise Broken(f"it cannot be pickled: {error}", repair, place=subject.place("__init__")) from None
    expect_close(
        subject.call(again), expected, "its pickle computes something else", subject.place("__init__"), 1e-6
    )


def schedulable_can_be_set(subject: Subject) -> None:
    """What it declares as schedulable is there, can be set, and survives copying."""
    part = subject.build()
    if not isinstance(part, Annealable):
        raise Skip("it declares nothing as schedulable")
    if isinstance(part.schedulable, str):
        raise Broken(
            f"'schedulable' is the text {part.schedulable!r}, and should be a tuple of names",
            place=subject.place("schedulable"),
        )
    for name in part.schedulable:
        check_schedulable(subject, part, name)


def check_schedulable(subject: Subject, part: Any, name: str) -> None:
    """Look at one schedulable attribute."""
    place = subject.place("schedulable")
    value = getattr(part, name, None)
    if not is_number(value):
        has = f"a {type(value).__name__}" if hasattr(part, name) else "no attribute of what is built"
        repair = f"set self.{name} to a float, or register a buffer of one value under this name"
        raise Broken(f"'schedulable' names '{name}', which is {has}", repair, place=place)
    if isinstance(value, nn.Parameter):
        raise Broken(
            f"'{name}' is schedulable and a parameter: the optimizer would change it, too",
            "make it a buffer",
            place=assigned(subject, name),
        )
    try:
        with torch.no_grad():
            value.fill_(0.375) if isinstance(value, Tensor) else setattr(part, name, 0.375)
    except AttributeError as error:
        raise Broken(
            f"'{name}' is schedulable and cannot be set: {error}",
            "make it a plain attribute",
            place=assigned(subject, name),
        ) from None
    copied = getattr(copy.deepcopy(part), name)
    if abs(float(copied) - 0.375) > 1e-6:
        raise Broken(
            f"'{name}' was set to 0.375 and is {float(copied):g} after saving",
            "make it a plain attribute or a buffer",
            place=assigned(subject, name),
        )
