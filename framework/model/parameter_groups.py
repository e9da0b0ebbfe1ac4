"""The parameter groups of the optimizer: which weights are trained, at which learning rate."""

from collections.abc import Iterator
from typing import Any

from slotlab.framework.contracts import Model
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.training import GroupSpec
from slotlab.registry.component import suggest


def parameter_groups(spec: ExperimentSpec, model: Model, lr: float) -> list[dict[str, Any]]:
    """Return the weights to train as torch's optimizers take them: one dict per parameter group.

    The weights that no group of the spec names come first, then one dict per group of the spec that has
    trained weights. `requires_grad` of frozen weights is set to False.
    """
    members: dict[int | None, list[Any]] = {None: []}
    for name, parameter in model.named_parameters():
        index = owner(spec.training.groups, name)
        if index is not None and spec.training.groups[index].frozen:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            members.setdefault(index, []).append(parameter)
    found = []
    for index, parameters in members.items():
        entry: dict[str, Any] = {"params": parameters}
        if index is not None:
            group = spec.training.groups[index]
            entry["lr"] = lr * group.lr_factor
            if group.weight_decay is not None:
                entry["weight_decay"] = group.weight_decay
        if parameters:
            found.append(entry)
    return found


def owner(groups: tuple[GroupSpec, ...], name: str) -> int | None:
    """Return the index of the first group that names a weight; None if there is none."""
    for index, group in enumerate(groups):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in group.weights):
            return index
    return None


def check_groups(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse names that match no weight, and groups that freeze the whole model."""
    names = [name for name, _ in model.named_parameters()]
    prefixes = {".".join(name.split(".")[:length]) for name in names for length in range(1, 9)}
    for index, group in enumerate(spec.training.groups):
        for position, prefix in enumerate(group.weights):
            if prefix not in prefixes:
                parts = sorted({name.partition(".")[0] for name in names})
                text = f"no weight's name is '{prefix}' or starts with it{suggest(prefix, prefixes)}"
                path = ("training", "groups", index, "weights", position)
                yield PathProblem(path, f"{text} (parts: {', '.join(parts)})")
    groups = spec.training.groups
    frozen = [index is not None and groups[index].frozen for index in (owner(groups, name) for name in names)]
    if frozen and all(frozen):
        yield PathProblem(("training", "groups"), "all weights are frozen: nothing is left to train")
