"""What a training starts from: weights drawn by the spec's seed, and those that `training.start` gives."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from slotlab.framework.contracts import Model, StartContext
from slotlab.framework.model.build import Builder, build_model
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.registry import ComponentError, SlotlabError
from slotlab.registry.component import suggest

Shapes = Mapping[str, tuple[int, ...]]


def initial_model(spec: ExperimentSpec) -> Model:
    """Build the model as it is before its first step.

    Raises:
        SlotlabError: if parts do not fit, or the weights to start from cannot be had; `check_parts` and
            `check_start` report that beforehand, with lines.
    """
    model = build_model(spec)
    builder = Builder(spec)
    given = given_weights(builder, model)
    if builder.problems:
        raise SlotlabError("\n".join(str(problem) for problem in builder.problems))
    own = model.state_dict()
    with torch.no_grad():
        for name, weight in given.items():
            own[name].copy_(weight)
    return model


def check_start(spec: ExperimentSpec) -> list[PathProblem]:
    """Return what is wrong with the weights to start from, such as another shape than the model's.

    Only a training asks: the model of a trained run does not need them.
    """
    if spec.training.start is None:
        return []
    builder = Builder(spec)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = Builder(spec).model()
    if model is not None:  # `check_parts` tells why there is none
        given_weights(builder, model)
    return builder.problems


def given_weights(builder: Builder, model: Model) -> Mapping[str, Tensor]:
    """Return the weights that `training.start` gives, by name; problems are noted in the builder."""
    ref = builder.spec.training.start
    if ref is None:
        return {}
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    context = StartContext(shapes=shapes)
    return builder.part(ref, context, "training", "start", check=partial(check_weights, shapes)) or {}


def check_weights(shapes: Shapes, given: Any) -> None:
    """Refuse what is no weights of a model with these shapes.

    Raises:
        ComponentError: with the first weight that is wrong.
    """
    if not isinstance(given, Mapping) or not all(isinstance(weight, Tensor) for weight in given.values()):
        raise ComponentError(f"should give tensors by name, not a {type(given).__name__}")
    if not given:
        raise ComponentError("gives no weights at all; leave 'start' out")
    for name, weight in given.items():
        if name not in shapes:
            raise ComponentError(f"the model has no weight '{name}'{suggest(name, sorted(shapes))}")
        if tuple(weight.shape) != shapes[name]:
            text = f"gives '{name}' the shape {tuple(weight.shape)}, and the model's has {shapes[name]}"
            raise ComponentError(f"{text}; give the model the settings of the other")
        if weight.device.type != "meta" and not weight.isfinite().all():
            raise ComponentError(f"gives '{name}' values that are not finite")
