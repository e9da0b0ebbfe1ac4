"""Settings of components that change during training: a temperature, the noise of the slots.

A component that allows it has an attribute `schedulable` with the names of its attributes that may
be set from outside, each a float or a floating-point tensor of one value (usually a buffer).

Such a value is not a weight: it follows from the spec and the step. A model at step N, trained so far or
loaded from a checkpoint of step N, has the values of the next step, `value_at(settings, N)`. They are set
wherever a model is built, loaded or copied (`load_state`, `build_model`, `Trainee`).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Annealable, Model
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.training import AnnealSpec
from slotlab.registry.component import suggest


def value_at(spec: AnnealSpec, step: int) -> float:
    """Return the value for a step, counted from 0: `start` at 0, `end` from `steps` on."""
    part = min(step / spec.steps, 1.0)
    if spec.shape == "exponential":
        value: float = spec.start * (spec.end / spec.start) ** part
        return value
    if spec.shape == "cosine":
        part = (1 - math.cos(math.pi * part)) / 2
    return spec.start + (spec.end - spec.start) * part


def load_state(spec: ExperimentSpec, model: Model, weights: Mapping[str, Tensor], step: int) -> None:
    """Load the weights into a model, and set its annealed attributes to their values after `step` steps.

    All loading of a run's weights goes through this function.

    Raises:
        RuntimeError: if the weights do not fit the model.
        PathProblem: if `training.anneal` names an attribute that the model does not have.
    """
    model.load_state_dict(weights)
    anneal(spec, model, step)


@torch.no_grad()
def anneal(spec: ExperimentSpec, model: Model, step: int) -> None:
    """Set every annealed attribute to its value after `step` steps.

    Raises:
        PathProblem: if the model has no such attribute.
    """
    for problem in check_anneal(spec, model):
        raise problem
    for path, settings in spec.training.anneal.items():
        owner, name = find(model, path)
        value = value_at(settings, step)
        if isinstance(getattr(owner, name), Tensor):
            getattr(owner, name).fill_(value)
        else:
            setattr(owner, name, value)


def check_anneal(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse paths to attributes that their component does not declare as schedulable."""
    for path, settings in spec.training.anneal.items():
        where = ("training", "anneal", path)
        if settings.shape == "exponential" and settings.start * settings.end <= 0:
            text = "exponential goes between two values of one sign that are not 0; take linear or cosine"
            yield PathProblem(where, text)
        try:
            owner, name = find(model, path)
        except AttributeError:
            text = (
                f"the model has no part '{path.rpartition('.')[0]}'; write a path such as 'initializer.sigma'"
            )
            yield PathProblem(where, text)
            continue
        known = sorted(owner.schedulable if isinstance(owner, Annealable) else ())
        if name not in known:
            text = f"'{name}' cannot change during training{suggest(name, known)}"
            yield PathProblem(where, f"{text} (schedulable here: {', '.join(known) or 'nothing'})")
        elif not is_number(getattr(owner, name, None)):
            has = (
                f"it is a {type(getattr(owner, name)).__name__}" if hasattr(owner, name) else "there is none"
            )
            text = f"'{name}' is declared as schedulable and must be a float or a tensor of one float"
            yield PathProblem(where, f"{text}; {has}")


def is_number(value: Any) -> bool:
    """Return whether an attribute can be set to a float: a number, or a floating-point tensor of one."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and value.numel() == 1
    return isinstance(value, int | float) and not isinstance(value, bool)


def find(model: Model, path: str) -> tuple[Any, str]:
    """Return the component and the name of its attribute that a path leads to.

    Raises:
        AttributeError: if there is no such component.
    """
    names = path.split(".")
    if len(names) < 2:
        raise AttributeError(path)
    owner: Any = model
    for name in names[:-1]:
        owner = getattr(owner, name)
    return owner, names[-1]
