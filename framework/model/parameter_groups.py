"""The parameter groups of the optimizer: which weights are trained, at which learning rate."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from slotlab.framework.contracts import Model
from slotlab.framework.spec.errors import PathProblem
from slotlab.framework.spec.schema import ExperimentSpec
from slotlab.framework.spec.training import GroupSpec
from slotlab.registry.component import suggest

_NUMBERED = re.compile(r"(.*?)[._](\d+)\.")
"""The beginning of a weight's name up to its first number: `encoder.backbone.blocks.3.norm1.weight`."""


def parameter_groups(spec: ExperimentSpec, model: Model, lr: float) -> list[dict[str, Any]]:
    """Return the weights to train as torch's optimizers take them: one dict per parameter group.

    The weights that no group of the spec names come first, then one dict per group of the spec that has
    trained weights, or one per layer if the group has `layer_decay`. `requires_grad` of frozen weights is set
    to False. Groups that the schedule leaves out have `scheduled: False` (`learning_rates.hold`).
    """
    groups = spec.training.groups
    factors = layer_factors(groups, [name for name, _ in model.named_parameters()])
    members: dict[tuple[int | None, float], list[Any]] = {(None, 1.0): []}
    for name, parameter in model.named_parameters():
        index = owner(groups, name)
        if index is not None and groups[index].frozen:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            members.setdefault((index, factors.get(name, 1.0)), []).append(parameter)
    found = []
    for (index, factor), parameters in members.items():
        entry: dict[str, Any] = {"params": parameters}
        if index is not None:
            entry["lr"] = lr * groups[index].lr_factor * factor
            if groups[index].weight_decay is not None:
                entry["weight_decay"] = groups[index].weight_decay
            if not groups[index].scheduled:
                entry["scheduled"] = False
        if parameters:
            found.append(entry)
    return found


def owner(groups: Sequence[GroupSpec], name: str) -> int | None:
    """Return the index of the first group that names a weight; None if there is none."""
    for index, group in enumerate(groups):
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in group.weights):
            return index
    return None


def layer_factors(groups: Sequence[GroupSpec], names: Sequence[str]) -> Mapping[str, float]:
    """Return the factor of each weight of the groups with `layer_decay`, by name.

    Source: Bao et al. 2022 (BEiT), as in timm: of L blocks, block i (from 0) has `layer_decay ** (L - i)`,
    what comes before the blocks `layer_decay ** (L + 1)`, and what comes after them, such as a final norm, 1.

    Args:
        groups: of the spec.
        names: of all weights, in the order of the model.
    """
    found: dict[str, float] = {}
    for index, group in enumerate(groups):
        if group.layer_decay is not None:
            own = [name for name in names if owner(groups, name) == index]
            depths = depths_of(own)
            found |= {name: group.layer_decay**depth for name, depth in depths.items()}
    return found


def depths_of(names: Sequence[str]) -> Mapping[str, int]:
    """Return how many blocks a weight lies below the end of a network, by name; empty without blocks.

    The blocks are the numbered modules that hold the most weights. A number may be a part of a name
    (`blocks.3`), or its end (`blocks_3`).
    """
    matches = {name: match for name in names if (match := _NUMBERED.match(name))}
    if not matches:
        return {}
    [(stem, _)] = Counter(match[1] for match in matches.values()).most_common(1)
    blocks = {name: int(match[2]) for name, match in matches.items() if match[1] == stem}
    number, depths = max(blocks.values()) + 1, {}
    passed = False
    for name in names:
        passed = passed or name in blocks
        depths[name] = number - blocks[name] if name in blocks else 0 if passed else number + 1
    return depths


def check_groups(spec: ExperimentSpec, model: Model) -> Iterator[PathProblem]:
    """Refuse names without weights, layers without blocks, and groups that freeze the whole model."""
    names = [name for name, _ in model.named_parameters()]
    groups = spec.training.groups
    prefixes = {".".join(name.split(".")[:length]) for name in names for length in range(1, 9)}
    for index, group in enumerate(groups):
        for position, prefix in enumerate(group.weights):
            if prefix not in prefixes:
                parts = sorted({name.partition(".")[0] for name in names})
                text = f"no weight's name is '{prefix}' or starts with it{suggest(prefix, prefixes)}"
                path = ("training", "groups", index, "weights", position)
                yield PathProblem(path, f"{text} (parts: {', '.join(parts)})")
        own = [name for name in names if owner(groups, name) == index]
        if group.layer_decay is not None and own and not depths_of(own):
            text = "none of its weights is in a numbered block, such as encoder.blocks.0; leave it out"
            yield PathProblem(("training", "groups", index, "layer_decay"), text)
    frozen = [index is not None and groups[index].frozen for index in (owner(groups, name) for name in names)]
    if frozen and all(frozen):
        yield PathProblem(("training", "groups"), "all weights are frozen: nothing is left to train")
